"""Memory stays where it is, however many calls come and whatever they are about."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SLACK_KB = 512
"""A tenth of what 20,000 calls would leave behind if each left its own 250 bytes."""
CALLS = """
import json, sys
from gateway import Caller, Engine, LimitTable, PolicySet
from gateway._core import sum_expositions

SECOND = 1_000_000_000
START = 1_800_000_000 * SECOND
limits = [
    {"counter": "each", "window": "minute", "max": 3, "key": "args.k"},
    {"counter": "all", "window": "minute", "max": 100000, "mode": "shadow"},
    {"counter": "open", "algorithm": "concurrency", "max": 5},
]
policy = {"version": "1", "default": "deny", "tools": {"t": {"limits": limits}}}
table = LimitTable(1024)
engine = Engine(PolicySet.parse(json.dumps(policy).encode(), name="p.json"), table)
seen = set()

def resident_kb():
    return int(open("/proc/self/statm").read().split()[1]) * 4

def calls(first, last):
    for n in range(first, last):
        # Five calls a second with a value each, three hundred in a window: the table's places are
        # taken again and again. And names that no policy knows.
        now = START + n * SECOND // 5
        caller = Caller("g", server="s", session=f"session-{n}")
        params = {"name": "t" if n % 3 else f"tool-{n}", "arguments": {"k": f"value-{n}"}}
        message = {"jsonrpc": "2.0", "id": n, "method": "tools/call", "params": params}
        decision = engine.decide(caller, json.dumps(message).encode(), now_ns=now)
        seen.add(decision.code)
        engine.settle(decision, "done" if n % 2 else "not-sent", now_ns=now)
        engine.observe("request", n)
        if n % 100 == 0:
            lines = engine.decision_lines(caller) + engine.usage_lines(caller, now_ns=now)
            sum_expositions([b"# TYPE interlock_decisions_total counter\\n" + lines], [], [])
            table.bind("session", "s", f"session-{n}", "g", now_ns=now)

calls(0, 10_000)
before = resident_kb()
calls(10_000, 30_000)
assert seen >= {"allowed", "default-deny"}, seen
assert table.stats()["evictions"] > 0, table.stats()
print(resident_kb() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the machine does not tell")
def test_calls_leave_nothing_behind() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CALLS], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= SLACK_KB
