"""What the chart and the manifests make, as objects, for `tests/k8s`."""

from __future__ import annotations

import copy
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from helm_python.chart import Chart

from k8s.generate import CHART, ROOT, objects

if TYPE_CHECKING:
    from collections.abc import Iterator

Object = dict[str, Any]

MANIFESTS = ROOT / "k8s" / "manifests"
CASES = sorted(path.name for path in (CHART / "ci").glob("*.yaml"))
EXAMPLES = sorted(path.name for path in (MANIFESTS / "examples").iterdir())


@cache
def chart() -> Chart:
    return Chart.load(CHART)


def case(name: str) -> Object:
    """The values of a case."""
    values: Object = yaml.safe_load((CHART / "ci" / name).read_text())
    return values


@cache
def _rendered(name: str) -> list[Object]:
    return objects(chart(), case(name))


def rendered(name: str) -> list[Object]:
    """The objects of a case."""
    return copy.deepcopy(_rendered(name))


@cache
def _kustomized(folder: Path) -> str:
    beside = Path(sys.executable).parent / "kubectl"
    kubectl = str(beside) if beside.exists() else shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not there")
    command = [kubectl, "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def kustomized(folder: Path) -> list[Object]:
    """The objects that kustomize makes of a folder."""
    return list(yaml.safe_load_all(_kustomized(folder)))


def template(item: Object) -> Object | None:
    """The pod template of an object, or the object if it is a pod; None if it has none."""
    match item["kind"]:
        case "Pod":
            return item
        case "CronJob":
            inner: Object = item["spec"]["jobTemplate"]["spec"]["template"]
            return inner
        case "Deployment" | "Job" | "StatefulSet" | "DaemonSet" | "ReplicaSet":
            found: Object = item["spec"]["template"]
            return found
    return None


def pods(items: list[Object]) -> Iterator[Object]:
    """Every pod spec with Interlock in it."""
    for item in items:
        pod = template(item)
        if pod is not None and interlock(pod["spec"]):
            yield pod["spec"]


def interlock(spec: Object) -> Object | None:
    """The container of this name in a pod spec."""
    every = [*spec.get("initContainers", []), *spec["containers"]]
    return next((c for c in every if c["name"] == "interlock"), None)


def all_pods() -> list[Any]:
    """Every pod spec of every case and example, as parameters of a test."""
    found = []
    for name in CASES:
        for index, spec in enumerate(pods(rendered(name))):
            found.append(pytest.param(spec, id=f"{name}-{index}"))
    for name in EXAMPLES:
        (spec,) = pods(kustomized(MANIFESTS / "examples" / name))
        found.append(pytest.param(spec, id=f"examples/{name}"))
    return found
