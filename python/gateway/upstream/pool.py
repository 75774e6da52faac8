"""The keep-alive pool of one server.

INVARIANT: open connections and waiting requests are both bounded, and a connection is in one hand
at a time: a request's, or the pool's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import UpstreamError

if TYPE_CHECKING:
    from gateway.upstream.connection import Borrower, Connection


BEAT_S = 1.0
"""How finely idleness is counted. A connection that was put aside within the current beat is taken
as the event loop knows it: to ask the kernel as well costs more than all the rest of taking it, and
tells of the last microseconds only."""


@dataclass(frozen=True, slots=True)
class PoolBounds:
    """How much one server may take up."""

    connections: int = 1024
    waiting: int = 256
    wait_s: float = 5.0
    idle_s: float = 60.0


class Pool:
    """Connections to one server, the last used first, so that surplus ones grow old and go."""

    def __init__(
        self, dial: Callable[[], Awaitable[Connection]], bounds: PoolBounds = PoolBounds()
    ) -> None:
        self._dial = dial
        self._bounds = bounds
        self._open = 0
        self._idle: list[Connection] = []
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._beats = 0
        """How often the time of a beat has passed while a connection was kept."""
        self._beating: asyncio.TimerHandle | None = None
        self._closed = False
        self._empty: asyncio.Event | None = None

    @property
    def open(self) -> int:
        """Connections in use or kept."""
        return self._open

    def take(self) -> Connection | None:
        """A kept connection that was usable a moment ago, or None if there is none."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.ended and (connection.idle_since == self._beats or connection.quiet):
                return connection
            self.discard(connection)
        return None

    def borrow(self, borrower: Borrower) -> Connection | None:
        """A kept connection for one exchange that is read and written by the borrower, or None."""
        idle = self._idle
        if idle and idle[-1].idle_since == self._beats and not idle[-1].ended:
            connection: Connection | None = idle.pop()
        else:
            connection = self.take()
        if connection is not None:
            connection.borrower = borrower
        return connection

    def take_back(self, connection: Connection) -> None:
        """End a loan whose answer was whole, with nothing behind it."""
        if self._waiting or self._closed or connection.ended or connection.paused:
            self.release(connection)
            return
        if connection.unsent():
            self.discard(connection)
            return
        connection.borrower = None
        connection.idle_since = self._beats
        self._idle.append(connection)
        if self._beating is None:
            self._await_beat()

    async def acquire(self) -> Connection:
        """A connection that was usable a moment ago, and that no one else has.

        Raises:
            UpstreamError: nothing was sent; reason `busy` where the bounds are reached.
        """
        connection = self.take()
        if connection is not None:
            return connection
        if self._open >= self._bounds.connections:
            handed = await self._queue()
            if handed is not None:
                return handed
        else:
            self._open += 1
        try:
            return await self._dial()
        except BaseException:
            self._forget()
            raise

    def release(self, connection: Connection) -> None:
        """Give a connection back after a whole answer; it is kept only if it is fit for another."""
        if not connection.finish() or self._closed:
            self.discard(connection)
        elif not self._waiting or not self._hand_on(connection):
            connection.idle_since = self._beats
            self._idle.append(connection)
            if self._beating is None:
                self._await_beat()

    def discard(self, connection: Connection) -> None:
        """Close a connection that must not be used again."""
        connection.abort()
        self._forget()

    async def aclose(self, grace_s: float) -> None:
        """Close what is idle now, and what is in use when it comes back or after `grace_s`
        seconds."""
        self._closed = True
        if self._beating is not None:
            self._beating.cancel()
            self._beating = None
        while self._idle:
            self.discard(self._idle.pop())
        if self._open and grace_s > 0:
            self._empty = asyncio.Event()
            try:
                async with asyncio.timeout(grace_s):
                    await self._empty.wait()
            except TimeoutError:
                return

    async def _queue(self) -> Connection | None:
        """Wait for a turn: a connection, or leave (None) to open one in the place of one that
        closed."""
        if len(self._waiting) >= self._bounds.waiting:
            raise UpstreamError("busy", "too many requests wait for this server", sent=False)
        waiter: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(self._bounds.wait_s):
                return await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled():
                self._pass_on(waiter.result())
            elif waiter in self._waiting:
                self._waiting.remove(waiter)
            if isinstance(error, TimeoutError):
                raise UpstreamError(
                    "busy", "no connection came free in time", sent=False
                ) from error
            raise

    def _pass_on(self, handed: Connection | None) -> None:
        """Give away what came for a request that has gone meanwhile."""
        if handed is None:
            self._forget()
        else:
            self.discard(handed)

    def _hand_on(self, connection: Connection | None) -> bool:
        """Give a connection, or leave to open one, to a request that waits; False if none does."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return True
        return False

    def _forget(self) -> None:
        if self._hand_on(None):
            return
        self._open -= 1
        if self._open == 0 and self._empty is not None:
            self._empty.set()

    def _await_beat(self) -> None:
        beat_s = min(BEAT_S, self._bounds.idle_s)
        self._beating = asyncio.get_running_loop().call_later(beat_s, self._beat)

    def _beat(self) -> None:
        """Close what has been kept for too long."""
        self._beating = None
        self._beats += 1
        horizon = self._beats - self._bounds.idle_s / min(BEAT_S, self._bounds.idle_s)
        old = [connection for connection in self._idle if connection.idle_since <= horizon]
        self._idle = [connection for connection in self._idle if connection.idle_since > horizon]
        for connection in old:
            self.discard(connection)
        if self._idle:
            self._await_beat()
