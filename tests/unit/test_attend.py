"""Serving a client that may leave."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.downstream.attend import attend
from gateway.downstream.body import ClientGone
from support.door import run

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.asgi import Message


class Visitor:
    """A client that leaves when told."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.noticed = 0

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    def left(self) -> None:
        self.noticed += 1


async def for_ever() -> None:
    await asyncio.Event().wait()


def started(visitor: Visitor, left: Callable[[], None], linger_s: float = 0) -> asyncio.Task[None]:
    return asyncio.ensure_future(attend(for_ever(), visitor.receive, left, linger_s=linger_s))


@pytest.mark.parametrize("linger_s", [0, 0.01])
def test_a_client_that_left_ends_the_work(linger_s: float) -> None:
    async def main() -> None:
        visitor = Visitor()
        task = started(visitor, visitor.left, linger_s)
        visitor.gone.set()
        with pytest.raises(ClientGone):
            await task
        assert visitor.noticed == 1
        assert task.cancelling() == 0

    run(main())


def test_work_that_ends_is_not_disturbed() -> None:
    async def main() -> None:
        visitor = Visitor()
        await attend(asyncio.sleep(0), visitor.receive, visitor.left, linger_s=0)
        visitor.gone.set()
        for _ in range(5):
            await asyncio.sleep(0)
        assert visitor.noticed == 0

    run(main())


def test_a_cancellation_at_the_same_moment_is_not_swallowed() -> None:
    async def main() -> None:
        visitor = Visitor()
        task = started(visitor, lambda: task.cancel() and None)
        await asyncio.sleep(0)
        visitor.gone.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


def test_what_the_work_raises_comes_through() -> None:
    async def fails() -> None:
        raise RuntimeError

    async def main() -> None:
        visitor = Visitor()
        with pytest.raises(RuntimeError):
            await attend(fails(), visitor.receive, visitor.left, linger_s=0)

    run(main())
