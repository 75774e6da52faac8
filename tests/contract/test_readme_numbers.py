"""Every figure that a page tells stands in a stored result of the benchmarks."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bench import report
from support.pages import ROOT, page

STORED = sorted((ROOT / "bench/results").glob("*.json"))


def test_the_readme_tells_the_newest_result() -> None:
    """If it does not: `python -m bench.report`."""
    text, result = page("README.md"), report.newest()
    assert report.with_figures(text, report.readme(result) if result else "") == text


def test_the_page_on_operations_tells_the_newest_result() -> None:
    """If it does not: `python -m bench.report`."""
    text, result = page("docs/operations.md"), report.newest_stress()
    assert report.with_figures(text, report.pressure(result) if result else "") == text


def test_the_report_is_of_the_newest_result() -> None:
    """If it is not: `python -m bench.report`."""
    result, written = report.newest(), report.RESULTS / "REPORT.md"
    assert written.exists() == (result is not None)
    if result is not None:
        assert written.read_text(encoding="utf-8") == report.page(result)


def test_no_speed_is_told_elsewhere() -> None:
    outside = re.sub(f"{report.BEGIN}.*?{report.END}", "", page("README.md"), flags=re.S)
    assert not re.search(r"\d\s?(µs|us|ms|k?rps|requests/s)\b|of nginx", outside)


@pytest.mark.parametrize("file", STORED, ids=lambda file: file.name)
def test_a_result_is_named_after_its_day_and_commit(file: Path) -> None:
    result = json.loads(file.read_text(encoding="utf-8"))
    assert file.name.startswith(f"{result['date'][:10]}-{result['commit'][:7]}")
