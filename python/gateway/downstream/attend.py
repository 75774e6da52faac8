"""Serving a client that may leave.

INVARIANT: a client's leaving never leaves work behind: it is cancelled at once, or, where the
protocol says that leaving is not cancelling, it ends within a bound.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from gateway.downstream.body import ClientGone

if TYPE_CHECKING:
    from gateway.asgi import Receive


async def attend(
    serving: Awaitable[None],
    receive: Receive,
    left: Callable[[], None],
    *,
    linger_s: float,
) -> None:
    """Await `serving` while watching for the client's disconnect.

    Args:
        left: called when the client disconnects.
        linger_s: how long `serving` may go on after that; 0 cancels it at once.

    Raises:
        ClientGone: it was cancelled because the client left.
    """
    task = asyncio.current_task()
    assert task is not None
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        left()
        if linger_s > 0:
            await asyncio.sleep(linger_s)
        gone = True
        task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        await serving
    except asyncio.CancelledError:
        if not gone or task.uncancel() > 0:
            raise
        raise ClientGone from None
    finally:
        watcher.cancel()
