"""A client that is held until a person has decided.

INVARIANT: a client that leaves is held no longer, and takes nothing along: what it asked for goes
on to wait for a person, and nothing was passed on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from gateway.downstream.admission import accepts
from gateway.downstream.attend import attend
from gateway.mcp import progress

if TYPE_CHECKING:
    from gateway._core import Decision
    from gateway.downstream.visit import Visit

PROGRESS_S = 10.0
"""How often a client that wants to know is told that it is being held."""

Tell = Callable[[bytes], Awaitable[object]]
"""Sends a notification."""


async def hold(decided: Awaitable[None], id: str, held: Decision, tell: Tell) -> None:
    """Await a decision, and tell the client now and then, if it asked for that.

    Args:
        id: of the request for approval.
    """
    token = held.progress_token
    if token is None:
        await decided
        return
    telling = asyncio.create_task(_tell(token, id, tell))
    try:
        await decided
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


async def _tell(token: bytes, id: str, tell: Tell) -> None:
    begun = time.monotonic()
    while True:
        seconds = round(time.monotonic() - begun)
        await tell(progress(token, seconds, f"waiting for a person to approve this call: {id}"))
        await asyncio.sleep(PROGRESS_S)


async def hold_visit(visit: Visit, held: Decision, decided: Awaitable[None], id: str) -> None:
    """The same for a client over HTTP.

    Raises:
        ClientGone: it left.
    """

    async def holding() -> None:
        if b"accept" in visit.fields and accepts(visit.fields, b"text/event-stream"):
            await hold(decided, id, held, visit.respond.notify)
        else:
            await decided

    await attend(holding(), visit.receive, lambda: None, linger_s=0.0)
