"""What a serving process loads: its start and its memory depend on it."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {
    "mcp",
    "prometheus_client",
    "pydantic",
    "starlette",
    "httpx",
    "httpx2",
    "uvicorn",
    "yaml",
    "click",
}


def loaded(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has after running `code`."""
    program = f"{code}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["gateway.app", "gateway.process", "gateway.worker"])
def test_what_serves_is_light(module: str) -> None:
    assert loaded(f"import {module}") & HEAVY == set()


def test_importing_the_package_loads_nothing_of_it() -> None:
    assert "hypercorn" not in loaded("import gateway")


def test_the_version_is_told_without_the_gateway() -> None:
    code = (
        "import sys\nfrom gateway.cli import interlock\n"
        "interlock(['version'], standalone_mode=False)\n"
        "sys.stdout.write('\\n')"
    )
    assert loaded(code) & {"hypercorn", "mcp", "watchfiles"} == set()
