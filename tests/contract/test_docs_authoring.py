"""The pages for people who write policies: each command prints what the page says it prints."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from support.pages import Block, blocks

PAGES = ["docs/testing-policies.md", "docs/replay.md", "docs/changing-policies.md"]


def shown() -> list[tuple[Block, Block]]:
    """Each command that is followed by what it prints."""
    return [
        (block, after)
        for name in PAGES
        for block, after in pairwise(blocks(name))
        if block.language == "sh" and after.language == "text"
    ]


@pytest.mark.parametrize(("block", "output"), shown(), ids=str)
def test_a_command_prints_what_is_shown(block: Block, output: Block, tmp_path: Path) -> None:
    for file in blocks(block.page):
        if file.line >= block.line:
            break
        if re.fullmatch(r"[\w-]+\.\w+", file.note):
            (tmp_path / file.note).write_text(file.text, encoding="utf-8")
    for line in block.text.splitlines():
        exits = re.search(r"# exits with (\d+)", line)
        _, *args = shlex.split(line, comments=True)
        done = subprocess.run(
            [sys.executable, "-P", "-m", "gateway", *args],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == (int(exits[1]) if exits else 0), done.stderr
    assert done.stderr + done.stdout == output.text


@pytest.mark.parametrize("name", PAGES)
def test_a_page_shows_commands(name: str) -> None:
    assert any(block.page == name for block, _ in shown())
