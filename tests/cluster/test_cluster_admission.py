"""What the API server takes and what it refuses. Needs no node."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from k8s.generate import objects
from support.charts import CASES, EXAMPLES, MANIFESTS, chart, kustomized, rendered
from support.tampering import TAMPERING, pod

if TYPE_CHECKING:
    from support.cluster import Cluster

pytestmark = pytest.mark.timeout(600)

FOREIGN = {"PodMonitor", "PrometheusRule"}
# The API server takes debug containers only of pods that run; `test_life.py` tries those.
DEBUG = "ephemeralContainers"
DRY = ("--dry-run=server",)


@pytest.mark.parametrize("name", [*CASES, *EXAMPLES])
def test_it_takes_everything_that_is_rendered(name: str, cluster: Cluster) -> None:
    items = rendered(name) if name in CASES else kustomized(MANIFESTS / "examples" / name)
    cluster.apply(*(i for i in copy.deepcopy(items) if i["kind"] not in FOREIGN), options=DRY)


@pytest.fixture
def guarded(cluster: Cluster) -> Iterator[Cluster]:
    """A namespace in which the guard, and nothing else, decides about pods."""
    values = {
        "guard": {"enabled": True},
        "fullnameOverride": cluster.namespace,
        "config": {"existingConfigMap": "interlock"},
        "secrets": [{"secret": "upwork", "mountPath": "/run/secrets/upwork"}],
    }
    policy, binding = objects(chart(), values, "guard.yaml")
    # Only here, whoever else has labelled namespaces in this cluster.
    only = {"kubernetes.io/metadata.name": cluster.namespace}
    binding["spec"]["matchResources"]["namespaceSelector"] = {"matchLabels": only}
    cluster.do("label", "namespace", cluster.namespace, "pod-security.kubernetes.io/enforce-")
    try:
        cluster.apply(policy, binding)
        cluster.until(lambda: not create(cluster, bare())[0], "the guard does not bite")
        yield cluster
    finally:
        for item in (binding, policy):
            cluster.run("delete", item["kind"], item["metadata"]["name"])


def bare() -> dict[str, Any]:
    found = pod()
    del found["spec"]["initContainers"]
    return found


def create(cluster: Cluster, template: dict[str, Any]) -> tuple[bool, str]:
    labels = template.get("metadata", {}).get("labels", {})
    item = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "tried", "labels": labels},
        "spec": template["spec"],
    }
    return cluster.run("create", *DRY, "-f", "-", given=item)


def test_the_guard_refuses_tampering_and_nothing_else(guarded: Cluster) -> None:
    policy = guarded.get("validatingadmissionpolicy", f"{guarded.namespace}-guard")
    assert not policy.get("status", {}).get("typeChecking", {}).get("expressionWarnings")
    well, told = create(guarded, pod())
    assert well, told
    for name, (why, tamper) in TAMPERING.items():
        changed = copy.deepcopy(pod())
        tamper(changed["spec"])
        if DEBUG in changed["spec"]:
            continue
        well, told = create(guarded, changed)
        assert not well, name
        # Some are no valid pods to begin with.
        assert why in told or "is invalid" in told, f"{name}: {told}"


def test_without_the_label_nothing_is_refused(cluster: Cluster) -> None:
    cluster.do("label", "namespace", cluster.namespace, "pod-security.kubernetes.io/enforce-")
    well, told = create(cluster, bare())
    assert well, told
