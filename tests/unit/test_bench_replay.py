"""A million lines are replayed in a minute, in memory that hardly grows with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.replay import GRANTS, TOOLS, lines, measure, policy
from gateway import PolicySet

LINES = 40_000
MINUTE_S = 60.0


def test_the_log_is_one_and_the_policy_takes_every_path() -> None:
    PolicySet.parse(json.dumps(policy()).encode(), name="policy.json")
    told = [json.loads(line) for line in lines(400)]
    assert len({one["tool"] for one in told}) == TOOLS
    assert len({one["grant"] for one in told}) == GRANTS
    assert {one["code"] for one in told} == {"allowed", "tool-denied"}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_million_lines_take_less_than_a_minute(tmp_path: Path) -> None:
    # On a processor, since other tests run at the same time; a part of a million, for theirs.
    few, many = measure(LINES // 4, tmp_path), measure(LINES, tmp_path)
    assert (few["calls"], many["calls"]) == (LINES // 4, LINES)
    each = (many["cpu_seconds"] - few["cpu_seconds"]) / (LINES - LINES // 4)
    assert each * 1_000_000 < MINUTE_S
    assert many["peak_mib"] < 150
