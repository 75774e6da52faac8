"""What a client sends, or leaves unread, never costs the worker more than a bound."""

from __future__ import annotations

import asyncio
import resource
from typing import TYPE_CHECKING, Any

import pytest

from gateway import connection
from gateway.downstream.inbox import HELD_PIECES, WAITING_BYTES
from gateway.server import Listener, bind
from gateway.settings import Address
from support.door import run

if TYPE_CHECKING:
    from gateway.asgi import Receive, Scope, Send

CHUNK = b"1\r\nx\r\n"
HEAD = b"POST /mcp HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.fixture(autouse=True)
def short_farewell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "FAREWELL_S", 0.05)


async def refuses(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that answers by the head alone."""
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 415, "headers": headers})
    await send({"type": "http.response.body", "body": b"no"})


async def exchange(app: Any, data: bytes) -> tuple[bytes, int]:
    """What the client reads until the connection ends, and how many connections are left then."""
    listener = Listener(app, bind(Address("127.0.0.1", 0)))
    await listener.start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(data)
        async with asyncio.timeout(10):
            answer = await reader.read()
            await asyncio.gather(*listener._connections)
        writer.close()
        await writer.wait_closed()
        return answer, len(listener._connections)
    finally:
        await listener.drain(0)


@pytest.mark.parametrize("pieces", [HELD_PIECES - 1, HELD_PIECES, HELD_PIECES + 1, 400])
@pytest.mark.parametrize("end", [b"", b"0\r\n\r\n"])
def test_a_body_that_nobody_reads_does_not_hold_its_connection_for_ever(
    pieces: int, end: bytes
) -> None:
    async def main() -> None:
        # A connection whose request came whole may serve another one, which is its last.
        last = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" if end else b""
        answer, left = await exchange(refuses, HEAD + CHUNK * pieces + end + last)
        assert answer.startswith(b"HTTP/1.1 415")
        assert not left

    run(main())


def test_a_body_that_is_read_late_comes_whole() -> None:
    async def main() -> None:
        async def reads_late(scope: Scope, receive: Receive, send: Send) -> None:
            for _ in range(50):
                await asyncio.sleep(0)
            size, more = 0, True
            while more:
                event = await receive()
                size += len(event["body"])
                more = event["more_body"]
            text = str(size).encode()
            headers = [(b"content-length", b"%d" % len(text)), (b"connection", b"close")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": text})

        answer, _ = await exchange(reads_late, HEAD + CHUNK * 777 + b"0\r\n\r\n")
        assert answer.endswith(b"\r\n\r\n777")

    run(main())


def test_a_client_that_takes_no_byte_cannot_keep_its_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "FLUSH_S", 0.05)

    async def main() -> None:
        begun = asyncio.Event()

        async def floods(scope: Scope, receive: Receive, send: Send) -> None:
            begun.set()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            body = {"type": "http.response.body", "body": bytes(1 << 20), "more_body": True}
            try:
                async with asyncio.timeout(0.05):
                    while True:
                        await send(body)
            except TimeoutError:
                return

        listener = Listener(floods, bind(Address("127.0.0.1", 0)))
        await listener.start()
        _, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        try:
            async with asyncio.timeout(10):
                await begun.wait()
                await asyncio.gather(*listener._connections)
            assert not listener._connections
        finally:
            writer.transport.abort()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)
            await listener.drain(0)

    run(main())


def test_connections_that_only_wait_leave_files_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (12, 4096))

    async def main() -> None:
        listener = Listener(refuses, bind(Address("127.0.0.1", 0)))
        await listener.start()
        wires = [await asyncio.open_connection("127.0.0.1", listener.port) for _ in range(4)]
        try:
            async with asyncio.timeout(10):
                for _, writer in wires[:4]:
                    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
                for reader, _ in wires[:4]:
                    assert await reader.readline() == b"HTTP/1.1 415 \r\n"
                assert len(listener._connections) == 4
                late = await asyncio.open_connection("127.0.0.1", listener.port)
                wires.append(late)
                assert await late[0].read() == b""
                wires[0][1].close()
                while len(listener._connections) == 4:
                    await asyncio.wait(listener._connections, return_when="FIRST_COMPLETED")
                again = await asyncio.open_connection("127.0.0.1", listener.port)
                wires.append(again)
                again[1].write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
                assert await again[0].readline() == b"HTTP/1.1 415 \r\n"
        finally:
            for _, writer in wires:
                writer.close()
            await asyncio.gather(*(w.wait_closed() for _, w in wires), return_exceptions=True)
            await listener.drain(0)

    run(main())


def test_an_answer_is_not_lost_to_a_body_that_still_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "FAREWELL_S", 5.0)

    async def main() -> None:
        listener = Listener(refuses, bind(Address("127.0.0.1", 0)))
        await listener.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        try:
            async with asyncio.timeout(10):
                writer.write(HEAD)
                for _ in range(64):
                    writer.write(b"8000\r\n%b\r\n" % bytes(0x8000))
                    await writer.drain()
                assert (await reader.read()).startswith(b"HTTP/1.1 415")
        finally:
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)
            await listener.drain(0)

    run(main())


NEXT = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.mark.parametrize("behind", [b"", b"G", NEXT, NEXT * 100, b"x" * (WAITING_BYTES + 1)])
@pytest.mark.parametrize("leaves", [True, False])
def test_a_client_that_leaves_is_missed_whatever_it_sent_before(
    behind: bytes, leaves: bool
) -> None:
    async def main() -> None:
        arrived, missed, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def waits(scope: Scope, receive: Receive, send: Send) -> None:
            arrived.set()

            async def watch() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                missed.set()
                go_on.set()

            watching = asyncio.create_task(watch())
            await go_on.wait()
            watching.cancel()
            await refuses(scope, receive, send)

        listener = Listener(waits, bind(Address("127.0.0.1", 0)))
        await listener.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        try:
            async with asyncio.timeout(10):
                writer.write(NEXT + behind)
                await arrived.wait()
                if leaves:
                    writer.close()
                    await missed.wait()
                    await asyncio.gather(*listener._connections)
                elif len(behind) <= WAITING_BYTES:
                    go_on.set()
                    for _ in range(1 + behind.count(NEXT)):
                        head = await reader.readuntil(b"\r\n\r\n")
                        assert head.startswith(b"HTTP/1.1 415")
                        assert await reader.readexactly(2) == b"no"
                    assert not missed.is_set()
        finally:
            go_on.set()
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)
            await listener.drain(0)

    run(main())
