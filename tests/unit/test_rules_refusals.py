"""The protocol's rules for refusals: which status, which body, and that a failure is one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from gateway.downstream.body import BodyBounds
from gateway.downstream.visit import Bounds
from support.door import (
    JSON,
    Rig,
    answer_json,
    call,
    message,
    run,
)

if TYPE_CHECKING:
    from gateway.asgi import Message

DENY = b'{"version":"1","default":"deny"}'


@pytest.mark.parametrize("raw_id", [b"1", b'"1"', b'"\\u0061"', b"-0", b"9007199254740993"])
def test_rule_12_ids_come_back_as_they_were_spelt(raw_id: bytes) -> None:
    async def main() -> None:
        body = b'{"jsonrpc":"2.0","id":%b,"method":"tools/call","params":{"name":"t"}}' % raw_id
        answered = b'{"id":%b,"jsonrpc":"2.0","result":{}}' % raw_id
        rig = Rig(answer_json(answered))
        assert (await rig.client.post(body)).body == answered

    run(main())


def test_rules_13_to_15_a_refused_call_is_a_result_in_json() -> None:
    async def main() -> None:
        rig = Rig(policy=DENY)
        fields = await rig.open_session()
        for accept in (b"application/json, text/event-stream", b"text/event-stream"):
            legacy = await rig.client.post(call("t", id="x"), [*fields, (b"accept", accept)])
            modern = await rig.client.post_modern(call("t", id="x"))
            for reply in (legacy, modern):
                assert reply.status == 200
                assert reply.header(b"content-type") == b"application/json"
                assert reply.json["id"] == "x"
                assert reply.json["result"]["isError"] is True
                assert reply.json["result"]["content"]
                assert "structuredContent" not in reply.json["result"]
            assert "resultType" not in legacy.json["result"]
            assert modern.json["result"]["resultType"] == "complete"
        assert rig.upstream.seen == []
        assert rig.engine.outcomes == []

    run(main())


def test_rules_16_to_18_a_refused_method_is_an_error_at_200() -> None:
    async def main() -> None:
        rig = Rig(policy=DENY)
        request = message("resources/read", {"uri": "file:///x"})
        for reply in (await rig.client.post(request), await rig.client.post_modern(request)):
            assert reply.status == 200
            assert not -32768 <= reply.json["error"]["code"] <= -32000
            assert b"insufficient_scope" not in reply.body
            assert reply.header(b"www-authenticate") is None
        assert rig.upstream.seen == []

    run(main())


def test_rule_32_a_hidden_tool_is_refused_when_called() -> None:
    async def main() -> None:
        rig = Rig(policy=b'{"version":"1","default":"allow","hide":["secret"]}')
        assert (await rig.client.post(call("secret"))).code == "hidden"
        assert (await rig.client.post(call("open"))).json["result"] == {"content": []}

    run(main())


def test_a_decision_that_fails_refuses(caplog: pytest.LogCaptureFixture) -> None:
    class Panic(BaseException):
        pass

    async def main() -> None:
        rig = Rig()

        def decide(*_: object, **__: object) -> None:
            raise Panic

        rig.engine.decide = decide  # type: ignore[attr-defined]
        for _ in range(3):
            reply = await rig.client.post(call("t"))
            assert (reply.status, reply.code) == (500, "internal-error")
        assert rig.upstream.seen == []
        assert rig.point.failures == 3

    run(main())
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    "stage", ["identify", "revision", "decide", "expects", "upstream", "filter"]
)
@pytest.mark.parametrize("panics", [False, True])
def test_an_exception_in_any_stage_refuses(
    stage: str, panics: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Panic(BaseException):
        pass

    def fail(*_: object, **__: object) -> Any:
        raise (Panic if panics else RuntimeError)("injected")

    async def main() -> None:
        rig = Rig(policy=b'{"version":"1","default":"allow","hide":["x"]}')
        fields = await rig.open_session()
        rig.sessions.open_task("a", "default")
        target: tuple[object, str] = {
            "identify": (rig.door.identity, "identify"),
            "revision": (rig.sessions, "revision"),
            "decide": (rig.engine, "decide"),
            "expects": (rig.sessions, "owns_task"),
            "upstream": (rig.upstream, "script"),
            "filter": (rig.point, "filter_for"),
        }[stage]
        monkeypatch.setattr(*target, fail, raising=False)
        reply = await rig.client.post(message("tasks/get", {"name": "a", "taskId": "a"}), fields)
        decided = stage not in ("identify", "revision", "decide")
        assert (reply.status, reply.json.get("id")) == ((200, 1) if decided else (500, None))
        assert rig.engine.outcomes == (
            [] if not decided else ["unknown"] if stage == "upstream" else ["not-sent"]
        )
        assert reply.code == "internal-error"
        assert stage == "upstream" or rig.upstream.seen == []

    run(main())


def test_a_body_over_the_bound_is_refused_declared_or_not() -> None:
    async def main() -> None:
        rig = Rig(max_body_bytes=64)
        declared = await rig.client.post(b"{}", [(b"content-length", b"65")])
        counted = await rig.client.post(b"x" * 65)
        for reply in (declared, counted):
            assert (reply.status, reply.code) == (413, "body-too-large")
            assert reply.header(b"connection") == b"close"

    run(main())


def test_a_slow_body_is_refused() -> None:
    async def main() -> None:
        rig = Rig(bounds=Bounds(body=BodyBounds(grace_s=0.01)))
        sent: list[Message] = []

        async def receive() -> Message:
            return await asyncio.Event().wait()  # type: ignore[return-value]

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "path": "/mcp",
            "headers": [(b"host", b"localhost:8080"), *JSON],
        }
        await rig.door(scope, receive, send)
        assert sent[0]["status"] == 408
        assert (b"connection", b"close") in sent[0]["headers"]

    run(main())


def test_a_client_that_leaves_before_its_body_is_whole_is_forgotten() -> None:
    async def main() -> None:
        rig = Rig()
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)

        headers = [(b"host", b"localhost:8080"), *JSON]
        scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": "/mcp"}
        await rig.door({**scope, "headers": headers}, receive, send)
        assert sent == []
        assert rig.upstream.seen == []

    run(main())
