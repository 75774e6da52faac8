"""The images under test, which `make image-test` builds and names in the environment."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest

# What renders the chart has no build for every platform.
collect_ignore = [] if find_spec("helm_python") else ["test_pod.py"]


@pytest.fixture(scope="session")
def image() -> str:
    """Interlock's image."""
    if "INTERLOCK_IMAGE" not in os.environ:
        pytest.skip("no image: `make image-test` builds one, where podman is")
    return os.environ["INTERLOCK_IMAGE"]


@pytest.fixture(scope="session")
def peers(image: str) -> str:
    """The image with an MCP client and an MCP server."""
    return f"{image}-peers"
