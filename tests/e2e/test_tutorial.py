"""docs/tutorial.md, played to its last line with the servers and the client it names.

The reader's home is a folder; `npx` and `uvx` there start the packages that `setup.sh` has fetched.
Instants, durations and the sparkline are not compared, and a line `…` stands for any lines.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import peers
import pytest
from processes import PATIENCE_S, run_json

from support.pages import Block, Row, blocks, page, plain, table

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

PAGE = "docs/tutorial.md"
HOME = "/home/ann"
CLIENT_FILE = "~/.config/Claude/claude_desktop_config.json"
DESKTOP = (peers.SDK2, str(peers.HERE / "clients" / "desktop.py"))
LATE = 23 * 60 + 50
"""From this minute of the day on, a day's limit could be forgotten in the middle of the story."""

SHIMS = {
    # Whatever is asked for lies in a folder of its own, so that one server can change.
    "bin/npx": """#!/bin/sh
shift; package=$1; shift
exec {node} "$HOME/npm/node_modules/$package/dist/index.js" "$@"
""",
    "bin/uvx": """#!/bin/sh
module=$(echo "$1" | tr - _); shift
exec {python} -m "$module" "$@"
""",
    "interlock/.venv/bin/interlock": """#!/bin/sh
exec {interlock} -P -m gateway "$@"
""",
}


class Reader:
    """Somebody who does what the page says, in a home of their own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.folder = home / "policies"
        for folder in ("policies", "notes", "npm"):
            (home / folder).mkdir()
        starts = {"node": peers.NODE, "python": peers.SDK2, "interlock": sys.executable}
        for name, text in SHIMS.items():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_text(text.format(**starts))
            (home / name).chmod(0o755)
        (home / "npm" / "node_modules").symlink_to(peers.NPM / "node_modules")
        for command in (["init", "--quiet", "--initial-branch", "main"], ["add", "."]):
            (home / "project").mkdir(exist_ok=True)
            (home / "project" / "readme").write_text("A project.\n")
            subprocess.run(["git", *command], cwd=home / "project", check=True)

    @property
    def environment(self) -> dict[str, str]:
        given = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
        own = f"{self.home}/bin:{self.home}/interlock/.venv/bin"
        identity = {"GIT_AUTHOR_EMAIL": "ann@example.invalid", "GIT_AUTHOR_NAME": "ann"}
        return {**given, **identity, "HOME": str(self.home), "PATH": f"{own}:{os.environ['PATH']}"}

    def saves(self, block: Block) -> None:
        """Puts a file where its block says, or an entry into the policy that is there."""
        name, _, entry = block.note.partition(" ")
        path = self.home / name[2:] if name.startswith("~/") else self.folder / name
        text = block.text.replace(HOME, str(self.home))
        if entry:
            text = with_entry(path.read_text(), entry, text)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def runs(self, block: Block, output: Block) -> None:
        exits = re.search(r"# exits with (\d+)", block.text)
        done = subprocess.run(
            ["sh", "-c", block.text],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_S * 4,
            check=False,
        )
        said = done.stdout.replace(str(self.home), HOME)
        assert done.returncode == (int(exits[1]) if exits else 0), said
        wanted = ".*".join(map(re.escape, timeless(output.text).split("…\n")))
        assert re.fullmatch(wanted, timeless(said), re.S), f"{output}\n{said}"

    def calls(self, rows: list[Row]) -> dict[str, list[str]]:
        """Starts the client anew and has its agent make the calls; what tools it was shown."""
        made, told = [], []
        for row in rows:
            tool, _, arguments = plain(row["call"]).partition(" ")
            call = [row["server"], tool, json.loads(arguments.replace(HOME, str(self.home)))]
            made += [call] * int(row["times"])
            told += [row["what the agent is told"]] * int(row["times"])
        servers = self.home / CLIENT_FILE[2:]
        command = ("env", "-i", *(f"{k}={v}" for k, v in self.environment.items()), *DESKTOP)
        heard = run_json((*command, str(servers), json.dumps(made)), timeout_s=PATIENCE_S * 4)
        for wanted, call, result in zip(told, made, heard["calls"], strict=True):
            refused = result["text"].startswith("[POLICY DENIED]")
            if wanted == "the answer":
                assert not refused, (call, result)
            else:
                assert result["is_error"]
                assert timeless(result["text"]) == timeless(wanted.strip("`").strip())
        shown: dict[str, list[str]] = heard["servers"]
        return shown

    def receives(self, block: Block) -> None:
        """A package is fetched anew, with another sentence in it."""
        before, after = (line[1:] for line in block.text.splitlines())
        modules = self.home / "npm" / "node_modules"
        modules.unlink()
        scope = modules / peers.PACKAGES.name
        scope.mkdir(parents=True)
        for other in (peers.NPM / "node_modules").iterdir():
            if other.name != scope.name:
                (modules / other.name).symlink_to(other)
        for other in peers.PACKAGES.iterdir():
            if other.name != block.note:
                (scope / other.name).symlink_to(other)
        changed = scope / block.note
        shutil.copytree(peers.PACKAGES / block.note, changed)
        script = changed / "dist" / "index.js"
        text = script.read_text()
        assert text.count(f'"{before}"') == 1
        script.write_text(text.replace(f'"{before}"', f'"{after}"'))


def with_entry(policy: str, tool: str, text: str) -> str:
    """A policy whose entry for a tool is another, every other byte as it was."""
    head, found, rest = policy.partition(f'"{tool}": ')
    assert found
    _, end = json.JSONDecoder().raw_decode(rest)
    changed = head + text.rstrip("\n") + rest[end:]
    json.loads(changed)
    return changed


def timeless(text: str) -> str:
    """Without what is another thing each time."""
    text = re.sub(r"\d{4}-\d\d-\d\d([T ])\d\d:\d\d:\d\d(\.\d+)?", r"DAY\1TIME", text)
    text = re.sub(r"(?<=try again in )[\d.]+ \w+", "LATER", text)
    return re.sub(r"[▁▂▃▄▅▆▇█·]{48}", "SPARKLINE", text)


def story() -> list[tuple[str, Any]]:
    """What there is to do, in the order of the page: blocks, and tables of calls."""
    lines = page(PAGE).splitlines()
    steps: list[tuple[int, str, Any]] = []
    found = blocks(PAGE)
    for number, block in enumerate(found):
        if block.language == "sh":
            steps.append((block.line, "run", (block, found[number + 1])))
        elif block.language != "text":
            steps.append((block.line, "diff" if block.language == "diff" else "save", block))
    for at, line in enumerate(lines, 1):
        if line.startswith("| server |"):
            steps.append((at, "calls", list(table(lines[at - 1 :]))))
    return [(kind, what) for _, kind, what in sorted(steps, key=lambda step: step[0])]


def test_the_story_is_true(real_peers: None, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    if now.hour * 60 + now.minute >= LATE:
        pytest.skip("the day of the limits would end in the middle of the story")
    reader = Reader(tmp_path)
    shown: list[dict[str, list[str]]] = []
    for kind, what in story():
        match kind:
            case "save":
                reader.saves(what)
            case "run":
                reader.runs(*what)
            case "calls":
                shown.append(reader.calls(what))
            case "diff":
                reader.receives(what)
    assert "delete_entities" not in shown[0]["memory"]
    assert "read_graph" in shown[0]["memory"]
    assert shown[-1]["memory"] == [one for one in shown[0]["memory"] if one != "read_graph"]
    assert (tmp_path / "notes" / "tea.md").read_text() == "green"
    assert not (tmp_path / "notes" / "run.sh").exists()
    assert [path.name for path in reader.folder.glob(".*")] == []


def test_the_story_has_all_its_parts() -> None:
    kinds = [kind for kind, _ in story()]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "save": 5,
        "run": 10,
        "calls": 4,
        "diff": 1,
    }
    commands = "".join(what[0].text for kind, what in story() if kind == "run")
    for verb in ("scan", "check", "test", "log", "replay", "shadow"):
        assert f"interlock {verb} " in commands
