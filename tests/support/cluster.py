"""A cluster, by way of `kubectl`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_S = 240
"""What the kubelet's defaults allow themselves for a changed ConfigMap, and some more."""


class Cluster:
    """`kubectl`, with a namespace."""

    def __init__(self, namespace: str) -> None:
        beside = Path(sys.executable).parent / "kubectl"
        self._kubectl = str(beside) if beside.exists() else str(shutil.which("kubectl"))
        self.namespace = namespace

    def run(self, *arguments: str, given: Any = None) -> tuple[bool, str]:
        """Whether it went well, and what it said."""
        done = subprocess.run(
            [self._kubectl, "--namespace", self.namespace, *arguments],
            input=None if given is None else json.dumps(given),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        return done.returncode == 0, done.stdout

    def do(self, *arguments: str, given: Any = None) -> str:
        """What it said.

        Raises:
            AssertionError: it did not go well.
        """
        well, told = self.run(*arguments, given=given)
        assert well, told
        return told

    def apply(self, *items: dict[str, Any], options: tuple[str, ...] = ()) -> None:
        """Create or change objects, in this namespace if they are in one."""
        for item in items:
            item["metadata"].pop("namespace", None)
            self.do("apply", "--server-side", "--force-conflicts", *options, "-f", "-", given=item)

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """An object."""
        found: dict[str, Any] = json.loads(self.do("get", kind, name, "--output", "json"))
        return found

    def until(self, holds: Callable[[], Any], what: str) -> Any:
        """What it returns, once that is something.

        Raises:
            AssertionError: it was nothing within the bound.
        """
        ends = time.monotonic() + PATIENCE_S
        while time.monotonic() < ends:
            if found := holds():
                return found
            time.sleep(0.5)
        raise AssertionError(f"{what}\n{self.run('describe', 'pods')[1]}")
