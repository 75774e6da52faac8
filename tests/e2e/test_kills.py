"""No window sees a call too many, whatever is killed, stopped, restarted or reloaded meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from storm import MARGIN_NS, QUOTAS, Call, judge, weather

pytestmark = pytest.mark.e2e


@pytest.mark.timeout(180)
def test_a_storm_over_admits_nothing(tmp_path: Path) -> None:
    figure = asyncio.run(weather(5, tmp_path, events=12, workers=3, progress=False))
    assert figure.startswith("seed 5")


@pytest.mark.parametrize("tool", QUOTAS)
def test_the_judge_sees_one_call_too_many(tool: str) -> None:
    quota = QUOTAS[tool]
    window = quota.window_ns or 1_000_000_000
    begin = 1_000 * window + MARGIN_NS
    calls = [Call(tool, begin + number, [begin + number]) for number in range(quota.most)]
    assert judge(calls).fullest[tool] == quota.most
    with pytest.raises(AssertionError, match=r"calls in a window for"):
        judge([*calls, Call(tool, begin, [begin])])
