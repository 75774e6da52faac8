"""bench/scaling.py and the shares of a core that it gives workers."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import report, scaling
from bench.load import shares
from bench.load.path import Cores
from bench.load.peers import Missing
from bench.summary import scalings

BURN = "import time\nend = time.monotonic() + 0.5\nwhile time.monotonic() < end: pass\n"
SPENT = f"{BURN}print(time.process_time())\n"


def round_of(requests: int, **more: Any) -> dict[str, Any]:
    """A round of one second."""
    known = {"failed": 0, "cpu_us": 50.0, "by_worker": [1.0], "used_up": 1.0}
    return {"requests": requests, "seconds": 1.0, **known, **more}


def test_no_processor_to_share_is_told(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="no control group of the processor in"):
        shares.controlled([tmp_path])


def test_a_controller_that_is_not_handed_down_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "cgroup.subtree_control").write_text("memory cpuset pids\n")
    with pytest.raises(Missing):
        shares.controlled([tmp_path])


@pytest.mark.parametrize(
    ("sign", "said"),
    [
        ({"cpu.cfs_quota_us": "-1"}, {"cpu.cfs_period_us": "10000", "cpu.cfs_quota_us": "2000"}),
        ({"cgroup.subtree_control": "memory cpu\n"}, {"cpu.max": "2000 10000"}),
    ],
)
def test_each_version_is_told_in_its_words(
    sign: dict[str, str], said: dict[str, str], tmp_path: Path
) -> None:
    for name, text in sign.items():
        (tmp_path / name).write_text(text)
    group = shares.controlled([tmp_path / "none", tmp_path]) / "group"
    group.mkdir()
    shares.bound(group, 2_000)
    assert {file.name: file.read_text() for file in group.iterdir()} == said


def test_where_nothing_can_be_shared_it_is_left_out_and_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none(_mounts: object = ()) -> Path:
        raise Missing("no control groups")

    monkeypatch.setattr(shares, "controlled", none)
    found = scaling.measure(Cores(), rounds=1, seconds=1)
    assert found == {"skipped": "no control groups"}
    assert "Not measured: no control groups." in report._scaling(found)


@pytest.fixture
def share() -> Iterator[shares.Share]:
    try:
        with shares.shares([min(os.sched_getaffinity(0))], 0.2) as [made]:
            yield made
    except Missing as error:
        pytest.skip(str(error))


def test_a_share_bounds_what_is_in_it_and_tells_that_it_did(share: shares.Share) -> None:
    command = [sys.executable, "-c", f"import sys\nsys.stdin.read()\n{SPENT}"]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as process:
        share.take([process.pid])
        said, _ = process.communicate("")
    # Half a second of a fifth of a core is 0.1 s; what it took before it was put in is not much.
    assert 0.0 < float(said) < 0.3
    periods, used_up = share.periods()
    assert periods >= used_up > 0


def test_the_share_that_was_used_up_least_counts(tmp_path: Path) -> None:
    used = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        used.append(shares.Share(folder, number))
        (folder / "cpu.stat").write_text("nr_periods 100\nnr_throttled 10\nthrottled_time 1\n")

    def load() -> dict[str, Any]:
        for each, throttled in zip(used, (100, 50), strict=True):
            text = f"nr_periods 200\nnr_throttled {10 + throttled}\n"
            (each.folder / "cpu.stat").write_text(text)
        return {"requests": 7}

    found = scaling.watched(load, [], used)
    assert found == {"requests": 7, "by_worker": None, "used_up": 0.5}


def test_parts_are_of_what_was_written_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {1: itertools.count(1_000, 30), 2: itertools.count(5, 10)}
    monkeypatch.setattr(scaling, "written_bytes", lambda pid: next(counts[pid]))
    idle = shares.Share(Path(), 0)
    monkeypatch.setattr(shares.Share, "periods", lambda _: (0, 0))
    assert scaling.watched(dict, [1, 2], [idle])["by_worker"] == [0.75, 0.25]


def test_a_gain_is_of_one_round() -> None:
    # The machine got slower by the round: of medians the gain would be 4.
    alone = [round_of(400), round_of(200), round_of(100)]
    both = [
        round_of(800, by_worker=[0.4, 0.6], used_up=0.9),
        round_of(300, by_worker=[0.45, 0.55], used_up=0.8),
        round_of(190, by_worker=[0.5, 0.5], failed=1),
    ]
    first, second = scalings({"one worker": alone, "two workers": both})
    assert (first.gain, first.by_worker) == (1, (1, 1))
    assert (second.gain, second.spread) == (1.9, (1.5, 2))
    assert (second.by_worker, second.used_up, second.failed) == ((0.4, 0.6), 0.9, 1)


def test_the_report_tells_it() -> None:
    found = {
        "one worker": [round_of(4_000)],
        "two workers": [round_of(7_800, by_worker=[0.45, 0.55], used_up=0.95, failed=2)],
        "crowded": [round_of(4_000, by_worker=None)],
    }
    text = report._scaling({"share": 0.2, "period_us": 10_000, "connections": 128, "found": found})
    assert "20% of a core" in text
    assert "| one worker | 4,000 | 1.00 (1.00" in text
    assert "| two workers | 7,800 | 1.95 (1.95" in text
    assert "| 45%–55% | 95% of periods |" in text  # noqa: RUF001 - a range
    assert "| not known | 100% of periods |" in text
    assert "Not answered with 200: 2 with two workers." in text
