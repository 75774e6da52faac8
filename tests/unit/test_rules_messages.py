"""The protocol's rules for messages: what is read, compared and counted before anything is sent."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from support.door import (
    MODERN,
    Reply,
    Rig,
    answer_json,
    call,
    message,
    modern,
    modern_headers,
    result,
    run,
)

if TYPE_CHECKING:
    from gateway.asgi import Headers

CALL = json.dumps(call("t")).encode()


async def refused(rig: Rig, reply: Reply, rpc_code: int, status: int = 400) -> None:
    """Check a refusal that reached no server."""
    assert (reply.status, reply.json["error"]["code"]) == (status, rpc_code)
    assert rig.upstream.seen == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"nonsense",
        b"\xef\xbb\xbf" + CALL,
        CALL + CALL,
        CALL + b"\n" + CALL,
        CALL + b"\x00",
        CALL[:-1],
        CALL.replace(b'"t"', b'"\xff"'),
        CALL.replace(b'"t"', b'"\\ud800"'),
        CALL.replace(b'"name"', b'"name":"a","name"'),
        CALL.replace(b'"name"', b'"name":"a","n\\u0061me"'),
        CALL.replace(b"{}", b'{"x":1e999}'),
        CALL.replace(b"{}", b"[" * 100 + b"]" * 100),
        CALL.decode().encode("utf-16"),
    ],
)
def test_rule_02_what_has_no_one_reading_is_refused(body: bytes) -> None:
    async def main() -> None:
        rig = Rig()
        reply = await rig.client.post(body)
        assert reply.status == 400
        assert reply.json["error"]["code"] in (-32700, -32600)
        assert rig.upstream.seen == []

    run(main())


def test_rule_03_headers_decide_nothing() -> None:
    policy = b'{"version":"1","default":"deny","tools":{"open":{}}}'

    async def main() -> None:
        rig = Rig(policy=policy)
        claims = [(b"mcp-method", b"tools/call"), (b"mcp-name", b"open")]
        reply = await rig.client.post(call("closed"), claims)
        assert reply.status == 400
        reply = await rig.client.post(modern(call("closed")), modern_headers("tools/call", "open"))
        await refused(rig, reply, -32020)
        fields = await rig.open_session(b"s1", "2025-03-26")
        rig.upstream.script = answer_json()
        stateless = [*modern_headers("tools/call", "open"), fields[0]]
        assert (await rig.client.post(modern(call("open")), stateless)).status == 200
        assert rig.upstream.seen[0].exchange.session is None
        assert rig.upstream.seen[0].header(b"mcp-session-id") is None

    run(main())


@pytest.mark.parametrize("version", [None, b"2025-11-25", b"2025-03-26", b"2026-07-29", b"junk"])
def test_rule_05_a_modern_body_needs_its_own_version_header(version: bytes | None) -> None:
    async def main() -> None:
        rig = Rig()
        fields = [(b"mcp-method", b"tools/call"), (b"mcp-name", b"t")]
        if version is not None:
            fields.append((b"mcp-protocol-version", version))
        await refused(rig, await rig.client.post(modern(call("t")), fields), -32020)

    run(main())


def test_rule_06_a_modern_header_needs_a_modern_body() -> None:
    async def main() -> None:
        rig = Rig()
        fields = modern_headers("tools/call", "t")
        await refused(rig, await rig.client.post(call("t"), fields), -32602)
        half = modern(call("t"))
        del half["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"]
        await refused(rig, await rig.client.post(half, fields), -32602)

    run(main())


def sentinel(name: str) -> bytes:
    return b"=?base64?" + base64.b64encode(name.encode()) + b"?="


@pytest.mark.parametrize(
    ("tool", "fields", "agrees"),
    [
        ("t", [(b"mcp-method", b"tools/call"), (b"mcp-name", b"t")], True),
        ("t", [(b"mcp-method", b" tools/call\t"), (b"mcp-name", b"  t ")], True),
        ("t", [(b"mcp-method", b"tools/call"), (b"mcp-name", sentinel("t"))], True),
        ("é t", [(b"mcp-method", b"tools/call"), (b"mcp-name", sentinel("é t"))], True),
        ("t", [(b"mcp-method", b"tools/call")], False),
        ("t", [(b"mcp-name", b"t")], False),
        ("t", [(b"mcp-method", b"Tools/Call"), (b"mcp-name", b"t")], False),
        ("t", [(b"mcp-method", b"tools/list"), (b"mcp-name", b"t")], False),
        ("t", [(b"mcp-method", b"tools/call"), (b"mcp-name", b"T")], False),
        ("t", [(b"mcp-method", b"tools/call"), (b"mcp-name", sentinel("T"))], False),
        ("t", [(b"mcp-method", b"tools/call"), (b"mcp-name", b"")], False),
    ],
)
def test_rule_07_mirrored_headers_agree_with_the_body(
    tool: str, fields: Headers, agrees: bool
) -> None:
    async def main() -> None:
        rig = Rig(
            policy=json.dumps({"version": "1", "default": "allow", "tools": {tool: {}}}).encode()
        )
        given = [(b"mcp-protocol-version", MODERN.encode()), *fields]
        reply = await rig.client.post(modern(call(tool)), given)
        if agrees:
            assert reply.status == 200
            assert len(rig.upstream.seen) == 1
        else:
            await refused(rig, reply, -32020)

    run(main())


@pytest.mark.parametrize(
    "name", [b"=?base64?dA?=", b"=?base64?dA=?=", b"=?base64?d A==?=", b"=?base64?dA-_?="]
)
def test_rule_08_base64_is_read_strictly(name: bytes) -> None:
    async def main() -> None:
        rig = Rig()
        fields = [*modern_headers("tools/call"), (b"mcp-name", name)]
        await refused(rig, await rig.client.post(modern(call("t")), fields), -32020)

    run(main())


BATCH = [call("open", id=1), message("notifications/x", id=None), call("open", id=2)]
DENY_CLOSED = b'{"version":"1","default":"allow","tools":{"closed":{"action":"deny"}}}'


@pytest.mark.parametrize("revision", [None, "2025-06-18", "2025-11-25"])
def test_rule_10_an_array_is_refused_where_there_are_none(revision: str | None) -> None:
    async def main() -> None:
        rig = Rig()
        fields = [] if revision is None else await rig.open_session(b"s", revision)
        claim = (b"mcp-protocol-version", b"2025-03-26")
        await refused(rig, await rig.client.post(BATCH, [*fields[:1], claim]), -32600)

    run(main())


def test_rule_10_every_element_of_an_array_is_decided() -> None:
    async def main() -> None:
        rig = Rig(answer_json(b"[]"), policy=DENY_CLOSED)
        fields = await rig.open_session(b"s", "2025-03-26")
        assert (await rig.client.post(BATCH, fields)).status == 200
        assert json.loads(rig.upstream.seen[0].body) == BATCH
        rig.upstream.seen.clear()
        await rig.client.post([*BATCH, call("closed", id=3)], fields)
        await rig.client.post([call("closed", id=3)], fields)
        assert rig.upstream.seen == []

    run(main())


def test_rule_10_replies_in_an_array_answer_what_was_asked() -> None:
    replies = [{"jsonrpc": "2.0", "id": number, "result": {}} for number in (7, "8")]

    async def main() -> None:
        rig = Rig()
        fields = await rig.open_session(b"s", "2025-03-26")
        rig.sessions.expect_reply("s", 7, "default")
        assert (await rig.client.post(replies, fields)).status == 400
        rig.sessions.expect_reply("s", "8", "default")
        rig.upstream.script = answer_json(b"", status=202)
        assert (await rig.client.post(replies, fields)).status == 202
        assert (await rig.client.post(replies, fields)).status == 400

    run(main())


def test_rule_11_a_call_without_an_id_is_no_way_round() -> None:
    async def main() -> None:
        rig = Rig(policy=DENY_CLOSED)
        for tool in ("open", "closed"):
            reply = await rig.client.post(call(tool, id=None))
            assert 400 <= reply.status < 500
        assert rig.upstream.seen == []

    run(main())


FREE = [
    "initialize",
    "ping",
    "tools/list",
    "resources/list",
    "prompts/list",
    "logging/setLevel",
]
FREE_MODERN = ["server/discover", "tools/list", "completion/complete", "subscriptions/listen"]
ONE = (
    b'{"version":"1","default":"deny","all_tools":{"limits":'
    b'[{"counter":"c","window":"day","max":2}]},"tools":{"t":{}}}'
)


def test_rule_19_only_calls_are_counted() -> None:
    async def main() -> None:
        rig = Rig(policy=ONE)
        for _ in range(3):
            for method in FREE:
                assert (await rig.client.post(message(method, {}))).status == 200
            for method in FREE_MODERN:
                assert (await rig.client.post_modern(message(method, {}))).status == 200
        for _ in range(2):
            assert "isError" not in (await rig.client.post(call("t"))).json["result"]
        reply = await rig.client.post(call("t"))
        assert (reply.status, reply.code) == (200, "limit-exceeded")
        assert int(reply.header(b"retry-after") or 0) > 0

    run(main())


@pytest.mark.parametrize("method", ["unknown/method", "tools/Call", "skills/get"])
def test_rule_20_an_unknown_method_is_answered_as_one(method: str) -> None:
    async def main() -> None:
        rig = Rig(policy=b'{"version":"1","default":"deny"}')
        fields = await rig.open_session()
        reply = await rig.client.post(message(method, {}), fields)
        assert (reply.status, reply.json["error"]["code"]) == (200, -32601)
        reply = await rig.client.post_modern(message(method, {}))
        assert (reply.status, reply.json["error"]["code"]) == (404, -32601)
        assert rig.upstream.seen == []

    run(main())


def test_rule_20_a_removed_method_is_unknown() -> None:
    async def main() -> None:
        rig = Rig(policy=b'{"version":"1","default":"deny"}')
        request = message("resources/subscribe", {"uri": "file:///x"})
        reply = await rig.client.post_modern(request)
        assert (reply.status, reply.json["error"]["code"]) == (404, -32601)
        assert rig.upstream.seen == []

    run(main())


def test_rule_33_every_round_is_a_call() -> None:
    async def main() -> None:
        needs = result(1, resultType="input_required", requestState="s")
        rig = Rig(answer_json(needs), policy=ONE)
        rounds: list[Reply] = []
        for number in range(3):
            again: dict[str, Any] = {"requestState": "s"} if number else {}
            request = message("tools/call", {"name": "t", "arguments": {}, **again})
            rounds.append(await rig.client.post_modern(request))
        assert [reply.body == needs for reply in rounds] == [True, True, False]
        assert rounds[2].code == "limit-exceeded"
        assert len(rig.upstream.seen) == 2
        assert rig.engine.outcomes == ["done", "done"]

    run(main())


def test_limits_are_told_on_admitted_calls_too() -> None:
    async def main() -> None:
        rig = Rig(policy=ONE)
        reply = await rig.client.post(call("t"))
        assert b"r=1" in (reply.header(b"ratelimit") or b"")
        assert reply.header(b"ratelimit-policy") is not None
        assert (await rig.client.post(message("ping"))).header(b"ratelimit") is None

    run(main())


def test_what_was_not_sent_is_given_back() -> None:
    async def main() -> None:
        rig = Rig(policy=ONE, max_in_flight=1)
        rig.door.load.in_flight = 1
        for _ in range(5):
            assert (await rig.client.post(call("t"))).json["result"]["isError"] is True
        rig.door.load.in_flight = 0
        replies = await asyncio.gather(*(rig.client.post(call("t")) for _ in range(2)))
        assert len(rig.upstream.seen) + sum("isError" in r.json["result"] for r in replies) == 2

    run(main())
