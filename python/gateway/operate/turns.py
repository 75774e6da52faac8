"""Turns at what takes long for its size: a scrape of the metrics, and the list of limits.

INVARIANT: however many ask and however slowly they read, telling takes a hundredth of the time, a
little ahead of it at most, and no more than a few answers are kept that are not taken yet. Who asks
for more waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

T = TypeVar("T")

SHARE = 0.01
"""Of the time, for all of them together: a tail of one call in a hundred must not be theirs."""
AHEAD_S = 5.0
"""Of the time whose share may be taken at once, after a while in which nobody asked."""
LONGEST_S = 0.25
"""Between two turns, also where one takes long because the process has much else to do."""
REQUEST_S = 0.0005
"""What a request takes besides, to be read and to be answered."""
ON_THEIR_WAY = 8
"""Answers at once that were made and not taken yet."""


class Turns:
    """Whose turn it is.

    Args:
        clock: seconds, that only rise.
        sleep: waits for so many of them.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self._places = asyncio.Semaphore(ON_THEIR_WAY)
        self._one = asyncio.Lock()
        self._paid_until = clock() - AHEAD_S
        """By when the share for all that was told so far has come together."""

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Of those whose answer is made and on its way, for as long as this lasts."""
        async with self._places:
            yield

    async def take(self, work: Callable[[], Awaitable[T]]) -> T:
        """What comes of the work, once it is its turn."""
        async with self._one:
            while (wait_s := self._paid_until - self._clock()) > 0:
                await self._sleep(wait_s)
            began = self._clock()
            self._paid_until = max(self._paid_until, began - AHEAD_S)
            try:
                return await work()
            finally:
                took = self._clock() - began + REQUEST_S
                self._paid_until += min(took / SHARE, LONGEST_S)
