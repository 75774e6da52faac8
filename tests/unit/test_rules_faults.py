"""The protocol's rules for refusals and faults: which status, which body, and what stays
charged."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from gateway.downstream.body import BodyBounds
from gateway.downstream.http import Broken
from gateway.downstream.relay import RelayBounds
from gateway.downstream.visit import Bounds
from gateway.errors import UpstreamError
from support.door import (
    ALLOW,
    Reply,
    Rig,
    Seen,
    answer,
    answer_events,
    answer_json,
    call,
    end,
    event,
    message,
    piece,
    result,
    run,
    start,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.asgi import Headers, Message, Send

DENY = b'{"version":"1","default":"deny"}'
EVENTS: Headers = [(b"content-type", b"text/event-stream")]


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


FAULTS = [
    (UpstreamError("connect", "x", sent=False), "upstream-unreachable", 502, "not-sent"),
    (UpstreamError("tls", "x", sent=False), "upstream-unreachable", 502, "not-sent"),
    (UpstreamError("busy", "x", sent=False), "overloaded", 503, "not-sent"),
    (UpstreamError("reset", "x", sent=True), "upstream-failed", 502, "unknown"),
    (UpstreamError("exited", "x", sent=True), "upstream-failed", 502, "unknown"),
    (UpstreamError("timeout", "x", sent=True), "upstream-timeout", 504, "unknown"),
    (UpstreamError("invalid", "x", sent=True), "upstream-invalid", 502, "unknown"),
]


@pytest.mark.parametrize(("error", "code", "status", "outcome"), FAULTS, ids=lambda v: str(v))
def test_rule_39_a_fault_is_told_in_the_way_the_client_survives(
    error: UpstreamError, code: str, status: int, outcome: str
) -> None:
    async def fails(seen: Seen, send: Send) -> None:
        raise error

    async def main() -> None:
        rig = Rig(fails)
        fields = await rig.open_session()
        tool = await rig.client.post(call("t", id=7), fields)
        assert tool.status == 200
        assert (tool.json["id"], tool.json["result"]["isError"]) == (7, True)
        other = await rig.client.post(message("tools/list", id="q"), fields)
        assert other.status == 200
        assert (other.json["id"], other.json["error"]["data"]["code"]) == ("q", code)
        bare = [
            await rig.client.post(message("initialize", {})),
            await rig.client.post(message("server/discover")),
            await rig.client.post(message("notifications/initialized", id=None), fields),
            await rig.client.request("GET", headers=fields),
            await rig.client.request("DELETE", headers=fields),
        ]
        for reply in bare:
            assert reply.status == status
            assert (reply.header(b"retry-after") is not None) is (status == 503)
        assert rig.engine.outcomes == [outcome] * 5
        assert rig.traffic.errors == {error.reason: 7}
        assert rig.traffic.in_flight == rig.door.in_flight == 0

    run(main())


@pytest.mark.parametrize("status", [400, 404, 409, 429, 500, 503])
def test_rule_39_a_status_of_the_servers_own_passes(status: int) -> None:
    async def main() -> None:
        fields = [
            (b"content-type", b"text/plain"),
            (b"content-length", b"2"),
            (b"retry-after", b"9"),
        ]
        reply = await Rig(answer(status, fields, b"no")).client.post(call("t"))
        assert (reply.status, reply.body) == (status, b"no")
        assert sorted(reply.headers) == sorted(fields)
        rig = Rig(answer(status, fields, b"no"))
        await rig.client.post(call("t"))
        assert rig.engine.outcomes == ["done"]

    run(main())


@pytest.mark.parametrize("draining", [True, False], ids=["draining", "overloaded"])
def test_rule_39_what_cannot_be_taken_on_costs_nothing(draining: bool) -> None:
    async def main() -> None:
        rig = Rig(max_in_flight=1)
        rig.door.draining = draining
        rig.door.in_flight = 0 if draining else 1
        code = "draining" if draining else "overloaded"
        reply = await rig.client.post(call("t", id=3))
        assert (reply.status, reply.json["id"], reply.json["result"]["isError"]) == (200, 3, True)
        assert (reply.header(b"connection") == b"close") is draining
        for bare in (
            await rig.client.post(message("initialize", {})),
            await rig.client.request("GET"),
        ):
            assert (bare.status, bare.code) == (503, code)
            assert bare.header(b"retry-after") == b"1"
        assert rig.upstream.seen == []
        assert rig.engine.outcomes == ["not-sent"] * 2

    run(main())


def test_what_helps_running_calls_to_end_passes_while_draining() -> None:
    async def main() -> None:
        rig = Rig()
        fields = await rig.open_session()
        rig.sessions.expect_reply("s1", 7, "default")
        rig.door.draining = True
        cancels = message("notifications/cancelled", {"requestId": 1}, id=None)
        assert (await rig.client.post(cancels, fields)).status == 202
        reply = b'{"jsonrpc":"2.0","id":7,"result":{}}'
        assert (await rig.client.post(reply, fields)).status == 202
        rig.upstream.script = answer(200, [])
        assert (await rig.client.request("DELETE", headers=fields)).status == 200

    run(main())


def test_rule_39_far_over_the_bound_nothing_is_read() -> None:
    async def main() -> None:
        going, go = asyncio.Event(), asyncio.Event()

        async def script(seen: Seen, send: Send) -> None:
            going.set()
            await go.wait()
            await answer_json()(seen, send)

        rig = Rig(script, max_in_flight=1)
        first = asyncio.create_task(rig.client.post(call("t", id=1)))
        await going.wait()
        rig.door.in_flight += 1
        third = await rig.client.post(call("t", id=3))
        rig.door.in_flight -= 1
        second = await rig.client.post(call("t", id=2))
        go.set()
        assert third.status == 503
        assert "id" in third.json
        assert (second.status, second.json["id"]) == (200, 2)
        assert second.json["result"]["isError"] is True
        assert "isError" not in (await first).json["result"]

    run(main())


def breaking(*pieces: bytes, headers: Headers) -> Callable[[Seen, Send], Any]:
    """An answer that breaks off after these pieces."""

    async def script(seen: Seen, send: Send) -> None:
        await start(send, 200, headers)
        for data in pieces:
            await piece(send, data)
        raise UpstreamError("reset", "gone", sent=True)

    return script


def test_a_broken_event_stream_ends_with_an_answer() -> None:
    async def main() -> None:
        progress = event(b'{"jsonrpc":"2.0","method":"notifications/progress","params":{}}')
        for at_once in (True, False):
            rig = Rig(breaking(progress, headers=EVENTS))
            send = rig.client.post if at_once else rig.client.post_modern
            reply = await send(call("t", id="k"))
            assert reply.complete
            assert reply.body.startswith(progress + b"data: ")
            closing = json.loads(reply.body.removeprefix(progress + b"data: "))
            assert (closing["id"], closing["result"]["isError"]) == ("k", True)
            assert rig.engine.outcomes == ["unknown"]

    run(main())


@pytest.mark.parametrize(
    "pieces",
    [
        [b"data: {"],
        [event(result(1)), b""],
        [b": comment\n"],
    ],
    ids=["inside an event", "behind the answer", "inside a comment"],
)
def test_a_broken_stream_that_cannot_be_ended_never_ends_as_if_whole(pieces: list[bytes]) -> None:
    async def main() -> None:
        reply = await Rig(breaking(*pieces, headers=EVENTS)).client.post(call("t"))
        assert reply.body == b"".join(pieces)
        assert not reply.complete
        assert isinstance(reply.broken, UpstreamError)

    run(main())


def test_streams_without_an_id_of_their_own_break_off() -> None:
    async def main() -> None:
        rig = Rig(breaking(event(b"{}"), headers=EVENTS))
        fields = await rig.open_session()
        listening = await rig.client.request("GET", headers=fields)
        subscribed = await rig.client.post_modern(message("subscriptions/listen"))
        for reply in (listening, subscribed):
            assert not reply.complete
            assert isinstance(reply.broken, UpstreamError)

    run(main())


JSON: Headers = [(b"content-type", b"application/json")]


def test_a_short_document_that_breaks_off_is_a_fault_with_the_id() -> None:
    async def main() -> None:
        reply = await Rig(breaking(b'{"json', headers=JSON)).client.post(call("t", id=5))
        assert (reply.status, reply.json["id"], reply.json["result"]["isError"]) == (200, 5, True)

    run(main())


def test_a_long_document_streams_and_breaks_off() -> None:
    async def main() -> None:
        first, second = b'{"jsonrpc":"2.0","id":1,"result":"' + b"a" * 70_000, b'b"}'
        rig = Rig(answer(200, JSON, first, second))
        assert (await rig.client.post(call("t"))).body == first + second
        reply = await Rig(breaking(first, headers=JSON)).client.post(call("t"))
        assert reply.body == first
        assert not reply.complete

    run(main())


@pytest.mark.parametrize(
    "document",
    [
        result(2),
        result("1"),
        result(None),
        result(True),
        b"[]",
        b'"x"',
        b"",
        b"nonsense",
        result(1) + result(1),
        b'{"jsonrpc":"2.0","result":{}}',
    ],
)
def test_an_answer_to_something_else_is_a_fault(document: bytes) -> None:
    async def main() -> None:
        rig = Rig(answer(200, JSON, document))
        reply = await rig.client.post(message("tools/list"))
        assert reply.json["error"]["data"]["code"] == "upstream-invalid"
        assert reply.json["id"] == 1
        assert rig.engine.outcomes == ["unknown"]

    run(main())


@pytest.mark.parametrize(
    "document",
    [
        b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"x"}}',
        b'{"jsonrpc":"2.0","error":{"code":-32700,"message":"x"}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"cut":"\\ud83d"}}',
        b' {"id":1, "jsonrpc":"2.0","result":{"n":1e400}}\n',
    ],
)
def test_what_clients_can_read_passes(document: bytes) -> None:
    async def main() -> None:
        assert (await Rig(answer(200, JSON, document)).client.post(call("t"))).body == document

    run(main())


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"content-type", b"text/html")],
        [*JSON, *EVENTS],
        [*JSON, (b"content-encoding", b"br")],
        [*JSON, (b"content-encoding", b"gzip, identity")],
        [*JSON, (b"mcp-session-id", b"a"), (b"mcp-session-id", b"b")],
        [*JSON, (b"mcp-session-id", b"with blank")],
    ],
)
def test_an_ambiguous_head_is_a_fault(headers: Headers) -> None:
    async def main() -> None:
        reply = await Rig(answer(200, headers, result(1))).client.post(message("initialize", {}))
        assert (reply.status, reply.code) == (502, "upstream-invalid")
        assert b"mcp-session-id" not in dict(reply.headers)

    run(main())


def test_a_decision_that_fails_refuses(caplog: pytest.LogCaptureFixture) -> None:
    class Panic(BaseException):
        pass

    async def main() -> None:
        rig = Rig()

        def decide(*_: object) -> None:
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
            "identify": (rig.door._identity, "identify"),
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


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_a_client_that_takes_no_bytes_is_given_up(era: str) -> None:
    async def main() -> None:
        stalled = asyncio.Event()

        async def on_send(message: Message) -> None:
            if message.get("body"):
                stalled.set()
                await asyncio.Event().wait()

        rig = Rig(
            answer_events(event(b"{}"), event(result(1))),
            bounds=Bounds(relay=RelayBounds(write_stall_s=0.01)),
        )
        post = rig.client.post if era == "legacy" else rig.client.post_modern
        reply = await post(call("t"), on_send=on_send)
        assert not reply.complete
        assert rig.upstream.finished == (1 if era == "legacy" else 0)
        assert rig.engine.outcomes == (["done"] if era == "legacy" else ["unknown"])

    run(main())


def test_a_fault_that_no_one_waits_for_is_only_settled() -> None:
    async def main() -> None:
        gone, go = asyncio.Event(), asyncio.Event()

        async def script(seen: Seen, send: Send) -> None:
            gone.set()
            await go.wait()
            raise UpstreamError("reset", "gone", sent=True)

        rig = Rig(script)
        asking = asyncio.create_task(rig.client.post(call("t"), gone=gone))
        await gone.wait()
        for _ in range(5):
            await asyncio.sleep(0)
        go.set()
        assert (await asking).messages == []
        assert rig.engine.outcomes == ["unknown"]

    run(main())


def test_a_lingering_call_ends_within_its_bound() -> None:
    async def main() -> None:
        gone = asyncio.Event()

        async def script(seen: Seen, send: Send) -> None:
            gone.set()
            await asyncio.Event().wait()

        rig = Rig(script, bounds=Bounds(linger_s=0.01))
        await rig.client.post(call("t"), gone=gone)
        assert rig.upstream.seen[0].cancelled
        assert rig.engine.outcomes == ["unknown"]

    run(main())


def test_the_servers_own_cancellation_is_not_mistaken_for_a_client_that_left() -> None:
    async def main() -> None:
        asked = asyncio.Event()

        async def script(seen: Seen, send: Send) -> None:
            asked.set()
            await asyncio.Event().wait()

        rig = Rig(script)
        task = asyncio.create_task(rig.client.post(call("t")))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert rig.engine.outcomes == ["unknown"]
        assert rig.door.in_flight == 0

    run(main())


def test_a_late_pass_of_the_last_piece_is_whole() -> None:
    async def script(seen: Seen, send: Send) -> None:
        await start(send, 200, EVENTS)
        await send({"type": "http.response.body", "body": event(result(1)), "more_body": False})

    async def main() -> None:
        reply: Reply = await Rig(script, policy=ALLOW).client.post(call("t"))
        assert reply.complete
        assert reply.body == event(result(1))

    run(main())


def test_an_empty_stream_is_relayed_as_it_is() -> None:
    async def script(seen: Seen, send: Send) -> None:
        await start(send, 200, EVENTS)
        await end(send)

    async def main() -> None:
        reply = await Rig(script).client.post(call("t"))
        assert (reply.complete, reply.body) == (True, b"")

    run(main())


def test_a_failure_behind_the_head_breaks_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Panic(BaseException):
        pass

    def fail(*_: object) -> None:
        raise Panic

    async def main() -> None:
        rig = Rig(answer_events(event(result(1))))
        monkeypatch.setattr("gateway.downstream.observer.Observer.see", fail)
        reply = await rig.client.post(call("t"))
        assert isinstance(reply.broken, Broken)
        assert not reply.complete
        assert rig.engine.outcomes == ["unknown"]

    run(main())
