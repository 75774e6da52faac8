"""What `interlock run` has loaded once it serves: its start and its memory depend on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

NEEDLESS = {
    *("mcp", "pydantic", "starlette", "httpx", "httpx2", "uvicorn", "yaml", "prometheus_client"),
    *(
        "jwt",
        "cryptography",
        "opentelemetry",
        "requests",
        "google",
        "gateway.tracing",
        "gateway.signed",
        "gateway.config",
    ),
    *("anyio", "watchfiles", "email", "http.client", "urllib.request", "sqlite3"),
    *("gateway.approvals.desk", "gateway.approvals.store"),
    *("gateway.downstream.stdio", "gateway.supervisor", "gateway.operate.collector"),
}
MOST_MODULES = 360
"""Of Python's own, hypercorn's, click's, uvloop's and ours. Raise it for a reason."""
LIST_AND_STOP = """
import os, signal, sys
import gateway.process

def announce(settings):
    print(*sys.modules)
    os.kill(os.getpid(), signal.SIGTERM)

gateway.process.announce = announce
from gateway.cli import main
main()
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of the modules of a process that serves."""
    policy: Path = tmp_path_factory.mktemp("budget") / "policy.json"
    policy.write_text(json.dumps({"version": "1", "default": "deny"}))
    done = subprocess.run(
        [
            *(sys.executable, "-P", "-c", LIST_AND_STOP, "run", "--policy", str(policy)),
            *("--upstream", "http://127.0.0.1:9/mcp"),
            *("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"),
        ],
        env={k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return set(done.stdout.split())


def test_nothing_needless_is_loaded(loaded: set[str]) -> None:
    assert "gateway.app" in loaded
    assert loaded & NEEDLESS == set()


def test_few_modules_are_loaded(loaded: set[str]) -> None:
    assert len(loaded) <= MOST_MODULES
