"""The protocol's rules for what passes: bytes, headers, statuses, streams, disconnects."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from support.door import (
    EVENTS,
    HOST,
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
    from gateway.asgi import Message, Send


def test_rule_01_the_decided_bytes_are_the_forwarded_bytes() -> None:
    body = (
        b'{ "jsonrpc" : "2.0",\r\n "id":"\\u0061", "method":"tools\\/call",'
        b'"params":{"name":"t","arguments":{"n":1.0e2,"\xc3\xa9":[ ]}}}\n'
    )

    async def main() -> None:
        rig = Rig()
        assert (await rig.client.post(body)).status == 200
        assert [seen.body for seen in rig.upstream.seen] == [body]

    run(main())


SINGLE = [
    b"mcp-protocol-version",
    b"mcp-session-id",
    b"mcp-method",
    b"mcp-name",
    b"mcp-param-x",
    b"content-type",
    b"content-length",
    b"host",
    b"authorization",
    b"origin",
]


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("same", [True, False], ids=["same", "different"])
def test_rule_04_two_copies_of_a_header_are_refused(name: bytes, same: bool) -> None:
    async def main() -> None:
        rig = Rig()
        values = {
            b"host": HOST,
            b"content-type": b"application/json",
            b"content-length": b"1",
            b"origin": b"http://" + HOST,
        }
        value = values.get(name, b"x")
        reply = await rig.client.post(call("t"), [(name, value), (name, value if same else b"y")])
        assert reply.status == 400
        assert reply.json["error"]["code"] == -32600
        assert rig.upstream.seen == []

    run(main())


def test_rule_09_headers_of_the_protocol_pass_byte_identical() -> None:
    fields = [
        (b"mcp-param-region", b"=?base64?w6k=?="),
        (b"mcp-param-n", b"42.0"),
        (b"mcp-future", b"Any \t Thing"),
        (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        (b"user-agent", b"client/1"),
    ]

    async def main() -> None:
        rig = Rig()
        await rig.client.post(call("t"), fields)
        (seen,) = rig.upstream.seen
        assert [pair for pair in seen.headers if pair[0] not in (b"accept", b"content-type")] == (
            fields
        )

    run(main())


def test_rule_21_handshakes_are_relayed_status_for_status() -> None:
    async def main() -> None:
        for method in ("initialize", "server/discover"):
            for status in (200, 400, 404, 429, 500, 503):
                body = json.dumps({"jsonrpc": "2.0", "id": 1, "error": {"code": -32022}}).encode()
                rig = Rig(answer_json(body, status=status))
                reply = await rig.client.post(message(method, {}))
                assert (reply.status, reply.body) == (status, body)
                assert len(rig.upstream.seen) == 1

    run(main())


STREAM = (
    b'\xef\xbb\xbfid: 1\r\nretry: 10\r\ndata:\r\n\r\n: comment\n\nevent: message\rdata: {"a":\r'
    b"data:  1}\r\rid\ndata: [1]\n\n\n: tail"
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_rule_25_the_bytes_of_a_stream_pass_unaltered(size: int) -> None:
    async def main() -> None:
        pieces = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]
        rig = Rig(answer_events(*pieces))
        fields = await rig.open_session()
        for reply in (
            await rig.client.post(call("t"), fields),
            await rig.client.post_modern(call("t")),
            await rig.client.request("GET", headers=fields),
        ):
            assert reply.body == STREAM
            assert reply.complete
            assert reply.header(b"content-type") == b"text/event-stream"

    run(main())


@pytest.mark.parametrize(
    "policy",
    [b'{"version":"1","default":"allow"}', b'{"version":"1","default":"allow","hide":["x"]}'],
)
def test_rule_26_an_event_leaves_before_the_next_one_comes(policy: bytes) -> None:
    async def main() -> None:
        arrived: asyncio.Queue[Message] = asyncio.Queue()

        async def script(seen: Seen, send: Send) -> None:
            await start(send, 200, EVENTS)
            assert (await arrived.get())["type"] == "http.response.start"
            for number in range(3):
                data = event(b'{"jsonrpc":"2.0","method":"n","params":{"n":%d}}' % number)
                await piece(send, data)
                assert (await arrived.get())["body"] == data
            await end(send)

        rig = Rig(script, policy=policy)
        reply = await rig.client.post(call("t"), on_send=arrived.put)
        assert reply.complete

    run(main())


def test_rule_27_a_legacy_client_that_leaves_cancels_nothing() -> None:
    async def main() -> None:
        gone, left, go = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def script(seen: Seen, send: Send) -> None:
            await start(send, 200, EVENTS)
            gone.set()
            left.set()
            await go.wait()
            await piece(send, event(result(1)))
            await end(send)

        rig = Rig(script)
        asking = asyncio.create_task(rig.client.post(call("t"), gone=gone))
        await left.wait()
        for _ in range(10):
            await asyncio.sleep(0)
        go.set()
        reply = await asking
        assert rig.upstream.finished == 1
        assert rig.engine.outcomes == ["done"]
        assert reply.body == b""

    run(main())


def test_rule_27_a_modern_client_that_leaves_cancels_at_once_and_stays_charged() -> None:
    async def main() -> None:
        gone = asyncio.Event()

        async def script(seen: Seen, send: Send) -> None:
            gone.set()
            await asyncio.Event().wait()

        rig = Rig(script)
        await rig.client.post_modern(call("t"), gone=gone)
        assert rig.upstream.seen[0].cancelled
        assert rig.engine.outcomes == ["unknown"]

    run(main())


def test_rule_27_a_listening_stream_ends_with_its_client() -> None:
    async def main() -> None:
        gone = asyncio.Event()

        async def script(seen: Seen, send: Send) -> None:
            await start(send, 200, EVENTS)
            gone.set()
            await asyncio.Event().wait()

        rig = Rig(script)
        fields = await rig.open_session()
        await rig.client.request("GET", headers=fields, gone=gone)
        assert rig.upstream.seen[0].cancelled

    run(main())


def test_rule_29_messages_of_one_session_do_not_wait_for_each_other() -> None:
    async def main() -> None:
        both = asyncio.Barrier(2)

        async def script(seen: Seen, send: Send) -> None:
            await both.wait()  # reached only if two requests are at the server together
            await answer_json()(seen, send)

        rig = Rig(script)
        fields = await rig.open_session()
        replies = await asyncio.gather(
            rig.client.post(call("t"), fields),
            rig.client.post(message("notifications/progress", {}, id=None), fields),
        )
        assert [reply.status for reply in replies] == [200, 202]

    run(main())


def test_rule_30_a_202_has_no_body_and_answers_no_request() -> None:
    async def main() -> None:
        rig = Rig(
            answer(202, [(b"content-length", b"4"), (b"content-type", b"text/plain")], b"body")
        )
        note = await rig.client.post(message("notifications/initialized", id=None))
        assert (note.status, note.body, note.header(b"content-length")) == (202, b"", None)
        for content_type in (b"text/plain", b"application/json", b"text/event-stream"):
            rig.upstream.script = answer(202, [(b"content-type", content_type)], b"body")
            reply = await rig.client.post(message("ping"))
            assert (reply.status, reply.json["id"]) == (200, 1)
            assert reply.json["error"]["data"]["code"] == "upstream-invalid"

    run(main())


def test_rule_34_what_a_client_says_beside_its_arguments_passes() -> None:
    params = {
        "name": "t",
        "arguments": {},
        "requestState": "opaque==",
        "inputResponses": {"k": {"action": "accept"}},
        "task": {"ttl": 1},
        "_meta": {"progressToken": 1e1, "x.y/z": None},
    }

    async def main() -> None:
        rig = Rig()
        body = json.dumps(message("tools/call", params)).encode()
        await rig.client.post(body)
        assert rig.upstream.seen[0].body == body

    run(main())
