"""The bounds of the pool, with connections that exist on paper only."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from gateway.errors import UpstreamError
from gateway.upstream.pool import Pool, PoolBounds
from support.door import run

if TYPE_CHECKING:
    from gateway.upstream.connection import Connection


class Paper:
    """A connection without a socket."""

    def __init__(self) -> None:
        self.ended = False
        self.quiet = True
        self.whole = True
        self.closed = asyncio.Event()
        self.idle_since = 0.0

    def finish(self) -> bool:
        return self.whole

    def abort(self) -> None:
        self.closed.set()

    @property
    def aborted(self) -> bool:
        return self.closed.is_set()


class Office:
    """Dials paper connections."""

    def __init__(self, **bounds: float) -> None:
        self.dialled: list[Paper] = []
        self.fails = False
        self.pool = Pool(self.dial, PoolBounds(**bounds))  # type: ignore[arg-type]

    async def dial(self) -> Connection:
        if self.fails:
            raise UpstreamError("connect", "no", sent=False)
        paper = Paper()
        self.dialled.append(paper)
        return cast("Connection", paper)


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_the_last_used_connection_goes_first() -> None:
    async def main() -> None:
        office = Office()
        first, second = await office.pool.acquire(), await office.pool.acquire()
        office.pool.release(first)
        office.pool.release(second)
        assert await office.pool.acquire() is second
        assert await office.pool.acquire() is first
        assert office.pool.open == 2

    run(main())


def test_a_stale_connection_is_replaced() -> None:
    async def main() -> None:
        office = Office()
        stale = await office.pool.acquire()
        office.pool.release(stale)
        office.dialled[0].ended = True
        assert await office.pool.acquire() is not stale
        assert office.dialled[0].aborted
        assert office.pool.open == 1

    run(main())


def test_an_unfit_connection_is_not_kept() -> None:
    async def main() -> None:
        office = Office()
        unfit = await office.pool.acquire()
        office.dialled[0].whole = False
        office.pool.release(unfit)
        assert office.pool.open == 0
        assert office.dialled[0].aborted

    run(main())


@pytest.mark.parametrize("how", ["release", "discard"])
def test_who_waits_gets_what_comes_back(how: str) -> None:
    async def main() -> None:
        office = Office(connections=1)
        held = await office.pool.acquire()
        waiting = asyncio.create_task(office.pool.acquire())
        await turns()
        assert not waiting.done()
        getattr(office.pool, how)(held)
        assert (await waiting is held) is (how == "release")
        assert office.pool.open == 1

    run(main())


def test_waiting_is_bounded_in_number_and_time() -> None:
    async def main() -> None:
        office = Office(connections=1, waiting=1, wait_s=0.02)
        held = await office.pool.acquire()
        waiting = asyncio.create_task(office.pool.acquire())
        await turns()
        for late in (office.pool.acquire(), waiting):
            with pytest.raises(UpstreamError) as error:
                await late
            assert (error.value.reason, error.value.sent) == ("busy", False)
        office.pool.release(held)
        assert await office.pool.acquire() is held

    run(main())


@pytest.mark.parametrize("how", ["release", "discard"])
def test_what_comes_for_one_who_left_is_not_lost(how: str) -> None:
    async def main() -> None:
        office = Office(connections=1)
        held = await office.pool.acquire()
        waiting = asyncio.create_task(office.pool.acquire())
        await turns()
        getattr(office.pool, how)(held)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert office.pool.open == 0
        await office.pool.acquire()
        assert office.pool.open == 1

    run(main())


def test_one_who_left_is_passed_over() -> None:
    async def main() -> None:
        office = Office(connections=1)
        held = await office.pool.acquire()
        left, stays = (asyncio.create_task(office.pool.acquire()) for _ in range(2))
        await turns()
        left.cancel()
        await turns()
        office.pool.release(held)
        assert await stays is held

    run(main())


def test_a_failed_dial_leaves_room() -> None:
    async def main() -> None:
        office = Office(connections=1)
        office.fails = True
        for _ in range(3):
            with pytest.raises(UpstreamError):
                await office.pool.acquire()
        assert office.pool.open == 0
        office.fails = False
        await office.pool.acquire()

    run(main())


def test_idle_connections_grow_old() -> None:
    async def main() -> None:
        office = Office(idle_s=0.01)
        connection = await office.pool.acquire()
        office.pool.release(connection)
        await office.dialled[0].closed.wait()
        assert office.pool.open == 0

    run(main())


def test_closing_takes_idle_ones_at_once_and_others_as_they_come() -> None:
    async def main() -> None:
        office = Office()
        idle, busy = await office.pool.acquire(), await office.pool.acquire()
        office.pool.release(idle)
        closing = asyncio.create_task(office.pool.aclose(5))
        await turns()
        assert office.dialled[0].aborted
        assert not closing.done()
        office.pool.release(busy)
        await closing
        assert office.dialled[1].aborted

    run(main())


def test_closing_does_not_wait_for_ever() -> None:
    async def main() -> None:
        office = Office()
        await office.pool.acquire()
        await office.pool.aclose(0.01)

    run(main())
