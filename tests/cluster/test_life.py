"""A pod's life on a real node: what starts when, a crash, a changed policy, and the end."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest

from k8s.generate import objects
from support.charts import chart

if TYPE_CHECKING:
    from support.cluster import Cluster

pytestmark = pytest.mark.timeout(900)

URL = "http://127.0.0.1:8080/mcp"
POLICY = {
    "version": "1",
    "default": "deny",
    "tools": {
        "echo": {"limits": [{"counter": "echoes", "window": "day", "max": 5, "scope": "grant"}]}
    },
}
AGENT = ("--container", "agent")


def values(images: tuple[str, str], **agent: Any) -> dict[str, Any]:
    image, peers = images
    name, _, tag = image.rpartition(":")
    return {
        "image": {"repository": name, "tag": tag},
        "agent": {"enabled": True, "image": peers, "args": ["wait"], **agent},
        "config": {
            "upstream": "http://server:8000/mcp",
            "policies": {"policy.yaml": json.dumps(POLICY)},
        },
    }


def install(cluster: Cluster, chosen: dict[str, Any]) -> None:
    """The server, the ConfigMap and the agent."""
    rights = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": 20001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    server = {
        "name": "server",
        "image": chosen["agent"]["image"],
        "args": ["serve"],
        "securityContext": rights,
    }
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "server", "labels": {"app": "server"}},
            "spec": {"containers": [server]},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "server"},
            "spec": {"selector": {"app": "server"}, "ports": [{"port": 8000}]},
        },
    )
    for template in ("configmap.yaml", "agent.yaml"):
        cluster.apply(*objects(chart(), chosen, template))


def agent_pod(cluster: Cluster) -> dict[str, Any] | None:
    found = json.loads(
        cluster.do("get", "pods", "-l", "app.kubernetes.io/component=agent", "-o", "json")
    )["items"]
    return found[0] if found else None


def running(cluster: Cluster) -> dict[str, Any]:
    """The agent's pod, once it and the server are ready."""
    cluster.do("wait", "--for=condition=Ready", "pod/server", "--timeout=120s")

    def ready() -> dict[str, Any] | None:
        pod = agent_pod(cluster)
        conditions = (pod or {}).get("status", {}).get("conditions", [])
        well = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
        return pod if well else None

    found: dict[str, Any] = cluster.until(ready, "the agent's pod is not ready")
    return found


def call(cluster: Cluster, name: str, tool: str, count: int = 1) -> list[str]:
    command = ("/opt/interlock/bin/python", "/peer/peer.py", "call", URL, tool, str(count))
    return cluster.do("exec", name, *AGENT, "--", *command).split()


def status(pod: dict[str, Any], name: str) -> dict[str, Any]:
    every = [*pod["status"].get("initContainerStatuses", []), *pod["status"]["containerStatuses"]]
    (found,) = (one for one in every if one["name"] == name)
    return dict(found)


def test_a_life(cluster: Cluster, images: tuple[str, str]) -> None:
    install(cluster, values(images))
    pod = running(cluster)
    name = pod["metadata"]["name"]
    started = status(pod, "interlock")["state"]["running"]["startedAt"]
    assert started <= status(pod, "agent")["state"]["running"]["startedAt"]

    # It decides, and counts.
    assert call(cluster, name, "echo", 3) == ["allowed"] * 3
    assert call(cluster, name, "secret") == ["default-deny"]

    # A crash: only the sidecar starts again, and it forgives nothing.
    crash = "import os, signal; os.kill(1, signal.SIGTERM)"
    program = ("/opt/interlock/bin/python", "-c", crash)
    cluster.do("exec", name, "--container", "interlock", "--", *program)
    cluster.until(
        lambda: (
            status(found := running(cluster), "interlock")["restartCount"] == 1
            and status(found, "agent")["restartCount"] == 0
        ),
        "the sidecar did not start again, or the agent did as well",
    )
    assert call(cluster, name, "echo", 3) == ["allowed", "allowed", "limit-exceeded"]

    # A changed ConfigMap: the next call obeys it.
    changed = values(images)
    policy = {**POLICY, "tools": {"secret": {}}}
    changed["config"]["policies"]["policy.yaml"] = json.dumps(policy)
    cluster.apply(*objects(chart(), changed, "configmap.yaml"))
    cluster.until(lambda: call(cluster, name, "secret") == ["allowed"], "the old policy stays")
    assert call(cluster, name, "echo") == ["default-deny"]

    # From another pod only health and metrics answer.
    probe = """
import http.client, sys
for port, path in ((9090, "/readyz"), (8080, "/mcp")):
    try:
        connection = http.client.HTTPConnection(sys.argv[1], port, timeout=5)
        connection.request("GET", path)
        print(connection.getresponse().status)
    except ConnectionRefusedError:
        print("refused")
"""
    address = running(cluster)["status"]["podIP"]
    told = cluster.do("exec", "server", "--", "/opt/interlock/bin/python", "-c", probe, address)
    assert told.split() == ["200", "refused"]


def test_with_a_broken_policy_the_agent_never_starts(
    cluster: Cluster, images: tuple[str, str]
) -> None:
    chosen = values(images)
    chosen["config"]["policies"]["policy.yaml"] = '{"version": "1"}'
    install(cluster, chosen)

    def ended() -> dict[str, Any] | None:
        pod = agent_pod(cluster)
        if pod is None or "initContainerStatuses" not in pod["status"]:
            return None
        sidecar = status(pod, "interlock")
        last: dict[str, Any] | None = sidecar.get("lastState", {}).get("terminated")
        return {"pod": pod, **last} if last else None

    found = cluster.until(ended, "the sidecar did not end")
    assert found["exitCode"] == 64
    assert "policy.yaml" in found["message"]
    agent = status(found["pod"], "agent")
    assert agent["restartCount"] == 0
    assert "waiting" in agent["state"]


@pytest.mark.parametrize("kind", ["Job", "CronJob"])
def test_a_job_ends(kind: str, cluster: Cluster, images: tuple[str, str]) -> None:
    chosen = values(images, kind=kind, args=["call", URL, "echo"], schedule="* * * * *")
    install(cluster, chosen)
    cluster.do("wait", "--for=condition=Ready", "pod/server", "--timeout=120s")

    def complete() -> bool:
        jobs = json.loads(cluster.do("get", "jobs", "--output", "json"))["items"]
        return any(job.get("status", {}).get("succeeded") for job in jobs)

    cluster.until(complete, "no job completed")


def test_a_pod_that_runs_cannot_be_tampered_with(cluster: Cluster, images: tuple[str, str]) -> None:
    chosen = {
        **values(images),
        "guard": {"enabled": True},
        "fullnameOverride": cluster.namespace[-20:].strip("-"),
    }
    policy, binding = objects(chart(), chosen, "guard.yaml")
    only = {"kubernetes.io/metadata.name": cluster.namespace}
    binding["spec"]["matchResources"]["namespaceSelector"] = {"matchLabels": only}
    # The server comes first: it has no sidecar, and would be refused.
    install(cluster, copy.deepcopy(chosen))
    name = running(cluster)["metadata"]["name"]
    try:
        cluster.apply(policy, binding)

        def swapped() -> bool:
            tried = ("set", "image", f"pod/{name}", "interlock=evil:1", "--dry-run=server")
            well, told = cluster.run(*tried)
            return not well and "the sidecar's image must be" in told

        cluster.until(swapped, "the sidecar's image may be swapped")
        cluster.do("label", "pod", name, "still=allowed")
        well, told = cluster.run("debug", name, "--image=busybox", "--", "true")
        assert not well
        assert "interlock:" in told
    finally:
        for item in (binding, policy):
            cluster.run("delete", item["kind"], item["metadata"]["name"])
