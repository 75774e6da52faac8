"""What is in flight, and when that is too much.

INVARIANT: every request that is counted in is counted out once, however it ends; and the fast
path's gates know it as soon as no more may be in flight, and as soon as there is room again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.denial import Refused, refuse

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from gateway._core import Gate
    from gateway.enforcement import Traffic


class Load:
    """The requests of one data port, whichever way they take through it.

    Args:
        max_in_flight: how many may be served at once.
    """

    __slots__ = ("draining", "full", "gates", "in_flight", "max_in_flight")

    def __init__(self, max_in_flight: int) -> None:
        self.max_in_flight = max_in_flight
        self.in_flight = 0
        self.draining = False
        """Whether nothing new is begun, because the process is about to end."""
        self.full = False
        """Whether as many are in flight as may be, as the gates know it."""
        self.gates: list[Gate] = []
        """What is told of that."""

    def check(self) -> None:
        """See whether a request may be read at all.

        A request over the bound is still read and answered in its own words, since clients die of
        a bare 503; only at twice the bound is that too much to ask.

        Raises:
            Refused: it may not.
        """
        if self.in_flight >= 2 * self.max_in_flight:
            raise Refused(refuse("overloaded"), close=True)

    def unavailable(self, kind: str) -> str | None:
        """Why a message of this kind, itself counted, cannot be passed on now: a code, or None."""
        if self.in_flight > 2 * self.max_in_flight:
            return "overloaded"
        # What only helps running calls to end (replies, cancellations) is not too much before that.
        if kind not in ("request", "batch"):
            return None
        if self.draining:
            return "draining"
        return "overloaded" if self.in_flight > self.max_in_flight else None

    async def counted(self, traffic: Traffic, serving: Awaitable[None]) -> None:
        """Await the serving of a request that counts as in flight, here and for its server."""
        self.in_flight += 1
        traffic.in_flight += 1
        self.fill()
        try:
            await serving
        finally:
            self.leave(traffic)

    def leave(self, traffic: Traffic) -> None:
        """Count a request out."""
        traffic.in_flight -= 1
        self.in_flight -= 1
        if self.full:
            self.ease()

    def fill(self) -> None:
        """If as many are in flight as may be, have the fast path refuse before it decides."""
        if not self.full and self.in_flight >= self.max_in_flight:
            self._tell(full=True)

    def ease(self) -> None:
        """One is in flight no more, and perhaps there is room again."""
        if self.in_flight < self.max_in_flight:
            self._tell(full=False)

    def _tell(self, *, full: bool) -> None:
        self.full = full
        for gate in self.gates:
            gate.set_full(full)
