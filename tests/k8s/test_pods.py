"""What holds of every pod that the chart or kustomize makes, whatever the values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from gateway.cli.run import command
from support.charts import (
    EXAMPLES,
    MANIFESTS,
    Object,
    all_pods,
    interlock,
    kustomized,
    pods,
    rendered,
)

PODS = all_pods()
NATIVE = [
    param
    for param in PODS
    if any(c["name"] == "interlock" for c in param.values[0].get("initContainers", []))
]
CREDENTIALS = "interlock-secret-"


def option(container: Object, name: str) -> str:
    """The value of an option of `interlock run`."""
    (found,) = (a for a in container["args"] if a.startswith(f"--{name}="))
    return str(found).partition("=")[2]


def test_there_are_some_of_every_kind() -> None:
    assert len(NATIVE) >= 10
    assert len(PODS) > len(NATIVE)


@pytest.mark.parametrize("spec", NATIVE)
def test_the_agent_starts_after_it_and_stops_before_it(spec: Object) -> None:
    sidecar = spec["initContainers"][0]
    assert sidecar["name"] == "interlock"
    assert sidecar["restartPolicy"] == "Always"
    assert sidecar["startupProbe"]["httpGet"]["path"] == "/readyz"
    assert sidecar["startupProbe"]["periodSeconds"] == 1
    # A native sidecar's preStop would run at the start of the termination, before the agent's end.
    assert "lifecycle" not in sidecar
    assert float(option(sidecar, "grace")) <= 2


@pytest.mark.parametrize("spec", NATIVE)
def test_agents_reach_it_on_loopback_only(spec: Object) -> None:
    sidecar = spec["initContainers"][0]
    host, _, port = option(sidecar, "listen").rpartition(":")
    assert host == "127.0.0.1"
    assert [p["name"] for p in sidecar["ports"]] == ["interlock-admin"]
    assert str(sidecar["ports"][0]["containerPort"]) == option(sidecar, "admin").rpartition(":")[2]
    for agent in spec["containers"]:
        env = {item["name"]: item["value"] for item in agent["env"]}
        assert env.get("MCP_URL", f"http://127.0.0.1:{port}/mcp") == f"http://127.0.0.1:{port}/mcp"


@pytest.mark.parametrize("spec", PODS)
def test_it_answers_probes_on_the_pods_address(spec: Object) -> None:
    container = interlock(spec)
    assert container is not None
    assert option(container, "admin").startswith(("0.0.0.0:", "[::]:"))
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] == "interlock-admin"
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"


@pytest.mark.parametrize("spec", PODS)
def test_pod_security_is_restricted(spec: Object) -> None:
    """Kubernetes' pod security standard of this name, rule by rule."""
    for field in ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"):
        assert not spec.get(field)
    allowed = {"configMap", "emptyDir", "projected", "secret", "persistentVolumeClaim", "csi"}
    for volume in spec["volumes"]:
        assert set(volume) - {"name"} <= allowed
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        rights = {**spec["securityContext"], **container["securityContext"]}
        assert rights["runAsNonRoot"] is True
        assert rights.get("runAsUser", 1) > 0
        assert rights["seccompProfile"] == {"type": "RuntimeDefault"}
        assert rights["allowPrivilegeEscalation"] is False
        assert rights["capabilities"] == {"drop": ["ALL"]}
        assert rights["readOnlyRootFilesystem"] is True
        assert not rights.get("privileged")


@pytest.mark.parametrize("spec", PODS)
def test_nothing_of_it_is_anybody_elses(spec: Object) -> None:
    container = interlock(spec)
    assert container is not None
    user = container["securityContext"].get("runAsUser")
    assert spec["automountServiceAccountToken"] is False
    own = {volume["name"] for volume in spec["volumes"] if volume["name"].startswith("interlock-")}
    mounted = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert own == set(mounted)
    assert mounted["interlock-config"]["readOnly"] is True
    assert not any("subPath" in mount for mount in mounted.values()), "it would never be updated"
    # Where something is mounted already, no service account's token is.
    assert mounted["interlock-no-token"]["mountPath"].endswith("kubernetes.io/serviceaccount")
    for other in [*spec.get("initContainers", []), *spec["containers"]]:
        if other is not container:
            assert not own & {mount["name"] for mount in other.get("volumeMounts", [])}
            assert user is None or other["securityContext"]["runAsUser"] != user


def test_credentials_are_in_a_secret_and_in_the_sidecar_alone() -> None:
    for spec in pods(rendered("enforced.yaml")):
        (volume,) = (v for v in spec["volumes"] if v["name"].startswith(CREDENTIALS))
        assert volume["secret"] == {"secretName": "upwork"}
    kinds = {item["kind"] for name in ("enforced.yaml", "file.yaml") for item in rendered(name)}
    assert "Secret" not in kinds, "a credential in values would be in the release's history"


@pytest.mark.parametrize("spec", PODS)
def test_the_command_line_is_one_that_run_takes(
    spec: Object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real parser takes every option."""
    container = interlock(spec)
    assert container is not None
    known = {name for option in command.params for name in option.opts}
    if "--config" not in known and any(a.startswith("--config=") for a in container["args"]):
        pytest.skip("this release has no configuration file")
    monkeypatch.setenv("INTERLOCK_UPSTREAM", "http://127.0.0.1:1/mcp")
    verb, *options = container["args"]
    assert verb == "run"
    command.make_context("run", options)


def test_the_parser_refuses_what_it_does_not_know() -> None:
    """So that the test above can fail."""
    with pytest.raises(click.NoSuchOption):
        command.make_context("run", ["--policy=x", "--upstream=http://x/mcp", "--no-such"])


@pytest.mark.parametrize("name", EXAMPLES)
def test_kustomize_and_the_chart_make_the_same_container(name: str) -> None:
    (ours,) = pods(kustomized(MANIFESTS / "examples" / name))
    theirs, _ = pods(rendered(f"agent-{name}.yaml"))
    # Nothing of them depends on the release but the ConfigMap's name, and that is `interlock`.
    assert ours["initContainers"] == theirs["initContainers"]
    assert ours["volumes"] == theirs["volumes"]


WORKLOAD: dict[str, Any] = {
    "metadata": {"name": "w", "labels": {"interlock/sidecar": "true"}},
    "spec": {
        "template": {
            "spec": {
                "initContainers": [{"name": "own", "image": "own"}],
                "containers": [{"name": "agent", "image": "agent"}],
                "volumes": [{"name": "own", "emptyDir": {}}],
            }
        }
    },
}


def component(folder: Path, *items: Object) -> list[Object]:
    """What the Component makes of workloads."""
    sidecar = (MANIFESTS / "components" / "sidecar").resolve()
    # kustomize takes relative paths only, and nothing through a link.
    up = "/".join([".."] * (len(folder.resolve().parts) - 1)) + str(sidecar)
    (folder / "w.yaml").write_text(yaml.safe_dump_all(items))
    (folder / "kustomization.yaml").write_text(
        yaml.safe_dump({"resources": ["w.yaml"], "components": [up]})
    )
    return kustomized(folder)


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"])
def test_the_component_goes_before_what_a_workload_has(kind: str, tmp_path: Path) -> None:
    (made,) = component(tmp_path, {"apiVersion": "apps/v1", "kind": kind, **WORKLOAD})
    spec = made["spec"]["template"]["spec"]
    assert [c["name"] for c in spec["initContainers"]] == ["interlock", "own"]
    assert [c["name"] for c in spec["containers"]] == ["agent"]
    assert "own" in [v["name"] for v in spec["volumes"]]


def test_the_component_serves_plain_pods(tmp_path: Path) -> None:
    inner = {**WORKLOAD, "spec": WORKLOAD["spec"]["template"]["spec"]}
    (made,) = component(tmp_path, {"apiVersion": "v1", "kind": "Pod", **inner})
    assert [c["name"] for c in made["spec"]["initContainers"]] == ["interlock", "own"]


def test_the_component_leaves_workloads_without_the_label(tmp_path: Path) -> None:
    other = {"apiVersion": "apps/v1", "kind": "Deployment", **WORKLOAD, "metadata": {"name": "w"}}
    assert component(tmp_path, other) == [other]
