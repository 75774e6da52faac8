"""A port of the fast path without sockets, without a server and with a clock of its own."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from differential.replies import EVENTS, counted, head
from differential.said import call, post
from gateway._core import Caller, Engine, Gate, LimitTable, PolicySet
from gateway.downstream.http import HttpDoor
from gateway.downstream.port import Port
from gateway.downstream.visit import Bounds, Service
from gateway.downstream.wire import TICK_S, Wire
from gateway.enforcement import EnforcementPoint, Traffic
from gateway.errors import UpstreamError
from gateway.identity import GrantIdentity
from gateway.sessions import Sessions
from gateway.settings import Address, Settings
from support.door import ALLOW, Script, ScriptedUpstream
from support.transcript import Answer, Transcript

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.asgi import Send

HOST = b"127.0.0.1:8080"
WAITED = 2 * TICK_S
"""How late a deadline may be noticed."""
OWN = b"POST /up HTTP/1.1\r\nhost: up\r\n"


LIMITED = b"""{"version":"1","default":"allow","tools":{
    "t":{"limits":[{"counter":"calls","window":"day","max":9},
                   {"counter":"running","algorithm":"concurrency","max":9}]}}}"""
"""A policy under which `t` is limited."""
BEGUN = head(EVENTS, b"transfer-encoding: chunked")
LIST = b'{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"secret"},{"name":"a"}]}}'
"""The head of an event stream."""


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Transport(asyncio.Transport):
    """A client's connection from the gateway's end; what is written is taken if `takes`."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.ended = ""
        """`closing` until all is taken, then `closed`; or `aborted`."""
        self.takes = True
        self.wire: Any = None

    def write(self, data: Any) -> None:
        assert not self.ended, "a write behind the end"
        self.written += bytes(data)

    def close(self) -> None:
        if not self.ended:
            self.ended = "closing"
            if self.takes:
                self.ended = "closed"
                self.wire.connection_lost(None)

    def abort(self) -> None:
        if self.ended not in ("closed", "aborted"):
            self.ended = "aborted"
            self.wire.connection_lost(None)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 50000) if name == "peername" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """What waits here is not counted."""

    @property
    def answers(self) -> list[Answer]:
        transcript = Transcript()
        transcript.take(self.written)
        return transcript.answers()


@dataclass
class Loan:
    """A server's connection, lent to a passage."""

    passage: Any
    written: bytes = b""
    paused: bool = False
    ended: str = ""
    """`kept` or `discarded`."""

    def write(self, data: bytes) -> None:
        self.written += data

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    @property
    def body(self) -> bytes:
        """Of what was asked."""
        return self.written.partition(b"\r\n\r\n")[2]

    def answer(self, data: bytes) -> None:
        """Send this to the gateway."""
        assert not self.ended, "the connection was given back"
        self.passage.answered(data)


@dataclass
class Lender:
    """A server that lends connections without opening any."""

    loans: list[Loan] = field(default_factory=list)
    first_byte_timeout_s: float = 60.0
    idle_timeout_s: float = 10.0
    opening: asyncio.Future[None] | None = None
    """Set to have connections opened first."""
    raw: bytes = b""
    """What an answer that was not plain began with."""
    rereading: Callable[[Send], Awaitable[None]] | None = None
    head: bytes = OWN
    own_names: tuple[bytes, ...] = (b"host",)

    def borrow(self, borrower: Any) -> Loan | None:
        return self._lend(borrower) if self.opening is None else None

    async def open(self, borrower: Any) -> Loan:
        assert self.opening is not None
        await self.opening
        return self._lend(borrower)

    def take_back(self, loan: Loan) -> None:
        assert not loan.ended
        loan.ended = "kept"

    def discard(self, loan: Loan) -> None:
        assert not loan.ended
        loan.ended = "discarded"

    def reread(self, loan: Loan, raw: bytes) -> Callable[[Send], Awaitable[None]]:
        self.raw = raw
        loan.ended = "reread"
        assert self.rereading is not None
        return self.rereading

    def _lend(self, borrower: Any) -> Loan:
        self.loans.append(Loan(borrower))
        return self.loans[-1]


class FastRig:
    """A port whose one server is a `Lender`, and whose application's server answers by a script."""

    def __init__(
        self,
        policy: bytes = ALLOW,
        script: Script | None = None,
        bounds: Bounds | None = None,
        **settings: Any,
    ) -> None:
        self.engine = Engine(PolicySet.parse(policy, name="policy.json"), LimitTable(64))
        self.lender = Lender()
        self.traffic = Traffic()
        self.upstream = ScriptedUpstream(script)
        service = Service(
            "default",
            self.upstream,
            {"default": EnforcementPoint(self.engine)},
            Sessions(LimitTable(64), "default"),
            self.traffic,
            cast("Any", self.lender),
        )
        self.door = HttpDoor(
            Settings(servers=(), listen=Address("127.0.0.1", 8080), **settings),
            {b"/mcp": service},
            GrantIdentity(Settings(servers=())),
            bounds,
        )
        route = (b"/mcp", self.engine, "default", "default", OWN, [b"host"], 0, True)
        self.port = Port(
            self.door, Gate(hosts=[HOST], routes=[route]), {0: service}, ("127.0.0.1", 8080)
        )
        self.port._ticking = cast("asyncio.TimerHandle", object())  # the clock is ours
        self.taken_over: list[bytes] = []
        self.port.take_over = lambda transport, raw: self.taken_over.append(raw)

    def connect(self) -> tuple[Wire, Transport]:
        transport, wire = Transport(), self.port.wire()
        transport.wire = wire
        wire.connection_made(transport)
        return wire, transport

    def wait(self, seconds: float) -> None:
        """Let the clock run, and look at deadlines as often as the port does."""
        for _ in range(round(seconds / TICK_S)):
            self.port.now += TICK_S
            for wire in list(self.port.wires):
                wire.check(self.port.now)
            for passage in list(self.port.passages):
                passage.check(self.port.now)

    def drain(self) -> None:
        self.door.load.draining = True
        self.port.drain()

    @property
    def in_flight(self) -> tuple[int, int]:
        return self.door.load.in_flight, self.traffic.in_flight

    def used(self, counter: str) -> float:
        """How much of a limit is used."""
        caller = Caller("default", server="default")
        return sum(
            float(row["used"] or 0)
            for row in self.engine.usage(caller)
            if row["counter"] == counter
        )


def refused(reason: str, *, sent: bool = False) -> UpstreamError:
    return UpstreamError(cast("Any", reason), "no", sent=sent)


def local(data: bytes) -> bytes:
    return data.replace(b"HOST", HOST)


def calling(tool: str = "t", id: int = 1) -> bytes:
    return local(post(call(tool, id=id)))


def result(id: int = 1) -> bytes:
    return counted(b'{"jsonrpc":"2.0","id":%d,"result":{}}' % id)


def code(answer: Answer) -> str:
    found = json.loads(answer.body)
    if "error" in found:
        return str(found["error"]["data"]["code"])
    return str(found["result"]["_meta"]["interlock/decision"]["code"])


async def turns() -> None:
    """Let tasks run that have what they wait for."""
    for _ in range(10):
        await asyncio.sleep(0)
