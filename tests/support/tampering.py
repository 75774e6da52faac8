"""Ways to get round the sidecar, each a change to a pod that the guard accepts.

Each names the rule that has to refuse it, by the beginning of its message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from k8s.generate import objects
from support.charts import Object, chart, template

if TYPE_CHECKING:
    from collections.abc import Callable


def pod() -> Object:
    """A pod of the chart's, with its own init container and a credential."""
    (found,) = (
        template(item)
        for item in objects(
            chart(),
            {
                "agent": {"enabled": True, "image": "agent"},
                "config": {"upstream": "http://x/mcp"},
                "secrets": [{"secret": "upwork", "mountPath": "/run/secrets/upwork"}],
            },
            "agent.yaml",
        )
    )
    assert found is not None
    own = {"name": "own", "image": "own", "securityContext": {"runAsUser": 20001}}
    found["spec"]["initContainers"].append(own)
    return found


def sidecar(spec: Object) -> Object:
    found: Object = spec["initContainers"][0]
    return found


def agent(spec: Object) -> Object:
    found: Object = spec["containers"][0]
    return found


def change(place: Callable[[Object], Object], **values: Any) -> Callable[[Object], None]:
    return lambda spec: place(spec).update(values)


def rights(place: Callable[[Object], Object], **values: Any) -> Callable[[Object], None]:
    return lambda spec: place(spec)["securityContext"].update(values)


def debugger(**values: Any) -> Callable[[Object], None]:
    container = {"name": "debug", "image": "busybox", **values}
    return lambda spec: spec.update(ephemeralContainers=[container])


def option(*options: str) -> Callable[[Object], None]:
    return lambda spec: sidecar(spec)["args"].extend(options)


def variable(name: str) -> Callable[[Object], None]:
    return lambda spec: sidecar(spec)["env"].append({"name": name, "value": "1"})


def mount(place: Callable[[Object], Object], name: str, path: str) -> Callable[[Object], None]:
    def apply(spec: Object) -> None:
        place(spec).setdefault("volumeMounts", []).append({"name": name, "mountPath": path})

    return apply


def policy_from(**source: Any) -> Callable[[Object], None]:
    volume = {"name": "interlock-config", **source}
    return lambda spec: spec["volumes"].__setitem__(0, volume)


OWN = {"configMap": {"name": "interlock"}}

FIRST = "the first of initContainers must be"
USER = "every container needs a runAsUser"
MOUNTS = "the sidecar may have no mounts but its own"
RUNS = "the sidecar runs `interlock run` on loopback"
ENVIRONMENT = "the sidecar's environment may not set"
VOLUMES = "only the sidecar may mount"
SECRETS = "the sidecar's secrets may not be given"
POWERS = "no container may be privileged"
SHARED = "no hostNetwork"
CONTEXT = "the sidecar's securityContext"
SOURCE = "the policy must come from the ConfigMap"

TAMPERING: dict[str, tuple[str, Callable[[Object], None]]] = {
    "without it": (FIRST, lambda spec: spec["initContainers"].pop(0)),
    "without init containers": (FIRST, lambda spec: spec.pop("initContainers")),
    "after another": (FIRST, lambda spec: spec["initContainers"].reverse()),
    "as a plain init container": (FIRST, lambda spec: sidecar(spec).pop("restartPolicy")),
    "another image": ("image must be", change(sidecar, image="interlock:0.1.0-evil")),
    "the image of another registry": (
        "image must be",
        change(sidecar, image="evil/interlock:0.1.0"),
    ),
    "another command": (RUNS, change(sidecar, command=["sleep"])),
    "a hook": (RUNS, change(sidecar, lifecycle={"preStop": {"exec": {"command": ["x"]}}})),
    "no arguments": (RUNS, lambda spec: sidecar(spec).pop("args")),
    "another verb": (RUNS, change(sidecar, args=["version"])),
    "shadow": (RUNS, option("--shadow")),
    "a second listener": (RUNS, option("--listen=0.0.0.0:8081")),
    "a listener in two parts": (RUNS, option("--listen", "0.0.0.0:8081")),
    "another policy": (RUNS, option("--policy=/tmp/policy.yaml")),
    "a policy above": (RUNS, option("--policy=/etc/interlock/../../tmp/p.yaml")),
    "counts in memory": (RUNS, option("--state=memory")),
    "a server of its own": (RUNS, option("--", "run")),
    "shadow by the environment": (ENVIRONMENT, variable("INTERLOCK_SHADOW")),
    "a library": (ENVIRONMENT, variable("LD_PRELOAD")),
    "a module": (ENVIRONMENT, variable("PYTHONPATH")),
    "any environment": (ENVIRONMENT, change(sidecar, envFrom=[{"configMapRef": {"name": "x"}}])),
    "a mount over the program": (MOUNTS, mount(sidecar, "interlock-x", "/opt/interlock")),
    "a mount over the policy": (MOUNTS, mount(sidecar, "own", "/etc/interlock")),
    "no policy mounted": (MOUNTS, change(sidecar, volumeMounts=[])),
    "a writable root": (CONTEXT, rights(sidecar, readOnlyRootFilesystem=False)),
    "escalation": (CONTEXT, rights(sidecar, allowPrivilegeEscalation=True)),
    "capabilities kept": (CONTEXT, rights(sidecar, capabilities={})),
    "the node's network": (SHARED, lambda spec: spec.update(hostNetwork=True)),
    "the node's processes": (SHARED, lambda spec: spec.update(hostPID=True)),
    "shared processes": (SHARED, lambda spec: spec.update(shareProcessNamespace=True)),
    "its user": (USER, rights(agent, runAsUser=10001)),
    "its user by the pod": (
        USER,
        lambda spec: (
            spec["securityContext"].update(runAsUser=10001),
            agent(spec)["securityContext"].pop("runAsUser"),
        ),
    ),
    "an image's user": (USER, lambda spec: agent(spec)["securityContext"].pop("runAsUser")),
    "root": (USER, rights(agent, runAsUser=0)),
    "a debugger as root": (USER, debugger()),
    "a debugger as it": (USER, debugger(securityContext={"runAsUser": 10001})),
    "an init container as it": (
        USER,
        lambda spec: spec["initContainers"][1]["securityContext"].update(runAsUser=10001),
    ),
    "its counts": (VOLUMES, mount(agent, "interlock-state", "/x")),
    "its credentials": (VOLUMES, mount(agent, "interlock-secret-0", "/x")),
    "a debugger with its credentials": (
        VOLUMES,
        debugger(
            securityContext={"runAsUser": 3},
            volumeMounts=[{"name": "interlock-secret-0", "mountPath": "/x"}],
        ),
    ),
    "its credentials by another name": (
        SECRETS,
        lambda spec: spec["volumes"].append({"name": "x", "secret": {"secretName": "upwork"}}),
    ),
    "its credentials projected": (
        SECRETS,
        lambda spec: spec["volumes"].append(
            {"name": "x", "projected": {"sources": [{"secret": {"name": "upwork"}}]}}
        ),
    ),
    "its credentials as a variable": (
        SECRETS,
        lambda spec: agent(spec)["env"].append(
            {"name": "X", "valueFrom": {"secretKeyRef": {"name": "upwork", "key": "token"}}}
        ),
    ),
    "its credentials as variables": (
        SECRETS,
        change(agent, envFrom=[{"secretRef": {"name": "upwork"}}]),
    ),
    "NET_ADMIN": (POWERS, rights(agent, capabilities={"add": ["NET_ADMIN"]})),
    "ALL": (POWERS, rights(agent, capabilities={"add": ["ALL"]})),
    "privileged": (POWERS, rights(agent, privileged=True)),
    "a debugger that traces": (
        POWERS,
        debugger(securityContext={"runAsUser": 3, "capabilities": {"add": ["SYS_PTRACE"]}}),
    ),
    "another ConfigMap": (SOURCE, policy_from(configMap={"name": "x"})),
    "another ConfigMap, projected": (
        SOURCE,
        policy_from(projected={"sources": [OWN, {"configMap": {"name": "x"}}]}),
    ),
    "the API server's word": (
        SOURCE,
        policy_from(projected={"sources": [OWN, {"downwardAPI": {"items": []}}]}),
    ),
    "no ConfigMap": (SOURCE, policy_from(projected={"sources": []})),
    "a folder for the policy": (SOURCE, policy_from(emptyDir={})),
}
