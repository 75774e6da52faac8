"""An MCP server that does to each call what its tool is named after.

INVARIANT: nothing that is written waits in memory for a reader, so that a client that reads nothing
costs the server nothing either.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import cast

from bench.load.peers import ANSWER
from gateway import eventloop

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\n%b\r\n"
JSON, EVENTS = b"application/json", b"text/event-stream"
CHUNKED = b"transfer-encoding: chunked\r\n"
PIECE_BYTES = 64 * 1024
LARGE_BYTES = 8 << 20
GIGABYTE = 1 << 30
DRIP_S = 0.01
FIELDS = 100_000
TOOL = re.compile(rb'"name":"([a-z0-9_-]+)"')
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
SESSION = b"mcp-session-id: %d\r\n"


def document(head: bytes = b"", answer: bytes = ANSWER.encode()) -> bytes:
    """A whole answer of JSON."""
    return HEAD % (JSON, b"%bcontent-length: %d\r\n" % (head, len(answer))) + answer


def chunk(content: bytes) -> bytes:
    """One chunk."""
    return b"%x\r\n%b\r\n" % (len(content), content)


def repeated(head: bytes, piece: bytes, total: int | None = None) -> Iterator[bytes]:
    """A head, and a piece over and over, for ever or for so many bytes."""
    yield head
    sent = 0
    while total is None or sent < total:
        yield piece if total is None else piece[: total - sent]
        sent += len(piece)


def text(size: int) -> Iterator[bytes]:
    """A whole answer of JSON, one long text, of so many bytes."""
    begin, end = b'{"jsonrpc":"2.0","id":42,"result":{"content":"', b'"}}'
    yield HEAD % (JSON, b"content-length: %d\r\n" % size) + begin
    yield from repeated(b"", b"x" * PIECE_BYTES, size - len(begin) - len(end))
    yield end


def fields() -> Iterator[bytes]:
    """An answer with very many header fields."""
    for first in range(0, FIELDS, 1000):
        lines = b"".join(b"x-%d: y\r\n" % i for i in range(first, first + 1000))
        yield lines if first else b"HTTP/1.1 200 OK\r\n" + lines
    yield b"content-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


LONG: dict[bytes, Callable[[], Iterator[bytes]]] = {
    b"large": lambda: text(LARGE_BYTES),
    b"gigabyte": lambda: text(GIGABYTE),
    b"gigabyte-in-chunks": lambda: repeated(HEAD % (JSON, CHUNKED), chunk(b" " * PIECE_BYTES)),
    b"endless-event": lambda: repeated(
        HEAD % (EVENTS, CHUNKED) + chunk(b"data: "), chunk(b"x" * PIECE_BYTES)
    ),
    b"endless-events": lambda: repeated(
        HEAD % (EVENTS, CHUNKED),
        chunk(b'data: {"jsonrpc":"2.0","method":"notifications/message"}\n\n' * 1000),
    ),
    b"fields": fields,
    b"informational": lambda: repeated(b"", b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"),
    b"head": lambda: repeated(b"HTTP/1.1 200 OK\r\nx-endless: ", b"x" * PIECE_BYTES),
}
"""Answers that are written as fast as they are read."""

SHORT: dict[bytes, bytes] = {
    b"twice": 2 * document(),
    b"garbage": bytes(range(256)) * 16,
    b"bad-chunk": HEAD % (JSON, CHUNKED) + b"zz\r\n{}",
}
"""Answers that are written at once; what comes next on the connection is up to the client."""


class Slots:
    """So many calls are served at once, each for so long; the others wait in line."""

    def __init__(self, count: int, service_s: float) -> None:
        self._free = count
        self._service_s = service_s
        self._line: deque[Connection] = deque()

    def enter(self, connection: Connection) -> None:
        """Answer when there was time for it."""
        if self._free:
            self._free -= 1
            self._serve(connection)
        else:
            self._line.append(connection)

    def _serve(self, connection: Connection) -> None:
        asyncio.get_running_loop().call_later(self._service_s, self._served, connection)

    def _served(self, connection: Connection) -> None:
        connection.transport.write(document())
        if self._line:
            self._serve(self._line.popleft())
        else:
            self._free += 1


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    sessions = 0

    def __init__(self, slots: Slots) -> None:
        self.transport: asyncio.Transport
        self._slots = slots
        self._received = b""
        self._pieces: Iterator[bytes] = iter(())
        self._paused = self._writing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if end and length and len(body) >= int(length[1]):
            self._received = b""
            self._answer(body)

    def connection_lost(self, error: Exception | None) -> None:
        self._pieces = iter(())

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if not self._writing:
            self._write()

    def _answer(self, body: bytes) -> None:
        found = TOOL.search(body)
        tool = found[1] if found else b"initialize"
        if tool == b"slots":
            self._slots.enter(self)
        elif tool in LONG:
            self._pieces = LONG[tool]()
            self._write()
        elif tool == b"drip":
            self._drip(document(), 0)
        elif tool == b"initialize":
            Connection.sessions += 1
            result = b'{"jsonrpc":"2.0","id":42,"result":{"protocolVersion":"2025-06-18"}}'
            self.transport.write(document(SESSION % Connection.sessions, result))
        else:
            self.transport.write(SHORT.get(tool, document()))

    def _write(self) -> None:
        """Piece by piece, each in its own turn of the loop, until the client takes no more."""
        self._writing = False
        piece = None if self._paused else next(self._pieces, None)
        if piece is not None:
            self.transport.write(piece)
            self._writing = True
            asyncio.get_running_loop().call_soon(self._write)

    def _drip(self, answer: bytes, at: int) -> None:
        if at < len(answer) and not self.transport.is_closing():
            self.transport.write(answer[at : at + 1])
            asyncio.get_running_loop().call_later(DRIP_S, self._drip, answer, at + 1)


def step_back() -> None:
    """Leave the core to the loads, whose figures are not to be spoilt: by niceness, and by that of
    the session where Linux schedules by sessions (sched(7), "The autogroup feature")."""
    os.nice(5)
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text("5", encoding="ascii")


async def serve(port: int, slots: Slots) -> None:
    """Until the process is ended."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(slots), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.stress.server", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--slots", type=int, default=64, help="calls of `slots` that are served")
    parser.add_argument("--service", type=float, default=0.04, help="seconds that each takes")
    parser.add_argument("--step-back", action="store_true", help="leave the core to others")
    options = parser.parse_args()
    if options.step_back:
        step_back()
    eventloop.run(serve(options.port, Slots(options.slots, options.service)))
