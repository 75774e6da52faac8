"""Time as an argument: whatever can tell the time and call back later, which an event loop can.

Invariant: nothing under `upstream` waits on any other clock, so that tests move time by hand.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class Timer(Protocol):
    """A call that is due later."""

    def cancel(self) -> None:
        """Never make the call."""


class Clock(Protocol):
    """The part of an event loop that keeps time; seconds, monotonic."""

    def time(self) -> float:
        """Now."""

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> Timer:
        """Call `callback(*args)` once, `delay` seconds from now."""


@asynccontextmanager
async def within(clock: Clock, seconds: float) -> AsyncIterator[None]:
    """Bound a block of code.

    Raises:
        TimeoutError: the block took longer than `seconds`.
    """
    async with asyncio.timeout(None) as limit:
        # A moment in the loop's past expires at once: the loop's own clock decides nothing here.
        timer = clock.call_later(seconds, limit.reschedule, 0.0)
        try:
            yield
        finally:
            timer.cancel()


async def pause(clock: Clock, seconds: float) -> None:
    """Wait `seconds`."""
    done = asyncio.Event()
    timer = clock.call_later(seconds, done.set)
    try:
        await done.wait()
    finally:
        timer.cancel()
