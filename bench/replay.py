"""How long `interlock replay` takes for a log, and how much memory: `make bench-replay`.

The log is that of a busy week: ten grants, twenty tools, of which one in a hundred calls was
refused. The policy has rules on names, on values that the log has, and on values that it has not,
and a limit of each algorithm, so that every path of a replay is taken.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

LINES = 1_000_000
BEGIN = datetime(2026, 3, 2, tzinfo=UTC)
APART = timedelta(milliseconds=600)
GRANTS = 10
TOOLS = 20

_RULE: dict[str, Any] = {"op": "gt", "value": 900}


def policy() -> dict[str, Any]:
    """The candidate."""

    def limit(name: str, algorithm: str, most: int) -> dict[str, Any]:
        return {"counter": name, "algorithm": algorithm, "window": "minute", "max": most}

    tools: dict[str, Any] = {f"tool_{n}": {} for n in range(TOOLS - 1)}
    tools["tool_1"] = {"limits": [limit("fixed", "fixed_window", 6)]}
    tools["tool_2"] = {"limits": [limit("sliding", "sliding_window", 6)]}
    tools["tool_3"] = {"limits": [{**limit("bucket", "token_bucket", 6), "burst": 4}]}
    tools["tool_4"] = {"deny_if": [{"conditions": [{"path": "args.known", **_RULE}]}]}
    tools["tool_5"] = {"deny_if": [{"conditions": [{"path": "args.unknown", **_RULE}]}]}
    tools["tool_*"] = {"limits": [limit("all", "fixed_window", 60)]}
    return {"version": "1", "default": "deny", "tools": tools}


def lines(count: int) -> Iterator[str]:
    """A decision log, as the sidecar writes one but for the chain."""
    for number in range(count):
        refused = number % 100 == 99
        line = {
            "ts": (BEGIN + number * APART).isoformat(timespec="microseconds"),
            "seq": number + 1,
            "request_id": number,
            "grant": f"grant-{number % GRANTS}",
            "server": "shop",
            "session": None,
            "method": "tools/call",
            "tool": f"tool_{number * 7 % TOOLS}",
            "arg_keys": ["known", "unknown"],
            "args": {"known": number % 1_000},
            "effect": "deny" if refused else "allow",
            "code": "tool-denied" if refused else "allowed",
            "rule": "/tools/tool_4/deny_if/0" if refused else None,
            "counter": None,
            "remaining": None,
            "shadow": [],
            "policy": "9c1f0e7d5b3a48621f0c9d8e7b6a5f4e3d2c1b0a99887766554433221100ffee",
            "decide_us": 4.2,
            "upstream_status": None if refused else 200,
            "duration_ms": None if refused else 12.5,
            "prev": "0" * 64,
            "hash": "0" * 64,
        }
        yield json.dumps(line, separators=(",", ":")) + "\n"


_TELLING = """
import atexit, pathlib, runpy, sys
told = pathlib.Path(sys.argv.pop(1))
atexit.register(lambda: told.write_text(pathlib.Path("/proc/self/status").read_text()))
runpy.run_module("gateway", run_name="__main__", alter_sys=True)
"""
"""Runs a command that says of itself what it took: the kernel's maximum for a child that has ended
includes what its parent had before the child was another program."""


def measure(count: int, folder: Path) -> dict[str, float]:
    """Replays a log of so many lines in a process of its own.

    Returns:
        `seconds` by the clock, `cpu_seconds`, `peak_mib` of resident memory, and `calls` decided.
    """
    log, candidate = folder / "log.jsonl", folder / "policy.json"
    with log.open("w") as file:
        file.writelines(lines(count))
    candidate.write_text(json.dumps(policy()))
    took = folder / "status"
    command = (sys.executable, "-c", _TELLING, took, "replay", candidate, log, "--format", "json")
    began = time.perf_counter()
    with (folder / "told.json").open("w+") as told:
        process = subprocess.Popen(command, stdout=told)
        # Of this process alone: a sum or a maximum over all of ours would tell of others.
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - began
        if process.returncode != 0:
            raise SystemExit(f"`interlock replay` ended with {process.returncode}")
        told.seek(0)
        calls = json.load(told)["calls"]
    return {
        "seconds": seconds,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_mib": peak_kib(took.read_text()) / 1024,
        "calls": calls,
    }


def peak_kib(status: str) -> int:
    """The most memory that was resident, of `/proc/PID/status`."""
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1])


def main() -> None:
    """Measures, and prints what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=LINES)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(given.lines, Path(folder))
    print(
        f"{found['calls']:,.0f} calls in {found['seconds']:.1f} s, of which "
        f"{found['cpu_seconds']:.1f} s on a processor; at most {found['peak_mib']:.0f} MiB"
    )


if __name__ == "__main__":
    main()
