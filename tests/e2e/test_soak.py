"""What a soak must find steady, in its short form; and that its judge sees what is not."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from soak import Soak
from soak_verdict import GROWTH_BYTES, History, Kill, balance, explained, read_lines, steady
from soaking import LOST, Books

pytestmark = pytest.mark.e2e

SECONDS = 20.0


@pytest.mark.timeout(180)
@pytest.mark.slow
def test_nothing_is_lost_and_nothing_grows(tmp_path: Path) -> None:
    soak = Soak(SECONDS, rate=400, folder=tmp_path, progress=False)
    figures = asyncio.run(soak.run())
    assert figures["kills"] > 0
    assert figures["upstream_restarts"] > 1
    assert figures["reloads"] > 10
    assert figures["answered"]["limit-exceeded"] > 0


def line(number: int, code: str = "allowed", **more: Any) -> dict[str, Any]:
    record = {"request_id": number, "code": code, "method": "tools/call", "worker": 0}
    return {**record, "ts": "2026-11-21T12:00:00.000000Z", **more}


def books() -> Books:
    """Three messages: two answered, one that had no answer; nobody was killed."""
    kept = Books()
    for code in ("allowed", "default-deny"):
        kept.answer(kept.send("free" if code == "allowed" else "unknown", time.time()), code)
    kept.end(kept.send("leave", time.time()), 2)
    return kept


LINES = [line(0), line(1, "default-deny"), line(2)]


def found(
    lines: list[dict[str, Any]], kept: Books, history: History, *, metrics: Counter[str]
) -> list[str]:
    seen = read_lines(lines, kept, history.kills)
    return [*balance(kept, history, seen, metrics), *explained(kept, history)]


METRICS = Counter({"allowed": 2, "default-deny": 1})


def test_the_judge_lets_pass_what_is_right() -> None:
    assert found(LINES, books(), History(), metrics=METRICS) == []


@pytest.mark.parametrize(
    ("lines", "metrics", "said"),
    [
        (LINES[1:], METRICS - Counter({"allowed": 1}), "has no line"),
        ([*LINES, LINES[1]], METRICS + Counter({"default-deny": 1}), "has two lines"),
        ([LINES[0], line(1), LINES[2]], Counter({"allowed": 3}), "was told default-deny"),
        (LINES, METRICS + Counter({"allowed": 3}), "allowed: 5 in the metrics, 2 lines"),
        (LINES, METRICS - Counter({"allowed": 1}), "allowed: 2 lines, 1 in the metrics"),
        ([line(0, fault="upstream-failed"), *LINES[1:]], METRICS, "was told allowed"),
    ],
)
def test_the_judge_sees_a_miscount(
    lines: list[dict[str, Any]], metrics: Counter[str], said: str
) -> None:
    assert any(said in each for each in found(lines, books(), History(), metrics=metrics))


def lose(kept: Books) -> None:
    kept.end(0, LOST)


def fail(kept: Books) -> None:
    kept.answer(0, "upstream-failed")


@pytest.mark.parametrize(
    ("happens", "said", "excuse"),
    [
        (lose, "nobody was killed", lambda now: History(kills=[Kill(0, now - 1, now)])),
        (fail, "was answered upstream-failed", lambda now: History(outages=[(now - 1, now + 1)])),
    ],
)
def test_the_judge_wants_a_reason_for_each_fault(
    happens: Callable[[Books], None], said: str, excuse: Callable[[float], History]
) -> None:
    kept, now = Books(), time.time()
    kept.send("free", now)
    happens(kept)
    assert any(said in each for each in explained(kept, History()))
    assert list(explained(kept, excuse(now))) == []


@pytest.mark.parametrize("what", ["memory", "files", "nothing"])
def test_the_judge_sees_growth(what: str) -> None:
    step = (GROWTH_BYTES // 50) if what == "memory" else 0
    files = [(10, 9), (10 + 3 * (what == "files"), 9)]
    points = [(float(at), 40_000_000 + step * at) for at in range(100)]
    history = History(memory=points, supervisor=points[:1] * 2, files=files, series=[set(), set()])
    assert bool(list(steady(history))) is (what != "nothing")
