"""Storms through both doors: see `support.storm` for what must hold.

`INTERLOCK_STORMS` sets how many seeds are tried, and `INTERLOCK_STORM_FROM` the first; a test that
fails has its seed in its name.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from pathlib import Path

import pytest

from gateway import eventloop
from support.doors import Side
from support.storm import POLICY, storm

FIRST = int(os.environ.get("INTERLOCK_STORM_FROM", "1"))
SEEDS = int(os.environ.get("INTERLOCK_STORMS", "3"))
ROUNDS = 40


@pytest.mark.parametrize("fast", [True, False], ids=["fast", "asgi"])
@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
def test_a_storm_leaves_nothing_behind(
    seed: int, fast: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps(POLICY), encoding="utf-8")
    caplog.set_level(logging.CRITICAL)
    with asyncio.Runner(loop_factory=eventloop.factory()) as runner:
        weather = runner.run(storm(Side(policy, fast=fast), seed, ROUNDS))
    assert weather.counted > 0
