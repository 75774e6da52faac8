"""bench/summary.py: medians, and ratios of what was run together."""

from __future__ import annotations

from typing import Any

import pytest

from bench.summary import latencies, lines


def round_of(requests: int, cpu_us: float, **more: Any) -> dict[str, Any]:
    """A round of one second."""
    return {
        "requests": requests,
        "seconds": 1.0,
        "failed": 0,
        "p99_us": 5,
        "cpu_us": cpu_us,
        "instructions": None,
        "resident_bytes": 1_000,
        **more,
    }


def scenario(nginx: list[dict[str, Any]], other: list[dict[str, Any]]) -> dict[str, Any]:
    return {"proxies": {"nginx": {"rounds": nginx}, "interlock": {"rounds": other}}}


def test_ratios_are_taken_within_a_round() -> None:
    # The machine got slower by the round, and both with it: of medians, the ratio would be 2 too,
    # but of the best of each it would be 4.
    nginx = [round_of(400, 10.0), round_of(200, 20.0), round_of(100, 40.0)]
    other = [round_of(800, 5.0), round_of(400, 10.0), round_of(100, 20.0)]
    reference, line = lines(scenario(nginx, other))
    assert (reference.rate_ratio, reference.core_ratio) == (1, 1)
    assert (line.rate, line.cpu_us) == (400, 10.0)
    assert (line.rate_ratio, line.core_ratio) == (2, 2)
    assert line.core_spread == (2, 2)


def test_the_spread_is_of_the_rounds() -> None:
    nginx = [round_of(100, 10.0)] * 3
    other = [round_of(100, cpu) for cpu in (5.0, 10.0, 20.0)]
    _, line = lines(scenario(nginx, other))
    assert line.core_ratio == 1
    assert line.core_spread == (0.5, 2)


def test_rates_are_of_events_where_there_are_any() -> None:
    _, line = lines(scenario([round_of(10, 1.0, events=500)], [round_of(10, 1.0, events=250)]))
    assert line.rate == 250
    assert line.rate_ratio == 0.5


def test_instructions_are_told_only_if_all_were_counted() -> None:
    counted = [round_of(1, 1.0, instructions=float(count)) for count in (3, 1, 2)]
    partly = [counted[0], round_of(1, 1.0), counted[2]]
    found = lines(scenario(counted, partly))
    assert [line.instructions for line in found] == [2, None]


def test_failures_add_up() -> None:
    rounds = [round_of(1, 1.0, failed=2), round_of(1, 1.0, failed=3)]
    assert [line.failed for line in lines(scenario(rounds, rounds))] == [5, 5]


def test_rounds_that_have_no_counterpart_are_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        lines(scenario([round_of(1, 1.0)], [round_of(1, 1.0)] * 2))


def answers(p50: float, answered: int = 10) -> dict[str, Any]:
    percentiles = {"p50_us": p50, "p99_us": 2 * p50, "p99_9_us": 3 * p50}
    return {"expected": 10, "answered": answered, **percentiles}


def test_what_is_added_is_taken_within_a_round() -> None:
    load = {
        "proxies": {
            "nginx": [answers(100), answers(300), answers(500)],
            "interlock": [answers(110), answers(320), answers(530)],
        }
    }
    _, found = latencies(load)
    assert (found.p50_us, found.p99_us, found.p99_9_us) == (320, 640, 960)
    assert (found.added_p50_us, found.added_p99_us) == (20, 40)
    assert found.keeps_up


def test_who_leaves_requests_unanswered_does_not_keep_up() -> None:
    load = {"proxies": {"nginx": [answers(1)] * 2, "go": [answers(1), answers(1, answered=9)]}}
    assert [each.keeps_up for each in latencies(load)] == [True, False]
