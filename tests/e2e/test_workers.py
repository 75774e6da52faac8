"""Several workers are one sidecar: one port, one count, one readiness, one end."""

from __future__ import annotations

import json
import os
import re
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.process import Sidecar, command, request, sidecar, until, upstream

pytestmark = pytest.mark.e2e

MAX = 30


def write(path: Path, **tools: Any) -> Path:
    path.write_text(json.dumps({"version": "1", "default": "deny", "tools": tools}))
    return path


LIMITED = {"limits": [{"counter": "calls", "window": "week", "max": MAX}]}


@contextmanager
def workers(tmp_path: Path, *options: str, number: int = 2) -> Iterator[Sidecar]:
    policy = write(tmp_path / "policy.json", open={}, limited=LIMITED)
    with (
        upstream() as server,
        sidecar(
            *("--policy", str(policy), "--upstream", server.url, "--workers", str(number)),
            *options,
        ) as it,
    ):
        yield it


def counted(it: Sidecar) -> Counter[str]:
    """Decisions about tools by code, from a scrape."""
    text = it.get("/metrics").body.decode()
    counts: Counter[str] = Counter()
    for code, value in re.findall(r'interlock_decisions_total{.*code="([^"]+)"} (\S+)', text):
        counts[code] += int(float(value))
    return counts


@pytest.mark.parametrize("state", ["memory", "file"])
def test_a_quota_holds_over_all_workers(tmp_path: Path, state: str) -> None:
    place = "memory" if state == "memory" else str(tmp_path / "limits.state")
    with workers(tmp_path, "--state", place) as it:
        seen = Counter(it.call("limited") for _ in range(MAX + 10))
        assert seen == {"allowed": MAX, "limit-exceeded": 10}
        assert counted(it) == seen
        (limit,) = it.get("/limits").json
        assert limit["used"] == MAX
        assert it.stop() == 0


@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGSEGV])
def test_every_worker_serves_and_a_dead_one_is_replaced(
    tmp_path: Path, death: signal.Signals
) -> None:
    with workers(tmp_path) as it:
        before = set(it.workers())
        assert len(before) == 2
        seen = Counter(it.call("limited") for _ in range(10))
        assert counted(it) == seen
        os.kill(min(before), death)

        def replaced() -> bool:
            return len(set(it.workers()) - {min(before)}) == 2 and it.get("/readyz").status == 200

        until(replaced, "another worker")
        assert max(before) in it.workers()
        seen.update(it.call("limited") for _ in range(MAX))
        assert seen == {"allowed": MAX, "limit-exceeded": 10}
        assert counted(it) == seen
        assert it.stop() == 0


def test_it_is_not_ready_while_a_worker_is_missing(tmp_path: Path) -> None:
    with workers(tmp_path) as it:
        (first, _) = it.workers()
        os.kill(first, signal.SIGSTOP)  # it neither serves nor answers its supervisor
        until(lambda: it.get("/readyz").status == 503, "readiness to turn")
        os.kill(first, signal.SIGKILL)
        until(lambda: it.get("/readyz").status == 200, "readiness to return")


def test_a_reload_reaches_every_worker(tmp_path: Path) -> None:
    with workers(tmp_path) as it:
        assert {it.call("shut") for _ in range(8)} == {"default-deny"}
        write(tmp_path / "policy.json", shut={})
        it.signal(signal.SIGHUP)
        until(lambda: {it.call("shut") for _ in range(8)} == {"allowed"}, "the new policy")


def test_workers_do_not_outlive_their_supervisor(tmp_path: Path) -> None:
    with workers(tmp_path) as it:
        children = it.workers()
        it.process.kill()
        it.wait()
        until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in children), "the end")
        with pytest.raises(ConnectionRefusedError):
            request(it.mcp, "GET", "/mcp")


def test_a_stdio_server_has_no_several_workers(tmp_path: Path) -> None:
    policy = write(tmp_path / "policy.json")
    done = command("run", "--policy", str(policy), "--workers", "2", "--", "cat")
    assert done.returncode == 64
    assert "error: a server that speaks stdio lives in one process" in done.stderr
    assert "help: " in done.stderr
