"""What a client that does not read, or has left, may cost: little memory, for a bounded time."""

from __future__ import annotations

import asyncio
import fcntl
import json
import socket
import struct
import termios
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from gateway import connection
from support.doors import ANSWER_S, NAME, OPEN, Side, looping
from support.raw_server import Asked, turns

if TYPE_CHECKING:
    from gateway.downstream.wire import Wire
    from support.doors import Run

LARGE_BYTES = 8 << 20
RECEIVE_BYTES = 4096
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n%b\r\n"


def call(tool: str = "free") -> bytes:
    """A whole request."""
    params = {"name": tool, "arguments": {}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    body = json.dumps(message).encode()
    head = b"POST /mcp HTTP/1.1\r\nhost: %b\r\ncontent-type: application/json\r\n"
    return head % NAME + b"content-length: %d\r\n\r\n" % len(body) + body


def large(asked: Asked) -> list[bytes | str]:
    """An answer that no buffer holds."""
    return [HEAD % b"content-length: %d\r\n" % LARGE_BYTES + bytes(LARGE_BYTES)]


def endless(asked: Asked) -> Iterator[bytes | str]:
    """An answer that has no end."""
    yield HEAD % b"transfer-encoding: chunked\r\n"
    while True:
        yield b"10000\r\n" + bytes(0x10000) + b"\r\n"


def waits(asked: Asked) -> list[bytes | str]:
    """An answer that comes when the test says so."""
    body = b'{"jsonrpc":"2.0","id":1,"result":{}}'
    return ["wait", HEAD % b"content-length: %d\r\n" % len(body) + body]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with looping() as runs:
        yield runs


@asynccontextmanager
async def sidecar(folder: Path, *, fast: bool, **settings: Any) -> AsyncIterator[Side]:
    """A sidecar and its server."""
    policy = folder / "policy.json"
    policy.write_bytes(OPEN)
    side = Side(policy, fast=fast, **settings)
    await side.open()
    try:
        yield side
    finally:
        await side.close()


async def calling(side: Side) -> socket.socket:
    """A client that has made a call and reads nothing."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", side.port))
    await loop.sock_sendall(client, call())
    return client


async def until(holds: Any) -> None:
    """Let the event loop turn until something is so."""
    async with asyncio.timeout(ANSWER_S):
        while not holds():
            await turns(1)


def the_wire(side: Side) -> Wire:
    """The connection of the only client."""
    assert side.port_of_wires is not None
    (wire,) = side.port_of_wires.wires
    return wire


def was_reset(client: socket.socket) -> bool:
    """Whether the other side wants nothing more of this connection, not even its last bytes."""
    return bool(client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))


def test_of_an_answer_that_nobody_reads_little_is_kept(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with sidecar(tmp_path, fast=True) as side:
            side.server.script = large
            clients = [await calling(side) for _ in range(10)]
            assert side.port_of_wires is not None
            wires = side.port_of_wires.wires
            await until(lambda: len(wires) == 10 and all(wire._stalled for wire in wires))
            await turns(50)
            for transport in [wire._transport for wire in wires]:
                assert 0 < transport.get_write_buffer_size() <= 64 * 1024
                descriptor = transport.get_extra_info("socket").fileno()
                kept = fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4))
                # By itself the kernel takes ten times as much.
                assert struct.unpack("i", kept)[0] <= 256 * 1024
            for client in clients:
                client.close()

    run(main())


@pytest.mark.parametrize("fast", [True, False])
def test_a_client_that_takes_nothing_is_reset(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fast: bool
) -> None:
    monkeypatch.setattr(connection, "STALL_S", 0.05)

    async def main() -> None:
        async with sidecar(tmp_path, fast=fast) as side:
            side.server.script = large
            client = await calling(side)
            if side.port_of_wires is not None:
                await until(lambda: side.port_of_wires and side.port_of_wires.wires)
                wire = the_wire(side)
                await until(lambda: wire._stalled)
                wire.check(wire._stalled + 29.9)
                assert not was_reset(client)
                wire.check(wire._stalled + 30.1)
            await until(lambda: was_reset(client))
            await until(lambda: not cast("Any", side.gateway.data).load.in_flight)
            client.close()

    run(main())


@pytest.mark.parametrize("fast", [True, False])
def test_an_answer_without_end_ends_for_a_client_that_left(
    run: Run, tmp_path: Path, fast: bool
) -> None:
    async def main() -> None:
        async with sidecar(tmp_path, fast=fast) as side:
            side.server.script = cast("Any", endless)
            client = await calling(side)
            await until(lambda: side.server.asked)
            client.close()
            await until(lambda: not side.server.live)
            assert not cast("Any", side.gateway.data).load.in_flight

    run(main())


class Caller:
    """A call on a connection of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def of(cls, side: Side, tool: str = "free") -> Caller:
        """One that has asked."""
        reader, writer = await asyncio.open_connection("127.0.0.1", side.port)
        writer.write(call(tool))
        return cls(reader, writer)

    async def answer(self) -> tuple[bytes, bytes]:
        """Head and body of the answer."""
        async with asyncio.timeout(ANSWER_S):
            head = await self._reader.readuntil(b"\r\n\r\n")
            size = int(head.partition(b"content-length: ")[2].split()[0])
            body = await self._reader.readexactly(size)
        self._writer.close()
        await self._writer.wait_closed()
        return head, body


@pytest.mark.parametrize("fast", [True, False])
def test_what_is_over_the_bound_is_answered_and_not_charged(
    run: Run, tmp_path: Path, fast: bool
) -> None:
    async def main() -> None:
        async with sidecar(tmp_path, fast=fast, max_in_flight=3) as side:
            side.server.script = waits
            for _ in range(2):  # the second time all is as it was
                side.server.asked.clear()
                side.server.left.clear()
                served = [await Caller.of(side) for _ in range(3)]
                await until(lambda: len(side.server.asked) == 3)
                for _ in range(5):
                    head, body = await (await Caller.of(side, "capped")).answer()
                    assert b"\r\nretry-after: 1\r\n" in head
                    assert b'"code":"overloaded"' in body
                assert len(side.server.asked) == 3
                side.server.left.set()
                for caller in served:
                    assert b'"result":{}' in (await caller.answer())[1]
                await until(lambda: not cast("Any", side.gateway.data).load.in_flight)
            (route,) = side.gateway.routes()
            usage = route.engine.usage(route.caller)
            assert {each["used"] for each in usage if each["counter"] == "capped"} == {0}
            counted = Counter({code: n for _, _, code, n in route.engine.counters()})
        # Each has a line, and a count, those that were too many like the others.
        assert counted == {"allowed": 6, "overloaded": 10}
        lines = [json.loads(line) for line in side.lines.path.read_text().splitlines()]
        told = Counter(line["code"] for line in lines if "code" in line)
        assert told == counted
        assert {line["effect"] for line in lines if line.get("code") == "overloaded"} == {"deny"}

    run(main())


@pytest.mark.parametrize("fast", [True, False])
def test_what_is_over_the_bound_is_refused_before_it_is_decided(
    run: Run, tmp_path: Path, fast: bool
) -> None:
    async def main() -> None:
        async with sidecar(tmp_path, fast=fast, max_in_flight=1) as side:
            side.server.script = waits
            served = await Caller.of(side)
            await until(lambda: len(side.server.asked) == 1)
            # A rule would deny it, and is not asked.
            assert b'"code":"overloaded"' in (await (await Caller.of(side, "denied")).answer())[1]
            side.server.left.set()
            await served.answer()
            await until(lambda: not cast("Any", side.gateway.data).load.in_flight)
            assert b'"code":"tool-denied"' in (await (await Caller.of(side, "denied")).answer())[1]

    run(main())
