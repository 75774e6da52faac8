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
from support.charts import MANIFESTS, Object, case, chart, kustomized, pods, rendered
from support.tampering import OWN, TAMPERING, agent, debugger, pod, policy_from, sidecar

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


def test_approvals_are_kept_where_the_chart_says_or_not_at_all() -> None:
    asking = copy.deepcopy(pod())
    sidecar(asking["spec"])["args"].append("--approvals=/var/lib/interlock/approvals.db")
    assert GUARD(asking) != [], "nobody asked for approvals here"
    judge = guard(
        {
            "guard": {"enabled": True},
            "secrets": [{"secret": "upwork", "mountPath": "/run/secrets/upwork"}],
            "sidecar": {"approvals": True},
            "state": {"existingClaim": "counts"},
        }
    )
    assert judge(asking) == []
    assert judge(pod()) == []
    volume = next(v for v in asking["spec"]["volumes"] if v["name"] == "interlock-state")
    for source, refused in (
        ({"emptyDir": {}}, False),
        ({"persistentVolumeClaim": {"claimName": "counts"}}, False),
        ({"persistentVolumeClaim": {"claimName": "forged"}}, True),
        ({"hostPath": {"path": "/tmp"}}, True),
        ({"configMap": {"name": "forged"}}, True),
    ):
        volume.clear()
        volume.update({"name": "interlock-state", **source})
        assert bool(judge(asking)) is refused, source
    elsewhere = copy.deepcopy(pod())
    sidecar(elsewhere["spec"])["args"].append("--approvals=/var/lib/interlock/other.db")
    assert judge(elsewhere) != []


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
