"""A quota holds through the whole sidecar, by the server's own count.

Two worker processes, a crowd on connections of its own, one quota that is too small for all. Then
the same while a worker, or everything, is killed half way: what was on its way may be lost to the
clients, and nothing is ever spent twice.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from counting import CountingServer, Crowd
from processes import PATIENCE_S, Sidecar, children

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

MAX = 500
CLIENTS = 64
CALLS_EACH = 12
WORKERS = 2

# A month, so that no new window opens while a test runs.
POLICY: dict[str, Any] = {
    "default": "deny",
    "tools": {"spend": {"limits": [{"counter": "budget", "window": "month", "max": MAX}]}},
}


async def start(folder: Path, upstream: str) -> Sidecar:
    """A sidecar on the folder's limits, which may have been there before."""
    state = str(folder / "limits.state")
    options = ("--workers", str(WORKERS), "--state", state)
    return await asyncio.to_thread(Sidecar, folder, POLICY, upstream, *options)


def test_a_crowd_gets_exactly_what_the_quota_has(tmp_path: Path) -> None:
    async def race() -> None:
        server = CountingServer()
        async with asyncio.timeout(3 * PATIENCE_S), server.serve() as upstream:
            with await start(tmp_path, upstream) as sidecar:
                crowd = Crowd(sidecar.url, clients=CLIENTS, calls=CALLS_EACH)
                await crowd.run()
        assert server.calls == MAX
        assert crowd.codes == {"allowed": MAX, "limit-exceeded": CLIENTS * CALLS_EACH - MAX}
        assert crowd.lost == 0

    asyncio.run(race())


def test_a_killed_worker_costs_only_what_was_on_its_way(tmp_path: Path) -> None:
    async def race() -> None:
        server = CountingServer()
        async with asyncio.timeout(3 * PATIENCE_S), server.serve() as upstream:
            with await start(tmp_path, upstream) as sidecar:
                crowd = Crowd(sidecar.url, clients=CLIENTS, calls=CALLS_EACH)
                running = asyncio.create_task(crowd.run())
                await server.reached(MAX // 2).wait()
                os.kill(children(sidecar.process.pid)[0], signal.SIGKILL)
                await running
        assert_spent_once(server, crowd)

    asyncio.run(race())


def test_a_killed_sidecar_goes_on_where_it_was(tmp_path: Path) -> None:
    async def race() -> None:
        server = CountingServer()
        async with asyncio.timeout(3 * PATIENCE_S), server.serve() as upstream:
            with await start(tmp_path, upstream) as first:
                crowd = Crowd(first.url, clients=CLIENTS, calls=CALLS_EACH)
                running = asyncio.create_task(crowd.run())
                await server.reached(MAX // 2).wait()
                crowd.hold()
                first.kill_all()
            assert server.calls < MAX, "it was killed too late to show anything"
            with await start(tmp_path, upstream) as second:
                crowd.resume(second.url)
                await running
        assert_spent_once(server, crowd)

    asyncio.run(race())


def assert_spent_once(server: CountingServer, crowd: Crowd) -> None:
    """Never more than the quota, and no less than the calls that were cut off can explain."""
    assert crowd.lost > 0, "nobody was in the middle of a call"
    assert MAX - crowd.lost <= server.calls <= MAX
    assert crowd.codes["allowed"] <= server.calls <= crowd.codes["allowed"] + crowd.lost
    assert crowd.lost <= CLIENTS
    assert (
        crowd.codes["limit-exceeded"] == CLIENTS * CALLS_EACH - crowd.lost - crowd.codes["allowed"]
    )
