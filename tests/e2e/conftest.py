"""Set-up shared by the end-to-end tests: the real peers, fetched once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import peers
import pytest


@pytest.fixture(scope="session")
def real_peers() -> None:
    """The conformance suite, the SDKs' clients and the reference servers are in place.

    Skips where they cannot be had, except in CI, which has to have them.
    """
    if shutil.which("npm") is None and "CI" not in os.environ:
        pytest.skip("npm is not installed; the real MCP clients and servers come from its registry")
    fetched = subprocess.run(
        [peers.HERE / "setup.sh"],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    said = fetched.stdout + fetched.stderr
    if fetched.returncode != 0 and "CI" not in os.environ:
        pytest.skip(f"the real MCP clients and servers cannot be fetched: {said[-500:]}")
    assert fetched.returncode == 0, said
    # A module finds its packages by where it lies, so the drivers go beside them; each is there at
    # once, since another process of these tests may be starting it.
    for driver in (peers.HERE / "npm").glob("*.mjs"):
        copy = peers.NPM / f"{driver.name}.{os.getpid()}"
        shutil.copy(driver, copy)
        copy.replace(peers.NPM / driver.name)


@pytest.fixture(scope="session")
def everything_url(real_peers: None) -> Iterator[str]:
    """A running server that speaks every revision and has a tool for each feature."""
    with peers.python_everything_server() as url:
        yield url
