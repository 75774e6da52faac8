"""docs/pinning.md: the story it tells is played, command by command."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from support.pages import Block, blocks

BLOCKS = blocks("docs/pinning.md")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for block in BLOCKS:
        if block.note:
            (tmp_path / block.note).write_text(block.text, encoding="utf-8")
    return tmp_path


def run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", *shlex.split(line)[1:]],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def lines(heading: str) -> list[str]:
    """The commands of a section."""
    return [
        line
        for block in BLOCKS
        if block.heading == heading and block.language == "sh"
        for line in block.text.splitlines()
        if " scan " in line
    ]


def shown(heading: str) -> Block:
    return next(b for b in BLOCKS if b.heading == heading and b.language == "text")


def test_the_story_of_the_page(folder: Path) -> None:
    (lock,) = lines("Pin")
    done = run(lock, folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "pinned 3 tools in `interlock.lock`\n"
    assert run(lock, folder).returncode == 0

    (diff,) = lines("See what changed")
    same = diff.replace("later.json", "tools.json")
    done = run(same, folder)
    assert (done.returncode, done.stdout) == (0, "every tool is as it was pinned\n")
    done = run(diff, folder)
    assert (done.returncode, done.stdout) == (1, shown("See what changed").text)
    done = run(lock.replace("tools.json", "later.json"), folder)
    assert done.returncode == 1
    assert "--accept" in done.stderr

    one, everything = lines("Accept it")
    done = run(one, folder)
    assert done.returncode == 1
    assert "store_note" not in done.stdout
    assert (
        run("interlock scan --tools later.json --name shop --accept nothing", folder).returncode
        == 64
    )
    done = run(everything, folder)
    assert (done.returncode, done.stdout) == (0, "every tool is as it was pinned\n")
    assert run(same, folder).returncode == 1


def test_without_a_lock_there_is_nothing_to_compare_with(folder: Path) -> None:
    (diff,) = lines("See what changed")
    done = run(diff, folder)
    assert done.returncode == 64
    assert "cannot read `interlock.lock`: no such file or directory" in done.stderr
    assert run(f"{diff} --lock", folder).returncode == 2
