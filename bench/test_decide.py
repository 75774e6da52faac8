"""What a decision costs through the boundary: Python bytes in, a `Decision` out and dropped again.

The message is the call of 330 bytes unless its size is what varies.
"""

from __future__ import annotations

import random
import threading
from itertools import cycle
from typing import TYPE_CHECKING

import pytest

from bench import message
from gateway._core import Caller, Decision, Engine, LimitTable, PolicySet

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

CALLER = Caller("bench", server="upwork")
SPREAD = 10_000
"""How many of the keyed quotas are charged in turn, chosen anyhow."""

HEADERS = [
    (b"host", b"127.0.0.1:8080"),
    (b"accept", b"application/json, text/event-stream"),
    (b"accept-encoding", b"gzip, deflate"),
    (b"connection", b"keep-alive"),
    (b"user-agent", b"python-httpx/0.28.1"),
    (b"content-type", b"application/json"),
    (b"content-length", str(message.BODY_BYTES).encode()),
    (b"authorization", b"Bearer 0123456789abcdef0123456789abcdef"),
    (b"mcp-session-id", b"0123456789abcdef0123456789abcdef"),
    (b"mcp-protocol-version", b"2025-06-18"),
]


def engine(policy: bytes, slots: int = 1 << 15) -> Engine:
    """An engine of its own table."""
    return Engine(PolicySet.parse(policy, name="bench.json"), LimitTable(slots))


def measure(
    benchmark: BenchmarkFixture,
    engine: Engine,
    body: bytes,
    headers: list[tuple[bytes, bytes]] | None = None,
) -> Decision:
    """Times decisions by the hundred, since one is over before a clock has been read twice."""
    decision: Decision = benchmark.pedantic(
        engine.decide, (CALLER, body, headers), rounds=1_000, iterations=100, warmup_rounds=10
    )
    return decision


@pytest.mark.benchmark(group="decide by tools in the policy")
@pytest.mark.parametrize("tools", [10, 100, 1_000, 10_000])
def test_allowed(benchmark: BenchmarkFixture, tools: int) -> None:
    """By the size of the policy, on which it should not depend."""
    body = message.call(f"tool_{tools - 1}")
    assert measure(benchmark, engine(message.policy(tools)), body).allowed


@pytest.mark.benchmark(group="decide, refused")
@pytest.mark.parametrize("tool", ["tool_0", message.REFUSED_TOOL])
def test_denied(benchmark: BenchmarkFixture, tool: str) -> None:
    """By its entry, and for lack of one."""
    denying = engine(message.policy(100, "deny"))
    assert not measure(benchmark, denying, message.call(tool)).allowed


@pytest.mark.benchmark(group="decide by header fields")
@pytest.mark.parametrize("count", [0, len(HEADERS)])
def test_headers(benchmark: BenchmarkFixture, count: int) -> None:
    """With the header fields of an HTTP request, which are held against the body."""
    body = message.call("tool_99")
    assert measure(benchmark, engine(message.policy()), body, HEADERS[:count]).allowed


@pytest.mark.benchmark(group="decide by conditions of the tool")
@pytest.mark.parametrize("rules", [0, 1, 10, 100])
def test_rules(benchmark: BenchmarkFixture, rules: int) -> None:
    """By the rules that look into the arguments, all of which are tried."""
    assert measure(benchmark, engine(message.ruled(rules, 1)), message.call("tool_0")).allowed


@pytest.mark.benchmark(group="decide by limits of the tool")
@pytest.mark.parametrize("limits", [0, 1, 3, 10])
def test_limits(benchmark: BenchmarkFixture, limits: int) -> None:
    """By the limits that are charged."""
    assert measure(benchmark, engine(message.ruled(0, limits)), message.call("tool_0")).allowed


@pytest.mark.benchmark(group="decide by bytes of the body")
@pytest.mark.parametrize("size", [330, 3_300, 33_000, 330_000])
def test_size(benchmark: BenchmarkFixture, size: int) -> None:
    """By the size of the arguments, which are read whole."""
    body = message.call("tool_0", size)
    assert measure(benchmark, engine(message.policy()), body).allowed


@pytest.mark.benchmark(group="decide by live quotas in the table")
@pytest.mark.parametrize("quotas", [1, 1_000, 100_000, 1_000_000])
def test_quotas(benchmark: BenchmarkFixture, quotas: int) -> None:
    """By the quotas in use, charging others each time, so that caches do not hide the table."""
    subject = engine(message.keyed(), slots=2 * quotas)
    for user in range(quotas):
        assert subject.decide(CALLER, message.call("tool_0", user=user)).allowed
    chosen = random.Random(0).choices(range(quotas), k=SPREAD)
    bodies = cycle([message.call("tool_0", user=user) for user in chosen])

    def decide() -> Decision:
        return subject.decide(CALLER, next(bodies))

    assert benchmark.pedantic(decide, rounds=1_000, iterations=100, warmup_rounds=10).allowed


@pytest.mark.benchmark(group="2,000 decisions by threads")
@pytest.mark.parametrize("threads", [1, 2])
def test_threads(benchmark: BenchmarkFixture, threads: int) -> None:
    """The same number of decisions, split between threads that charge the same quotas."""
    subject = engine(message.policy())
    body = message.call("tool_99")

    def work() -> None:
        for _ in range(2_000 // threads):
            subject.decide(CALLER, body)

    def together() -> None:
        others = [threading.Thread(target=work) for _ in range(threads)]
        for each in others:
            each.start()
        for each in others:
            each.join()

    benchmark.pedantic(together, rounds=100, warmup_rounds=5)
