"""docs/scan.md: its commands are run, and print what is shown."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from gateway.author.classify import CLASSES, SEVERITY
from gateway.author.recommend import EFFECTS
from gateway.author.report import EFFECT_WORDS, data
from support.pages import ROOT, blocks, plain, sections, table

PAGE = "docs/scan.md"
BLOCKS = blocks(PAGE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the reader is: with the files that the page shows."""
    for block in BLOCKS:
        if block.note:
            (tmp_path / block.note).write_text(block.text, encoding="utf-8")
    return tmp_path


def run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    _, *args = shlex.split(line)
    return subprocess.run(
        [sys.executable, "-m", "gateway", *args],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def shown() -> list[tuple[str, str]]:
    """Each command that is followed by its output."""
    return [
        (block.text.strip(), after.text)
        for block, after in pairwise(BLOCKS)
        if block.language == "sh" and after.language == "text" and not after.text.startswith("{")
    ]


@pytest.mark.parametrize(("line", "output"), shown(), ids=lambda text: text.split("\n")[0])
def test_a_command_prints_what_is_shown(line: str, output: str, folder: Path) -> None:
    done = run(line, folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout == output


def test_the_classes_are_those_there_are() -> None:
    rows = list(table(sections(PAGE, 2)["The five classes"].splitlines()))
    told = [(row["class"], row["severity"], row["proposed"]) for row in rows]
    assert told == [(kind, SEVERITY[kind], EFFECT_WORDS[EFFECTS[kind]]) for kind in CLASSES]


def test_an_owners_word_replaces_the_class(folder: Path) -> None:
    (line,) = [b.text.strip() for b in BLOCKS if "--format json" in b.text and b.language == "sh"]
    done = run(line, folder)
    assert done.returncode == 0, done.stderr
    (server,) = json.loads(done.stdout)["servers"]
    (note,) = [tool for tool in server["tools"] if tool["name"] == "save_note"]
    assert (note["class"], note["severity"], note["confidence"]) == ("Read", "low", 1.0)
    assert note["rationale"] == "Read by the owner's word: notes are the agent's own"
    (shape,) = [block.text for block in BLOCKS if block.text.startswith('{"servers"')]
    assert [plain(key) for key in shape.split('"')[7::2]] == list(note)
    assert data([]) == {"servers": []}


def test_the_policy_that_is_shown_is_the_one_that_is_written(folder: Path) -> None:
    (shown_one,) = [block.text for block in BLOCKS if block.note == "policy.json"]
    (folder / "policy.json").unlink()
    done = run("interlock scan --tools tools.json --name shop --write policy.json", folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "policy.json").read_text(encoding="utf-8") == shown_one
    done = run("interlock check policy.json --strict --tools tools.json", folder)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_warnings_are_those_there_are() -> None:
    text = sections(PAGE, 2)["A policy against a server"].rpartition("```")[2]
    rows = table(text.splitlines())
    told = {plain(row["warning"]) for row in rows}
    source = (ROOT / "python/gateway/author/fit.py").read_text(encoding="utf-8")
    assert told == set(re.findall(r'(?:Misfit|_nobody)\(\s*"([a-z-]+)"', source))
