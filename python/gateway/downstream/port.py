"""What the connections of one listener share on the fast path, and what is done to all of them.

INVARIANT: a connection is known here from its first byte until nothing is under way on it, so that
draining, a revoked token and a deadline reach each of them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.downstream.wire import TICK_S, Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway._core import Gate
    from gateway.downstream.http import HttpDoor
    from gateway.downstream.passage import Passage
    from gateway.downstream.visit import Lender, Service
    from gateway.identity import Identity


class Port:
    """What all connections of one listener share.

    Args:
        door: the ASGI application.
        gate: what the core is sure of.
        services: by the tags of the gate's routes, those that lend connections and others.
        address: what was bound.
    """

    def __init__(
        self, door: HttpDoor, gate: Gate, services: Mapping[int, Service], address: tuple[str, int]
    ) -> None:
        self.door = door
        self.gate = gate
        self.load = door.load
        self.load.gates.append(gate)
        self.scheme = door.scheme
        self.services: dict[int, Service] = {}
        self.lenders: dict[int, Lender] = {}
        self.serve(services)
        self.bounds = door.bounds
        self.address = address
        self.wires: set[Wire] = set()
        self.passages: set[Passage] = set()
        """Those that go on although their client has left."""
        self._reading: set[Wire] = set()
        """Connections on which a body may be incomplete."""
        self.now = 0.0
        """The event loop's time at the last tick; stamps are taken from it."""
        self.take_over: Callable[[asyncio.Transport, bytes], None]
        """Serves a connection that is not plain HTTP/1.1, given what has come on it."""
        self._gone: asyncio.Future[None] | None = None
        self._ticking: asyncio.TimerHandle | None = None

    def serve(self, services: Mapping[int, Service]) -> None:
        """Know these services too."""
        for tag, service in services.items():
            self.services[tag] = service
            if service.lender is not None:
                self.lenders[tag] = service.lender

    def cut_strangers(self, identity: Identity) -> None:
        """End the calls whose credentials are none any more."""
        for wire in list(self.wires):
            wire.recognise(identity)
            wire.cut_strangers(identity)
        for passage in list(self.passages):
            if not passage.is_known_to(identity):
                passage.abandon()

    def wire(self) -> Wire:
        """A protocol for a connection that was accepted."""
        return Wire(self)

    def enter(self, wire: Wire) -> None:
        """Count a connection in."""
        if self._ticking is None:
            self._wait()
        self.wires.add(wire)

    def leave(self, wire: Wire) -> None:
        """Count a connection out."""
        self.wires.discard(wire)
        self._reading.discard(wire)
        self._look_whether_gone()

    def may_read(self, wire: Wire) -> bool:
        """Whether a connection may keep a body that is incomplete, of which there are no more than
        calls may be in flight."""
        self._reading.add(wire)
        if len(self._reading) > self.load.max_in_flight:
            self._reading = {each for each in self._reading if each.reads}
        return len(self._reading) <= self.load.max_in_flight

    def orphan(self, passage: Passage) -> None:
        """Look after a call whose client has left."""
        self.passages.add(passage)

    def bury(self, passage: Passage) -> None:
        """Such a call has ended."""
        self.passages.discard(passage)
        self._look_whether_gone()

    @property
    def is_gone(self) -> bool:
        """Whether nothing is under way and no connection is left."""
        return not self.wires and not self.passages

    async def gone(self) -> None:
        """Until nothing is under way and no connection is left."""
        if not self.is_gone:
            self._gone = asyncio.get_running_loop().create_future()
            await self._gone

    def _look_whether_gone(self) -> None:
        if self.is_gone and self._gone is not None:
            if not self._gone.done():
                self._gone.set_result(None)
            self._gone = None

    def drain(self) -> None:
        """Let each answer from now on be its connection's last."""
        self.gate.drain()
        for wire in self.wires:
            wire.retire()

    def close_idle(self) -> None:
        """Close connections on which nothing is under way."""
        for wire in list(self.wires):
            if wire.idle:
                wire.close()

    def cut(self) -> None:
        """The grace is over: answer what can be answered, and close."""
        for wire in list(self.wires):
            wire.cut()
        for passage in list(self.passages):
            passage.abandon()

    def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        self.now = loop.time()
        self._ticking = loop.call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        self._ticking = None
        if self.wires or self.passages:
            self._wait()
        for wire in list(self.wires):
            wire.check(self.now)
        for passage in list(self.passages):
            passage.check(self.now)
