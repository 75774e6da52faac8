"""The guard, with CEL's own evaluator: our pods pass, and each way to tamper is refused by name."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from cel_expr_python import cel
from cel_expr_python.ext import ext_optional

from k8s.generate import objects
from support.charts import MANIFESTS, Object, case, chart, kustomized, pods, rendered, template

Guard = Callable[..., list[str]]


@cache
def _environment() -> Any:
    anything = dict.fromkeys(("object", "oldObject", "variables"), cel.Type.DYN)
    return cel.NewEnv(variables=anything, extensions=[ext_optional.ExtOptional()])


@cache
def _program(expression: str) -> Any:
    return _environment().compile(expression)


def guard(values: Object | None = None) -> Guard:
    """The chart's guard: for a pod (and what it was before), the messages that refuse it."""
    policy, binding = objects(chart(), values or {"guard": {"enabled": True}}, "guard.yaml")
    assert binding["spec"]["validationActions"] == ["Deny", "Audit"]
    spec = policy["spec"]

    def judge(pod: Object, before: Object | None = None) -> list[str]:
        known: Object = {"object": pod, "oldObject": before, "variables": {}}

        def holds(expression: str) -> Any:
            return _program(expression).eval(data=known).plain_value()

        if not all(holds(condition["expression"]) for condition in spec["matchConditions"]):
            return []
        for variable in spec["variables"]:
            known["variables"][variable["name"]] = holds(variable["expression"])
        # What cannot be told is refused, as `failurePolicy: Fail` has it.
        return [
            rule["message"].removeprefix("interlock: ")
            for rule in spec["validations"]
            if holds(rule["expression"]) is not True
        ]

    return judge


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


GUARD = guard(
    {
        "guard": {"enabled": True},
        "secrets": [{"secret": "upwork", "mountPath": "/run/secrets/upwork"}],
    }
)


def test_our_pods_pass() -> None:
    assert GUARD(pod()) == []


@pytest.mark.parametrize("name", ["enforced.yaml", "openshift.yaml"])
def test_what_the_chart_makes_beside_the_guard_passes_it(name: str) -> None:
    judge = guard(case(name))
    for spec in pods(rendered(name)):
        assert judge({"spec": spec}) == []


def test_what_kustomize_makes_passes_the_guard_of_the_manifests() -> None:
    for name in ("deployment", "job", "cronjob"):
        for spec in pods(kustomized(MANIFESTS / "examples" / name)):
            assert guard()({"spec": spec}) == []


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


@pytest.mark.parametrize("name", TAMPERING)
def test_tampering_is_refused_and_told(name: str) -> None:
    why, tamper = TAMPERING[name]
    changed = copy.deepcopy(pod())
    tamper(changed["spec"])
    assert any(message.startswith(why) or why in message for message in GUARD(changed))


def test_a_policy_may_have_a_secret_laid_over_it() -> None:
    changed = copy.deepcopy(pod())
    policy_from(projected={"sources": [OWN, {"secret": {"name": "grants"}}]})(changed["spec"])
    assert GUARD(changed) == []


def test_every_rule_refuses_something() -> None:
    refusals = set()
    for _, tamper in TAMPERING.values():
        changed = copy.deepcopy(pod())
        tamper(changed["spec"])
        refusals |= set(GUARD(changed))
    policy, _ = objects(chart(), {"guard": {"enabled": True}}, "guard.yaml")
    rules = {rule["message"].removeprefix("interlock: ") for rule in policy["spec"]["validations"]}
    assert rules - refusals == {"no other container may be named `interlock`"}
    twice = copy.deepcopy(pod())
    twice["spec"]["containers"].append({**agent(twice["spec"]), "name": "interlock"})
    assert "no other container may be named `interlock`" in GUARD(twice)


def test_a_pod_that_runs_may_be_labelled_and_not_tampered_with() -> None:
    """Pods that are older than the guard stay as they are."""
    before = copy.deepcopy(pod())
    before["spec"]["initContainers"] = []
    labelled = {**before, "metadata": {"labels": {"a": "b"}}}
    assert GUARD(labelled, before) == []
    swapped = copy.deepcopy(pod())
    sidecar(swapped["spec"])["image"] = "evil:1"
    assert GUARD(swapped, pod()) != []
    debugged = copy.deepcopy(pod())
    debugger()(debugged["spec"])
    assert GUARD(debugged, pod()) != []
    assert GUARD(pod(), pod()) == []


def test_a_prefix_of_an_image_is_taken_where_it_is_named() -> None:
    judge = guard(
        {"guard": {"enabled": True, "images": ["registry.example.com/interlock@sha256:"]}}
    )
    for image, refused in (
        ("registry.example.com/interlock@sha256:" + "0" * 64, False),
        ("registry.example.com/interlock:0.1.0", True),
        ("interlock:0.1.0", True),
    ):
        changed = copy.deepcopy(pod())
        changed["spec"]["volumes"] = [
            v for v in changed["spec"]["volumes"] if v["name"] != "interlock-secret-0"
        ]
        sidecar(changed["spec"])["volumeMounts"].pop()
        sidecar(changed["spec"])["image"] = image
        assert bool(judge(changed)) is refused
