"""The same call, decided by others: what is gained over a limiter in plain Python.

`bench/baseline.py` says what these leave out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench import message
from bench.baseline import LibraryLimiter, PlainLimiter
from gateway._core import Caller, Engine, LimitTable, PolicySet

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_benchmark.fixture import BenchmarkFixture

GROUP = "the call of 330 bytes, 100 tools, 3 limits, by who decides"
POLICY = message.policy(100)
CALL = message.call("tool_99")
CALLER = Caller("bench", server="upwork")
FEW = 200
"""Rounds where each call is remembered, and the next one takes longer for it."""


def interlock() -> Callable[[bytes], bool]:
    """This."""
    engine = Engine(PolicySet.parse(POLICY, name="bench.json"), LimitTable())
    return lambda body: engine.decide(CALLER, body).allowed


def plain() -> Callable[[bytes], bool]:
    """A dictionary and a lock."""
    limiter = PlainLimiter(POLICY)
    return lambda body: limiter.decide("bench", body)


def library(*, moving: bool) -> Callable[[bytes], bool]:
    """The package `limits`."""
    pytest.importorskip("limits")
    limiter = LibraryLimiter(POLICY, moving=moving)
    return lambda body: limiter.decide("bench", body)


@pytest.mark.benchmark(group=GROUP)
@pytest.mark.parametrize(
    ("made", "rounds"),
    [
        pytest.param(interlock, 1_000, id="interlock"),
        pytest.param(plain, 1_000, id="plain-python"),
        pytest.param(lambda: library(moving=False), FEW, id="limits-fixed"),
        pytest.param(lambda: library(moving=True), FEW, id="limits-moving"),
    ],
)
def test_who(
    benchmark: BenchmarkFixture, made: Callable[[], Callable[[bytes], bool]], rounds: int
) -> None:
    """An allowed call; each refuses what the policy does not name."""
    decide = made()
    assert not decide(message.call(message.REFUSED_TOOL))
    assert benchmark.pedantic(decide, (CALL,), rounds=rounds, iterations=50, warmup_rounds=5)
