"""A server in the tests' own event loop that answers bytes from a script."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

TURNS = 4
"""Turns of the event loop after which what was written has been read at the other end."""
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


async def turns(count: int = TURNS) -> None:
    """Let the event loop read what was written."""
    for _ in range(count):
        await asyncio.sleep(0)


@dataclass(frozen=True)
class Asked:
    """A request as a server saw it."""

    line: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    """Sorted."""
    body: bytes


Script = Callable[[Asked], "Sequence[bytes | str]"]
"""What a server does for a request: bytes to write, `close`, `reset`, or `wait` until the client
has said all it says."""


def plainly(asked: Asked) -> list[bytes | str]:
    """An empty result for a request, 202 for what wants no answer, 405 for what has no body."""
    try:
        message = json.loads(asked.body)
    except ValueError:
        message = None
    if message is None:
        return [b"HTTP/1.1 405 No\r\nallow: POST\r\ncontent-length: 0\r\n\r\n"]
    if not isinstance(message, dict) or "id" not in message or "method" not in message:
        return [b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"]
    result: dict[str, Any] = {"content": []}
    extra = b""
    if message["method"] == "initialize":
        version = message["params"].get("protocolVersion")
        result = {"protocolVersion": version, "capabilities": {}}
        extra = b"mcp-session-id: session-1\r\n"
    return [document({"jsonrpc": "2.0", "id": message["id"], "result": result}, extra)]


def document(message: Any, extra: bytes = b"") -> bytes:
    """A whole answer in JSON."""
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n"
    return head % (extra, len(body)) + body


@dataclass
class Server:
    """Answers from a script and remembers what it was asked."""

    script: Script = plainly
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    live: set[asyncio.Transport] = field(default_factory=set)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """The client has said all it says."""
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    """A request has come."""
    port: int = 0

    async def start(self) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Serving(self), "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server


class _Serving(asyncio.Protocol):
    def __init__(self, server: Server) -> None:
        self.server = server
        self.held = b""
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.server.connections += 1
        self.server.live.add(self.transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.server.live.discard(self.transport)
        if self.task is not None:
            self.task.cancel()

    def data_received(self, data: bytes) -> None:
        self.held += data
        head, blank, rest = self.held.partition(b"\r\n\r\n")
        length = int(found[1]) if (found := _LENGTH.search(head)) else 0
        if not blank or len(rest) < length:
            return
        self.held = rest[length:]
        line, *lines = head.split(b"\r\n")
        pairs = sorted(
            (n.lower(), v.strip()) for n, _, v in (each.partition(b":") for each in lines)
        )
        port = b":%d" % self.server.port
        asked = Asked(line, tuple((n, v.replace(port, b":PORT")) for n, v in pairs), rest[:length])
        self.server.asked.append(asked)
        self.server.arrived.set()
        self.task = asyncio.get_running_loop().create_task(self.answer(asked))

    async def answer(self, asked: Asked) -> None:
        for step in self.server.script(asked):
            if isinstance(step, bytes):
                self.transport.write(step)
                await turns()
            elif step == "close":
                self.transport.close()
            elif step == "reset":
                self.transport.abort()
            elif step == "wait":
                await self.server.left.wait()
