"""docs/limits.md: its timelines happen as they are told, and its figures come out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway import Caller, Engine, LimitTable, PolicySet
from support.pages import Block, Row, blocks, codes, message, sections, table, walk_all

PAGE = "docs/limits.md"
S = 1_000_000_000
BEGIN = 1_772_445_601 * S
"""2026-03-02T10:00:01Z, which begins a window of 7 s."""
MAX, BURST, WINDOW_S = 70, 20, 7
STEP_MS = 20


def timelines() -> list[list[Block]]:
    """The examples, each with those that go on where it ends."""
    found: list[list[Block]] = []
    for block in blocks(PAGE):
        if block.note == "reload":
            found[-1].append(block)
        else:
            found.append([block])
    return found


@pytest.mark.parametrize("timeline", timelines(), ids=lambda timeline: str(timeline[0]))
def test_a_timeline_happens_as_it_is_told(timeline: list[Block]) -> None:
    assert all(block.rows for block in timeline)
    walk_all(timeline)


def greedy(limit: dict[str, Any], begin: int, seconds: int) -> list[int]:
    """When an agent was admitted that always takes what it can get: nanoseconds, ascending."""
    limits = [{"counter": "c", "window": f"{WINDOW_S}s", "max": MAX, **limit}]
    policy = {"version": "1", "default": "deny", "tools": {"t": {"limits": limits}}}
    engine = Engine(PolicySet.parse(json.dumps(policy).encode(), name="p.json"), LimitTable(64))
    caller, body = Caller("g", server="s"), message("t")
    admitted = []
    for now in range(begin, begin + seconds * S, STEP_MS * 1_000_000):
        while engine.decide(caller, body, now_ns=now).allowed:
            admitted.append(now)
    return admitted


def most_in_a_window(admitted: list[int]) -> int:
    """The most admissions in any half-open interval as long as the window."""
    most, first = 0, 0
    for last, now in enumerate(admitted):
        while admitted[first] <= now - WINDOW_S * S:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.parametrize("row", list(table(sections(PAGE, 2)["Choosing"].splitlines())), ids=str)
def test_the_figures_of_the_comparison(row: Row) -> None:
    (algorithm,) = codes(row["algorithm"])
    limit: dict[str, Any] = {"algorithm": algorithm}
    limit |= {"burst": BURST} if algorithm == "token_bucket" else {}
    # Begun just before a boundary, which is where a fixed window is at its worst.
    late = greedy(limit, BEGIN - S // 10, 3 * WINDOW_S)
    even = greedy(limit, BEGIN, 8 * WINDOW_S)
    most = max(most_in_a_window(late), most_in_a_window(even))
    assert most == int(row["most in any 7 s"])
    # Over eight windows a sliding one has turned a whole number of times; a burst is had once.
    extra = BURST - 1 if algorithm == "token_bucket" else 0
    sustained = (len(even) - extra) / 8
    assert sustained == pytest.approx(float(row["sustained in 7 s"]), abs=0.2)


def test_the_size_of_a_table_is_as_told() -> None:
    assert f"{LimitTable().slots:,} slots" in sections(PAGE, 2)["A full table"]
