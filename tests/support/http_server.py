"""A server on a loopback port that speaks bytes from a script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from gateway.mcp import Exchange
from gateway.settings import ServerSettings
from gateway.upstream.http import HttpUpstream

if TYPE_CHECKING:
    import ssl

    import pytest

    from gateway._core import Decision
    from gateway.asgi import Headers, Message, Scope
    from gateway.errors import UpstreamError


@dataclass
class Wire:
    """One accepted connection, from the server's end."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def request(self) -> bytes:
        """One whole request with a Content-Length, or none."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        return head + await self.reader.readexactly(length)

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, body: bytes = b"{}", *, status: str = "200 OK", extra: str = "") -> None:
        """A whole JSON answer."""
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{extra}"
        await self.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)

    def reset(self) -> None:
        """Close at once."""
        self.writer.transport.abort()


Behaviour = Callable[[Wire], Awaitable[None]]


@dataclass
class LoopbackServer:
    """Runs a behaviour for each connection."""

    port: int
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"


@asynccontextmanager
async def serving(
    behaviour: Behaviour, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[LoopbackServer]:
    """Serve on a free port until the block ends."""
    state = LoopbackServer(0)
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state.connections += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await behaviour(_Recorded(reader, writer, state.requests))
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass
class _Recorded(Wire):
    requests: list[bytes] = field(default_factory=list)

    async def request(self) -> bytes:
        whole = await super().request()
        self.requests.append(whole)
        return whole


async def keep_answering(wire: Wire) -> None:
    """Answer request after request on one connection."""
    while True:
        await wire.request()
        await wire.answer()


def upstream(url: str, **settings: object) -> HttpUpstream:
    """The upstream under test, with short bounds unless told otherwise."""
    from pathlib import Path

    bounds: dict[str, object] = {"connect_timeout_s": 5.0, "first_byte_timeout_s": 5.0}
    return HttpUpstream(
        ServerSettings(name="s", policy=Path("unused"), url=url, **{**bounds, **settings})  # type: ignore[arg-type]
    )


async def ask(
    server: HttpUpstream,
    body: bytes = b"{}",
    *,
    method: str = "POST",
    headers: Headers | None = None,
    on_send: Callable[[Message], Awaitable[None]] | None = None,
    decision: object = None,
) -> list[Message]:
    """Send one request through an upstream; its messages."""
    messages: list[Message] = []
    scope: Scope = {
        "type": "http",
        "method": method,
        "headers": headers or [],
        "extensions": {"interlock": Exchange("g", "s", cast("Decision | None", decision))},
    }

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        messages.append(message)
        if on_send is not None:
            await on_send(message)

    await server(scope, receive, send)
    return messages


def body_of(messages: list[Message]) -> bytes:
    """The body that these messages carry."""
    return b"".join(message.get("body", b"") for message in messages[1:])


def fault(error: pytest.ExceptionInfo[UpstreamError]) -> tuple[str, bool]:
    """The reason, and whether the request may have been seen."""
    return error.value.reason, error.value.sent
