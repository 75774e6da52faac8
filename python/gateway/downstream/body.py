"""The body of a request, read whole within bounds of size and time.

INVARIANT: no more than the bound is ever held, and no client keeps a request open by sending
slowly.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.denial import Refused, refuse

if TYPE_CHECKING:
    from gateway.asgi import Receive


class ClientGone(Exception):
    """The client disconnected before its request was complete; there is no one to answer."""


@dataclass(frozen=True, slots=True)
class BodyBounds:
    """How large and how slow a body may be."""

    max_bytes: int = 1 << 20
    deadline_s: float = 30.0
    """For the whole body, however fast it comes."""
    grace_s: float = 5.0
    """Before the rate counts."""
    min_bytes_per_s: int = 1024

    def allowance_s(self, received: int) -> float:
        """How long after its beginning a body of which this much has come may still be
        incomplete."""
        return min(self.deadline_s, self.grace_s + received / self.min_bytes_per_s)


async def read_body(receive: Receive, bounds: BodyBounds) -> bytes:
    """The whole body.

    Raises:
        Refused: too long (413) or too slow (408).
        ClientGone: it will never be whole.
    """
    started = asyncio.get_running_loop().time()
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout_at(started + bounds.allowance_s(0)) as timer:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                piece: bytes = message.get("body", b"")
                size += len(piece)
                if size > bounds.max_bytes:
                    raise Refused(refuse("body-too-large"), close=True)
                pieces.append(piece)
                if not message.get("more_body", False):
                    return b"".join(pieces)
                timer.reschedule(started + bounds.allowance_s(size))
    except TimeoutError:
        raise Refused(refuse("request-timeout"), close=True) from None
