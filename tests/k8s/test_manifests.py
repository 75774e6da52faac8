"""The example manifests keep their promises: a policy that loads, our ports, few rights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway import PolicySet
from gateway.settings import Settings

MANIFESTS = Path(__file__).parents[2] / "k8s" / "manifests"


def objects(kind: str) -> list[dict[str, Any]]:
    """All objects of this kind in all manifests."""
    found = []
    for path in sorted(MANIFESTS.glob("*.yaml")):
        found += [item for item in yaml.safe_load_all(path.read_text()) if item["kind"] == kind]
    return found


@pytest.fixture
def sidecar() -> dict[str, Any]:
    (pod,) = objects("Pod")
    (container,) = (c for c in pod["spec"]["initContainers"] if c["name"] == "interlock")
    return container


def test_the_policy_loads_without_a_warning() -> None:
    (config,) = objects("ConfigMap")
    for name, text in config["data"].items():
        assert PolicySet.parse(text.encode(), name=name).warnings == []


def test_the_agent_starts_after_the_sidecar_and_stops_before_it(sidecar: dict[str, Any]) -> None:
    assert sidecar["restartPolicy"] == "Always"
    assert sidecar["startupProbe"]["httpGet"]["path"] == "/readyz"
    (pod,) = objects("Pod")
    grace = Settings(servers=()).grace_s
    assert pod["spec"]["terminationGracePeriodSeconds"] > grace


def test_the_sidecar_has_few_rights(sidecar: dict[str, Any]) -> None:
    rights = sidecar["securityContext"]
    assert rights["readOnlyRootFilesystem"] is True
    assert rights["allowPrivilegeEscalation"] is False
    assert rights["capabilities"] == {"drop": ["ALL"]}
    (pod,) = objects("Pod")
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    (agent,) = pod["spec"]["containers"]
    assert agent["securityContext"]["runAsUser"] != rights["runAsUser"], "it could read the state"


def test_agents_reach_it_on_loopback_only(sidecar: dict[str, Any]) -> None:
    env = {item["name"]: item["value"] for item in sidecar["env"]}
    listen = Settings(servers=()).listen
    assert env["INTERLOCK_LISTEN"] == f"{listen.host}:{listen.port}"
    (pod,) = objects("Pod")
    (agent,) = pod["spec"]["containers"]
    assert agent["env"][0]["value"] == f"http://{listen.host}:{listen.port}/mcp"
    (port,) = sidecar["ports"]
    assert env["INTERLOCK_ADMIN"].endswith(f":{port['containerPort']}")
