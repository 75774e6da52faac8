"""The protocol's rules for faults of a server: which status, which body, and what stays charged."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.errors import UpstreamError
from support.door import (
    EVENTS,
    JSON,
    Rig,
    Seen,
    answer,
    answer_json,
    call,
    message,
    result,
    run,
)

if TYPE_CHECKING:
    from gateway.asgi import Headers, Send


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
        assert rig.traffic.in_flight == rig.door.load.in_flight == 0

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
        rig.door.load.draining = draining
        rig.door.load.in_flight = 0 if draining else 1
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
        # What is too much is refused before it is decided, and has nothing to be given back.
        assert rig.engine.outcomes == ["not-sent"] * 2 * draining

    run(main())


def test_what_helps_running_calls_to_end_passes_while_draining() -> None:
    async def main() -> None:
        rig = Rig()
        fields = await rig.open_session()
        rig.sessions.expect_reply("s1", 7, "default")
        rig.door.load.draining = True
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
        rig.door.load.in_flight += 1
        third = await rig.client.post(call("t", id=3))
        rig.door.load.in_flight -= 1
        second = await rig.client.post(call("t", id=2))
        go.set()
        assert third.status == 503
        assert "id" in third.json
        assert (second.status, second.json["id"]) == (200, 2)
        assert second.json["result"]["isError"] is True
        assert "isError" not in (await first).json["result"]

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
