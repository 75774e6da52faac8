"""What tests of the stdio parts share: a clock that is moved by hand, clients without sockets,
messages."""

from __future__ import annotations

import asyncio
import heapq
import json
import sys
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway._core import Caller, Engine, LimitTable, PolicySet
from gateway.mcp import Exchange
from gateway.settings import ServerSettings
from gateway.upstream.stdio import StdioUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


SERVER = Path(__file__).with_name("scripted_server.py")
ALLOW = PolicySet.parse(b'{"version":"1","default":"allow"}', name="allow.json")
SOON_S = 20.0
"""A bound on what should happen at once, so that a test fails instead of hanging."""


class HandClock:
    """Time that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._order = count()
        self._timers: list[tuple[float, int, HandTimer]] = []
        self._armed = asyncio.Condition()

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Any, *args: Any) -> HandTimer:
        timer = HandTimer(callback, args)
        heapq.heappush(self._timers, (self.now + delay, next(self._order), timer))
        return timer

    def pending(self) -> list[float]:
        """Seconds until each timer that is still wanted."""
        return sorted(at - self.now for at, _, timer in self._timers if timer.wanted)

    async def armed(self, seconds: float) -> None:
        """Until something waits for so long from now."""
        async with asyncio.timeout(SOON_S):
            while not any(abs(left - seconds) < 1e-6 for left in self.pending()):
                await breathe()

    async def advance(self, seconds: float) -> None:
        """Move time, calling what falls due on the way."""
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end:
            self.now, _, timer = heapq.heappop(self._timers)
            if timer.wanted:
                timer.wanted = False
                timer.callback(*timer.args)
                await breathe()
        self.now = end
        await breathe()


class HandTimer:
    def __init__(self, callback: Any, args: tuple[Any, ...]) -> None:
        self.callback, self.args, self.wanted = callback, args, True

    def cancel(self) -> None:
        self.wanted = False


async def breathe() -> None:
    """Let everything that is ready run."""
    for _ in range(20):
        await asyncio.sleep(0)


async def until(happened: Callable[[], bool]) -> None:
    """Wait for something that has no event of its own."""
    while not happened():
        await breathe()


def run(test: Any) -> Any:
    """Run an async test, bounded."""

    async def bounded() -> Any:
        async with asyncio.timeout(SOON_S):
            return await test

    return asyncio.run(bounded())


def settings(*arguments: str, **changes: Any) -> ServerSettings:
    command = (sys.executable, "-I", str(SERVER), *arguments)
    return ServerSettings(name="s", policy=Path("p"), **{"command": command, **changes})


def request(
    ident: Any, method: str = "tools/call", *, modern: bool = False, **params: Any
) -> bytes:
    """A request; `script` and other keywords become arguments of a tool call, or params."""
    meta = params.pop("meta", {})
    if modern:
        meta = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
            **meta,
        }
    body = {"name": "t", "arguments": params} if method == "tools/call" else params
    if meta:
        body = {**body, "_meta": meta}
    return json.dumps({"jsonrpc": "2.0", "id": ident, "method": method, "params": body}).encode()


INITIALIZE = request(
    0, "initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "c"}
)


class Reply:
    """The answer to one request, as it comes."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.ended = False
        self.stalled = False
        self.task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()

    async def send(self, message: Any) -> None:
        await self.go.wait()
        if message["type"] == "http.response.start":
            assert not self.status
            self.status, self.headers = message["status"], dict(message["headers"])
        else:
            assert self.status
            assert not self.ended
            self.body += message["body"]
            self.ended = not message["more_body"]
        self._changed.set()

    @property
    def streams(self) -> bool:
        return self.headers.get(b"content-type") == b"text/event-stream"

    @property
    def raw(self) -> list[bytes]:
        """The messages, as they were spelt."""
        if not self.streams:
            return [self.body]
        events = self.body.decode().split("\n\n")
        return [e.split("data: ", 1)[1].encode() for e in events if e.startswith("event: message")]

    @property
    def messages(self) -> list[Any]:
        return [json.loads(raw) for raw in self.raw]

    @property
    def last(self) -> Any:
        return self.messages[-1]

    async def holds(self, count: int) -> Reply:
        """Until the stream has brought so many messages; 0: until it has begun."""
        while not self.status or (count and len(self.raw) < count):
            self._changed.clear()
            await self._changed.wait()
        return self

    async def done(self) -> Reply:
        assert self.task is not None
        await self.task
        return self


class Client:
    """One grant's client of an upstream, without the door between."""

    def __init__(self, upstream: StdioUpstream, *, modern: bool = False) -> None:
        self.upstream = upstream
        self.modern = modern
        self.session: str | None = None
        self.engine = Engine(ALLOW, LimitTable(64))
        self.caller = Caller("g", server="s")

    def post(self, body: bytes) -> Reply:
        """Begin a POST."""
        return self._begin("POST", self.engine.decide(self.caller, body), body)

    def get(self) -> Reply:
        return self._begin("GET", None, b"")

    def delete(self) -> Reply:
        return self._begin("DELETE", None, b"")

    async def ask(self, body: bytes) -> Reply:
        """A POST and its whole answer."""
        return await self.post(body).done()

    async def open(self) -> Reply:
        """Initialize, and remember the session."""
        reply = await self.ask(INITIALIZE)
        self.session = reply.headers[b"mcp-session-id"].decode()
        return reply

    def _begin(self, method: str, decision: Any, body: bytes) -> Reply:
        exchange = Exchange("g", "s", decision, self.session, self.modern, body)
        scope = {"type": "http", "method": method, "extensions": {"interlock": exchange}}
        reply = Reply()

        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        reply.task = asyncio.ensure_future(self.upstream(scope, receive, reply.send))
        return reply


@asynccontextmanager
async def upstream(
    *arguments: str, clock: HandClock | None = None, **changes: Any
) -> AsyncIterator[StdioUpstream]:
    """A server over stdio that is started, and closed at the end of the block."""
    async with closing(
        StdioUpstream(settings(*arguments, **changes), clock=clock), clock
    ) as server:
        await server.start()
        yield server


@asynccontextmanager
async def closing(server: StdioUpstream, clock: HandClock | None) -> AsyncIterator[StdioUpstream]:
    """A server over stdio that leaves no process behind at the end of the block."""
    try:
        yield server
    finally:
        closed = asyncio.ensure_future(server.aclose(0))
        if isinstance(clock, HandClock):
            await breathe()
            await clock.advance(1)
        await closed
        assert server.children == 0


@asynccontextmanager
async def client(*arguments: str, **changes: Any) -> AsyncIterator[Client]:
    """A client of such a server that has opened a session."""
    async with upstream(*arguments, **changes) as server:
        it = Client(server)
        await it.open()
        yield it


def log(text: str, **extra: Any) -> dict[str, Any]:
    """A notification of the server's."""
    return {"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": text, **extra}}
