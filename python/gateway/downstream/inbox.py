"""What passes from a connection to the application that serves its request, and what waits behind.

INVARIANT: neither an application that reads no more nor a request that waits for its turn keeps a
connection from seeing that its client left.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

HELD_PIECES = 10
"""Pieces of a request's body, at most 64 KiB each, that are held for an application that is slow to
read them."""
WAITING_BYTES = 64 * 1024
"""What a client may send behind a request that is being served; one that sends more is gone."""


class ClientLeft(Exception):
    """The client ended the connection while a request of it is served."""


class Inbox:
    """What an application is told of its request, until it answers: then only that the client left.

    Hypercorn's own queue makes the connection wait for room in it, for ever if the application has
    answered and reads no more.
    """

    def __init__(self) -> None:
        self._events: deque[Any] = deque()
        self._filled = asyncio.Event()
        self._drained = asyncio.Event()
        self._answered = False

    async def put(self, event: Any) -> None:
        if event["type"] != "http.disconnect":
            while len(self._events) >= HELD_PIECES and not self._answered:
                self._drained.clear()
                await self._drained.wait()
            if self._answered:
                await asyncio.sleep(0)  # the answer's end, which ends the reading too, is due first
                return
        self._events.append(event)
        self._filled.set()

    async def get(self) -> Any:
        while not self._events:
            self._filled.clear()
            await self._filled.wait()
        self._drained.set()
        return self._events.popleft()

    def close(self) -> None:
        """The rest of the body is of no use to anyone."""
        self._answered = True
        self._events = deque(e for e in self._events if e["type"] == "http.disconnect")
        self._drained.set()


class Pause:
    """Hypercorn's wait for the end of a request, behind which another one has come already; it ends
    early if the client leaves.

    Args:
        reader: the connection's, which nobody else reads meanwhile.
        keep: takes in what comes.
        waiting: how many bytes wait already.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        keep: Callable[[bytes], None],
        waiting: Callable[[], int],
    ) -> None:
        self._reader = reader
        self._keep = keep
        self._waiting = waiting
        self._over = asyncio.Event()

    async def set(self) -> None:
        self._over.set()

    async def clear(self) -> None:
        self._over.clear()

    def is_set(self) -> bool:
        return self._over.is_set()

    async def wait(self) -> None:
        """Wait until `set`.

        Raises:
            ClientLeft: it did, or sends too much.
        """
        over = asyncio.create_task(self._over.wait())
        room = max(WAITING_BYTES - self._waiting(), 0)
        try:
            while not over.done():
                reading = asyncio.create_task(self._reader.read(room + 1))
                try:
                    await asyncio.wait({over, reading}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    if not reading.done():
                        reading.cancel()
                if not reading.done():
                    await asyncio.gather(reading, return_exceptions=True)
                    return
                data = b"" if reading.exception() else reading.result()
                room -= len(data)
                if not data or room < 0:
                    raise ClientLeft
                self._keep(data)
        finally:
            over.cancel()
