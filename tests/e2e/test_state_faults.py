"""A state file that cannot be, is not, or no longer is what it should: never an open door."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from http.client import HTTPException
from pathlib import Path

import pytest

from support.process import sidecar, upstream

pytestmark = pytest.mark.e2e

POLICY = {
    "version": "1",
    "default": "deny",
    "tools": {"t": {"limits": [{"counter": "c", "window": "month", "max": 2}]}},
}


@pytest.fixture
def policy(tmp_path: Path) -> str:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(POLICY))
    return str(path)


def run(policy: str, state: Path, **options: object) -> subprocess.CompletedProcess[str]:
    """A start that is expected to fail."""
    ports = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
    command = [sys.executable, "-m", "gateway", "run", "--policy", policy, *ports]
    command += ["--upstream", "http://127.0.0.1:1/mcp", "--state", str(state)]
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        command, capture_output=True, text=True, check=False, timeout=30, **options
    )


def test_a_full_disk_is_found_out_at_the_start(policy: str, tmp_path: Path) -> None:
    def bound_files() -> None:
        # The kernel gives a file no more than this, as it would on a disk that is full.
        resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, 64 * 1024))

    state = tmp_path / "limits.state"
    done = run(policy, state, preexec_fn=bound_files)
    assert done.returncode > 0, "it went on, or died of a signal"
    assert str(state) in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == [Path(policy)], "something is left behind"


def test_a_second_instance_does_not_start(policy: str, tmp_path: Path) -> None:
    state = tmp_path / "limits.state"
    with (
        upstream() as server,
        sidecar("--policy", policy, "--upstream", server.url, "--state", str(state)) as first,
    ):
        done = run(policy, state)
        assert done.returncode > 0
        assert str(state) in done.stderr
        assert [first.call("t") for _ in range(3)] == ["allowed", "allowed", "limit-exceeded"]


def test_a_deleted_file_goes_on_counting(policy: str, tmp_path: Path) -> None:
    state = tmp_path / "limits.state"
    with (
        upstream() as server,
        sidecar("--policy", policy, "--upstream", server.url, "--state", str(state)) as it,
    ):
        assert it.call("t") == "allowed"
        state.unlink()
        assert [it.call("t") for _ in range(2)] == ["allowed", "limit-exceeded"]


def test_a_truncated_file_ends_the_process_and_is_refused_after(
    policy: str, tmp_path: Path
) -> None:
    state = tmp_path / "limits.state"
    with (
        upstream() as server,
        sidecar("--policy", policy, "--upstream", server.url, "--state", str(state)) as it,
    ):
        assert it.call("t") == "allowed"
        os.truncate(state, 4096)
        # The rest of the file is gone, and with it the page that the next decision touches.
        with pytest.raises((OSError, HTTPException)):
            it.call("t")
        assert it.wait() == -signal.SIGBUS
        assert len(server.calls) == 1
    done = run(policy, state)
    assert done.returncode > 0
    assert "state reset" in done.stderr
