"""The demo is right about itself, and says so in its exit code."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.e2e


@pytest.mark.timeout(150)  # it may wait for the next calendar minute
def test_the_demo_sees_what_the_policy_says() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "demo", "--once"],
        capture_output=True,
        text=True,
        timeout=140,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "upwork_close_session, 30 times: 30 allowed" in done.stdout
    assert "upwork_close_session, once more: limit-exceeded" in done.stdout
    assert "each of the other 17 tools: 17 default-deny" in done.stdout
    assert "counts   30 allowed, 17 default-deny, 1 limit-exceeded" in done.stdout
