"""Messages of a child on their way to one HTTP answer.

Invariant: bounded, but for the last message, which always has room; after the last one nothing is
taken in.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.errors import UpstreamError

_LINES = 64
_BYTES = 1 << 20


class Mailbox:
    """A queue with one reader, for the answer to one request or for one GET stream.

    Attributes:
        status: the HTTP status that goes with the last message, if it comes alone.
    """

    def __init__(self, *, lines: int = _LINES, size: int = _BYTES) -> None:
        self.status = 200
        self._limits = lines, size
        self._queue: deque[bytes] = deque()
        self._held = 0
        self._last: bytes | None = None
        self._error: UpstreamError | None = None
        self._closed = False
        self._filled = asyncio.Event()
        self._drained = asyncio.Event()

    @property
    def closed(self) -> bool:
        """Whether the last message is in."""
        return self._closed

    def offer(self, line: bytes) -> bool:
        """Take in a message; False where there is no room, or no more is wanted."""
        if self._closed or len(self._queue) >= self._limits[0] or self._held >= self._limits[1]:
            return False
        self._queue.append(line)
        self._held += len(line)
        self._filled.set()
        return True

    async def deliver(self, line: bytes) -> bool:
        """Take in a message, once there is room; False if no more is wanted."""
        while not self.offer(line):
            if self._closed:
                return False
            self._drained.clear()
            await self._drained.wait()
        return True

    def finish(self, last: bytes | None = None, *, status: int = 200) -> None:
        """Take in the last message, or none, and end."""
        if not self._closed:
            self._last = last
            self.status = status
            self._close()

    def fail(self, error: UpstreamError) -> None:
        """End, after what is already held, with an error."""
        if not self._closed:
            self._error = error
            self._close()

    def discard(self) -> None:
        """The reader is gone: hold nothing and take nothing in."""
        self._queue.clear()
        self._last = None
        self._close()

    async def next(self) -> tuple[bytes | None, bool]:
        """The next message, and whether it is the last; `(None, True)` for an end without one.

        Raises:
            UpstreamError: the one that `fail` was told.
        """
        while not self._queue and not self._closed:
            self._filled.clear()
            await self._filled.wait()
        if self._queue:
            line = self._queue.popleft()
            self._held -= len(line)
            self._drained.set()
            return line, False
        if self._error is not None:
            raise self._error
        return self._last, True

    def _close(self) -> None:
        self._closed = True
        self._filled.set()
        self._drained.set()
