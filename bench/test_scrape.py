"""What a scrape of the metrics takes of the process that serves."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from bench import message
from gateway.operate.report import tell
from support.operators import route, view

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

    from support.operators import Gateway

TOOLS, GRANTS = 300, 10


def busy() -> Gateway:
    """A gateway of ten grants, each of which called each of 300 tools."""
    policy = json.loads(message.encode({"tools": {f"tool_{i}": {} for i in range(TOOLS)}}))
    routes = [route(grant=f"grant {i}", policy=policy) for i in range(GRANTS)]
    for each in routes:
        each.call(*policy["tools"])
    return view(*routes)


@pytest.mark.benchmark(group=f"a scrape of {TOOLS} tools and {GRANTS} grants")
def test_scrape(benchmark: BenchmarkFixture) -> None:
    """The whole of it."""
    gateway = busy()
    loop = asyncio.new_event_loop()
    try:
        text = benchmark(lambda: loop.run_until_complete(tell(gateway, "metrics")))
    finally:
        loop.close()
    assert text.count(b"interlock_decisions_total{") == TOOLS * GRANTS
