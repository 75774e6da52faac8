"""What `helm test` runs in its pod, run here: beside a real sidecar with the chart's own policy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from k8s.generate import CHART, objects
from support.charts import chart
from support.process import sidecar

pytestmark = pytest.mark.e2e

SCRIPT = CHART / "files" / "decision_test.py"


def pod() -> dict[str, Any]:
    values = {"config": {"upstream": "http://x/mcp"}}
    (found,) = objects(chart(), values, "tests/decision.yaml")
    return dict(found["spec"])


def run(policy: Path) -> subprocess.CompletedProcess[str]:
    spec = pod()
    (upstream,) = (
        item["value"]
        for item in spec["initContainers"][0]["env"]
        if item["name"] == "INTERLOCK_UPSTREAM"
    )
    (container,) = spec["containers"]
    env = {item["name"]: item["value"] for item in container["env"]}
    assert container["args"] == [SCRIPT.read_text()]
    command = [sys.executable, "-c", *container["args"]]
    with sidecar("--policy", str(policy), "--upstream", upstream, "--state", "memory") as running:
        env["MCP_PORT"] = running.mcp.rpartition(":")[2]
        return subprocess.run(
            command, env=env, capture_output=True, text=True, timeout=30, check=False
        )


def test_it_passes_with_the_starter_policy() -> None:
    done = run(CHART / "policies" / "default.yaml")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "echo: allowed\ndelete_everything: refused, default-deny\n"


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ('{"version": "1", "default": "allow"}', "delete_everything: allowed"),
        ('{"version": "1", "default": "deny"}', "echo: refused, default-deny"),
    ],
)
def test_it_fails_where_the_policy_does_otherwise(policy: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "policy.json").write_text(policy)
    done = run(tmp_path / "policy.json")
    assert done.returncode == 1
    assert told in done.stdout
