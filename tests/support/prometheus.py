"""A real Prometheus that scrapes real processes, every half second."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

WAIT_S = 60


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus."""

    url: str

    def ask(self, path: str, **parameters: str) -> Any:
        """What its API answers, under `data`.

        Raises:
            AssertionError: it refuses; with why.
        """
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from None

    def query(self, expression: str) -> list[Any]:
        """The series of an expression, now."""
        return list(self.ask("query", query=expression)["result"])

    def until(self, expression: str) -> list[Any]:
        """The series of an expression, once there are any.

        Raises:
            AssertionError: there were none within the bound.
        """
        ends = time.monotonic() + WAIT_S
        while time.monotonic() < ends:
            if found := self.query(expression):
                return found
            time.sleep(0.1)
        raise AssertionError(f"no series: {expression}")


@contextmanager
def prometheus(
    folder: Path, targets: Mapping[str, Mapping[str, str]], rules: Path | None = None
) -> Iterator[Prometheus]:
    """Run one until the block ends; the test is skipped where there is none.

    Args:
        folder: for its data.
        targets: what to scrape, `HOST:PORT`, with labels beside `job="interlock"`.
        rules: a file of rules, evaluated every second.
    """
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed")
    config = {
        "global": {"scrape_interval": "500ms", "evaluation_interval": "1s"},
        "rule_files": [str(rules)] if rules else [],
        "scrape_configs": [
            {
                "job_name": "interlock",
                "static_configs": [
                    {"targets": [target], "labels": dict(labels)}
                    for target, labels in targets.items()
                ],
            }
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    found = Prometheus(f"http://127.0.0.1:{port}")
    try:
        ends = time.monotonic() + WAIT_S
        while True:
            assert process.poll() is None, (folder / "log").read_text()
            try:
                urllib.request.urlopen(f"{found.url}/-/ready", timeout=5).close()
                break
            except OSError:
                assert time.monotonic() < ends
                time.sleep(0.1)
        yield found
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(WAIT_S)
