"""Podman, from tests: every command bounded, every failure with what it said."""

from __future__ import annotations

import json
import subprocess
from typing import Any

PATIENCE_S = 60


def podman(*arguments: str, check: bool = True, given: str | None = None) -> str:
    """Run podman to its end; what it printed, errors included.

    Raises:
        AssertionError: it failed, and `check` is set.
    """
    done = subprocess.run(
        ["podman", *arguments],
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert not check or done.returncode == 0, f"podman {arguments}: {done.stdout}"
    return done.stdout


def inspect(name: str) -> dict[str, Any]:
    """What podman knows of a container, an image or a volume."""
    (found,) = json.loads(podman("inspect", name))
    return dict(found)
