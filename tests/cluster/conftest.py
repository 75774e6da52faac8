"""The cluster that `KUBECONFIG` names. All is in namespaces made here, and goes with them."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from support.cluster import Cluster

# What renders the chart has no build for every platform.
collect_ignore_glob = [] if find_spec("helm_python") else ["test_*.py"]


@pytest.fixture(scope="session")
def reached() -> None:
    """Skips where there is no cluster."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("no cluster: KUBECONFIG names none")
    well, told = Cluster("default").run("version", "--output", "json")
    assert well, told


@pytest.fixture
def cluster(reached: None) -> Iterator[Cluster]:
    """A namespace of its own, in which pods are restricted."""
    made = Cluster(f"interlock-test-{uuid.uuid4().hex[:8]}")
    made.do("create", "namespace", made.namespace)
    try:
        made.do(
            *("label", "namespace", made.namespace),
            "pod-security.kubernetes.io/enforce=restricted",
        )
        yield made
    finally:
        made.run("delete", "namespace", made.namespace, "--wait=false")


@pytest.fixture
def images() -> tuple[str, str]:
    """Interlock's image and its peers', as the cluster pulls them (`.ci/image` builds both)."""
    if "INTERLOCK_IMAGE" not in os.environ:
        pytest.skip("no image: INTERLOCK_IMAGE names none that the cluster can pull")
    image = os.environ["INTERLOCK_IMAGE"]
    return image, os.environ.get("INTERLOCK_PEERS_IMAGE", f"{image}-peers")
