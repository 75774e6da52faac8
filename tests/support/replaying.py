"""Logs that tests make up, and their replay by the command."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner, Result

from gateway.author.calls import instant
from gateway.cli.replay import command

if TYPE_CHECKING:
    from pathlib import Path

BEGIN = instant("2026-03-02T10:00:00Z") or 0
SECOND = 1_000_000_000


def policy(**tools: Any) -> dict[str, Any]:
    """A policy that allows these tools."""
    return {"version": "1", "default": "deny", "tools": tools}


def limited(**limit: Any) -> dict[str, Any]:
    """A policy that allows `t`, twice a minute if nothing else is said."""
    return policy(t={"limits": [{"counter": "c", "window": "minute", "max": 2, **limit}]})


def line(at: float, tool: str | None = "t", **members: Any) -> dict[str, Any]:
    """A line of a decision log of an allowed call."""
    base = {
        "ts": 1_772_445_600 + at,
        "grant": "g",
        "server": "s",
        "method": "tools/call",
        "tool": tool,
        "arg_keys": [],
        "effect": "allow",
        "code": "allowed",
        "rule": None,
        "duration_ms": 5,
    }
    return {**base, **members}


def write(folder: Path, document: Any, *lines: Any) -> list[str]:
    """The names of files with a policy and a log."""
    (folder / "p.json").write_text(json.dumps(document))
    log = "".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in lines)
    (folder / "l.jsonl").write_text(log)
    return [str(folder / "p.json"), str(folder / "l.jsonl")]


def run(folder: Path, document: Any, *lines: Any, options: tuple[str, ...] = ()) -> Result:
    """Replay a log against a policy."""
    return CliRunner().invoke(command, [*write(folder, document, *lines), *options])


def told(folder: Path, document: Any, *lines: Any, options: tuple[str, ...] = ()) -> Any:
    """What that says."""
    done = run(folder, document, *lines, options=("--format", "json", *options))
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)
