"""The event loop that serves: uvloop where it is installed, asyncio's own where it is not.

INVARIANT: nothing depends on which it is. It is quicker, and no more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TypeVar

T = TypeVar("T")


def run(main: Coroutine[object, object, T]) -> T:
    """As `asyncio.run` does, on the quickest loop there is."""
    with asyncio.Runner(loop_factory=factory()) as runner:
        return runner.run(main)


def factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes the loop."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        return asyncio.new_event_loop
    return new_event_loop


def name() -> str:
    """Whose loop it is: `uvloop` or `asyncio`."""
    return factory().__module__.partition(".")[0]
