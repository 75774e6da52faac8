"""What runs ends in order when its server's connections are drained or closed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from gateway.errors import UpstreamError
from support.door import run
from support.http_server import Behaviour, Wire, ask, body_of, fault, serving, upstream

if TYPE_CHECKING:
    from gateway.asgi import Message


def test_closing_waits_for_what_runs() -> None:
    async def main() -> None:
        asked, go = asyncio.Event(), asyncio.Event()

        async def behave(wire: Wire) -> None:
            await wire.request()
            asked.set()
            await go.wait()
            await wire.answer()

        async with serving(behave) as server:
            peer = upstream(server.url)
            asking = asyncio.create_task(ask(peer))
            await asked.wait()
            closing = asyncio.create_task(peer.aclose(5))
            await asyncio.sleep(0)
            assert not closing.done()
            go.set()
            await closing
            assert body_of(await asking) == b"{}"

    run(main())


OPEN_STREAM = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)


async def listen(wire: Wire) -> None:
    """Open a stream with one event, and never end it."""
    await wire.request()
    await wire.write(OPEN_STREAM + b"9\r\ndata: 1\n\n\r\n")
    await wire.reader.read()


async def drained(behaviour: Behaviour, decision: object, method: str = "GET") -> list[Message]:
    """What a request sends whose upstream is drained when the first event has come."""
    messages: list[Message] = []
    async with serving(behaviour) as server:
        peer = upstream(server.url)

        async def on_send(message: Message) -> None:
            messages.append(message)
            if message.get("body") and len(messages) == 2:
                peer.drain()

        try:
            body = b"" if method == "GET" else b"{}"
            await ask(peer, body, method=method, on_send=on_send, decision=decision)
        finally:
            await peer.aclose(0)
    return messages


@dataclass
class Asked:
    method: str = "subscriptions/listen"
    request_id: bytes = b'"\\u0061"'


def test_a_drain_ends_listening_streams_in_order() -> None:
    async def main() -> None:
        messages = await drained(listen, None)
        assert (body_of(messages), messages[-1]["more_body"]) == (b"data: 1\n\n", False)
        messages = await drained(listen, Asked(), "POST")
        assert body_of(messages) == (
            b'data: 1\n\ndata: {"jsonrpc":"2.0","id":"\\u0061","result":{"resultType":"complete",'
            b'"_meta":{"io.modelcontextprotocol/subscriptionId":"\\u0061"}}}\n\n'
        )
        assert messages[-1]["more_body"] is False

    run(main())


def test_a_drain_never_ends_a_stream_inside_an_event() -> None:
    async def half(wire: Wire) -> None:
        await wire.request()
        await wire.write(OPEN_STREAM + b"8\r\ndata: 1\n\r\n")
        await wire.reader.read()

    async def main() -> None:
        with pytest.raises(UpstreamError) as error:
            await drained(half, None)
        assert fault(error) == ("reset", True)

    run(main())


def test_a_drain_lets_calls_finish() -> None:
    async def two(wire: Wire) -> None:
        await wire.request()
        await wire.write(OPEN_STREAM + b"9\r\ndata: 1\n\n\r\n")
        await wire.write(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")

    async def main() -> None:
        messages = await drained(two, Asked("tools/call"), "POST")
        assert body_of(messages) == b"data: 1\n\ndata: 2\n\n"

    run(main())


def test_a_drain_ends_a_stream_that_is_silent() -> None:
    async def main() -> None:
        opened = asyncio.Event()

        async def silent(wire: Wire) -> None:
            await wire.request()
            await wire.write(OPEN_STREAM)
            await wire.reader.read()

        async def on_send(message: Message) -> None:
            opened.set()

        async with serving(silent) as server:
            peer = upstream(server.url)
            asking = asyncio.create_task(ask(peer, b"", method="GET", on_send=on_send))
            await opened.wait()
            for _ in range(3):
                await asyncio.sleep(0)
            peer.drain()
            assert [m.get("more_body") for m in await asking] == [None, False]
            await peer.aclose(0)

    run(main())
