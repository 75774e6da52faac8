"""bench/report.py: from a stored result to pages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import report


def path_round(requests: int, cpu_us: float) -> dict[str, Any]:
    return {
        "requests": requests,
        "seconds": 2.0,
        "failed": 0,
        "p50_us": 900,
        "p99_us": 5_500,
        "cpu_us": cpu_us,
        "instructions": None,
        "resident_bytes": 30_000_000,
        "stolen": 0.0,
    }


def compared(cpu_us: float) -> dict[str, Any]:
    return {
        "title": "A call",
        "missing": {"go": "`go` is needed"},
        "proxies": {
            "nginx": {"ready_s": 0.01, "rounds": [path_round(60_000, 20.0)]},
            "interlock": {"ready_s": 0.25, "rounds": [path_round(66_000, cpu_us)]},
        },
    }


def waited(p50_us: float, answered: int = 10) -> dict[str, Any]:
    percentiles = {"p50_us": p50_us, "p99_us": 200.0, "p99_9_us": 300.0}
    return {"expected": 10, "answered": answered, "failed": 0, **percentiles}


def load(other: dict[str, Any]) -> dict[str, Any]:
    proxies = {"nginx": [waited(100.0)], "interlock": [other]}
    return {"title": "some calls", "rate": 500.0, "connections": 1, "proxies": proxies}


RESULT: dict[str, Any] = {
    "date": "2026-03-02T10:00:00+00:00",
    "commit": "0123456789abcdef",
    "changed": False,
    "load_average": 0.1,
    "machine": {"cpu": "CPU", "cores": 2, "memory_bytes": 8_000_000_000, "kernel": "6"},
    "versions": {"python": "3.11", "uvloop": None},
    "micro": [
        {
            "group": "g",
            "name": "allowed[100]",
            "min_us": 0.987,
            "median_us": 1.1,
            "iqr_us": 0.1,
            "rounds": 9,
        }
    ],
    "path": {"allowed": compared(16.0), "refused": compared(8.0)},
    "latency": {"nginx_rate": 30_000.0, "loads": [load(waited(125.0)), load(waited(1.0, 9))]},
    "growth": {"tools": {"a decision": [[1, 1.0], [10, 1.5]]}},
}
PAGE = f"above\n\n{report.BEGIN}\nold\n{report.END}\n\nbelow\n"


def test_the_readme_tells_what_was_found() -> None:
    cells = [
        line.strip("| ").split(" | ") for line in report.readme(RESULT).splitlines() if "|" in line
    ]
    assert cells[2] == ["1.25 of nginx's", "2.50 of nginx's", "25 µs", "0.99 µs"]
    assert "2026-03-02 at `0123456`" in report.readme(RESULT)


def test_figures_are_put_between_the_marks() -> None:
    text = report.with_figures(PAGE, "new\n")
    assert text == f"above\n\n{report.BEGIN}\nnew\n{report.END}\n\nbelow\n"
    assert report.with_figures(text, "new\n") == text
    assert report.with_figures(text, "") == f"above\n\n{report.BEGIN}\n{report.END}\n\nbelow\n"
    with pytest.raises(ValueError, match="figures"):
        report.with_figures("no marks", "new\n")


def test_the_report_tells_all_parts() -> None:
    text = report.page(RESULT)
    assert "| interlock | 33,000 | 1.10 | 16.0 | 1.25 (1.25" in text
    assert "Not measured: `go` (`go` is needed)." in text
    assert "| interlock | 125 | 200 | 300 | +25 | +0 |" in text
    assert "| interlock | falls behind |" in text
    assert "| `allowed[100]` | 0.99 | 1.10 | 1.00 |" in text
    assert "| a decision | 1.00 | 1.50 |" in text
    assert "uvloop" not in text


@pytest.mark.parametrize("part", report.PARTS)
def test_a_part_may_be_missing(part: str) -> None:
    partly = {name: value for name, value in RESULT.items() if name != part}
    assert len(report.page(partly)) < len(report.page(RESULT))


def test_the_newest_whole_result_counts(tmp_path: Path) -> None:
    assert report.newest(tmp_path) is None
    later = {**RESULT, "date": "2026-03-04T10:00:00+00:00"}
    del later["path"]
    stored = {
        "b": RESULT,
        "a": {**RESULT, "date": "2026-03-03T10:00:00+00:00", "commit": "new"},
        "c": later,
    }
    for name, result in stored.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(result), encoding="utf-8")
    found = report.newest(tmp_path)
    assert found is not None
    assert found["commit"] == "new"
