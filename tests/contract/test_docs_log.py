"""docs/decision-log.md: its tables and examples are what the product writes and prints."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.logs import written
from support.pages import blocks, codes, page, sections, table

PAGE = "docs/decision-log.md"


def block(note: str) -> str:
    return next(block.text for block in blocks(PAGE) if block.note == note)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return written(tmp_path / "decisions.jsonl", include_args=["path"], worker=0)


def test_the_members_are_those_that_are_told_in_their_order(log: Path) -> None:
    parts = sections(PAGE, 2)["A line"]
    first, second = parts.split("Behind `duration_ms`")
    first = first[first.index("| member") :]
    told = [name for row in table(first.splitlines()) for name in codes(row["member"])]
    more = [name for row in table(second.splitlines()) for name in codes(row["member"])]
    shown = json.loads(block("line"))
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines[1:-1]:
        assert [name for name in line if name not in more] == told
        assert set(line) - set(told) <= set(more)
    assert list(shown) == told
    assert {"args", "worker", "trace_id", "span_id"} <= set(lines[1])


def test_what_verify_prints_is_as_shown(log: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "log", "verify", log.name],
        cwd=log.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    a_hash = re.compile(r"[0-9a-f]{64}")
    assert a_hash.sub("", done.stdout) == a_hash.sub("", block("verified"))


def test_it_can_be_verified_by_hand(log: Path) -> None:
    program = [sys.executable, "-c", block("by-hand"), str(log)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    last = json.loads(log.read_text().splitlines()[-1])["hash"]
    assert (done.returncode, done.stdout) == (0, f"whole, up to {last}\n")
    log.write_text(log.read_text().replace('"read"', '"riot"'))
    assert subprocess.run(program, capture_output=True, check=False).returncode == 1


def test_the_bounds_are_the_codes() -> None:
    text = page(PAGE)
    settings = page("python/gateway/settings.py")
    assert "buffer_bytes: int = 8 << 20" in settings
    assert "up to 8 MiB" in text
    assert "rotate_bytes: int | None = 64 << 20" in settings
    assert "After 64 MiB" in text
    assert "LINE_BYTES: usize = 4096" in page("rust/log/src/chain.rs")
    assert "4096 bytes" in text
    assert "CLOSE_S = 2.0" in page("python/gateway/decision_log.py")
    assert "2 seconds" in text
    assert "VALUE_BYTES: usize = 512" in page("rust/core/src/ledger.rs")
    assert "512 bytes" in text
