"""Writes everything about Kubernetes that follows from the chart, so that nothing is defined twice.

    python k8s/generate.py [FOLDER]

Made are the Grafana dashboard, the manifests for kustomize (`k8s/manifests`, but for what is
written by hand there), the chart's table of values (`README.md`) and what the chart renders for
each set of values in its folder `ci` (`tests/k8s/golden`). A test makes them anew and compares.

INVARIANT: the kustomize Component's container and volumes are those of the chart, at its defaults.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from helm_python.chart import Chart

sys.path.insert(0, str(Path(__file__).parents[1]))

from k8s.dashboard import dashboard

ROOT = Path(__file__).parents[1]
CHART = ROOT / "k8s" / "helm" / "interlock"
Object = dict[str, Any]

_MADE = "# Made from the chart by `make manifests`; changes here are lost.\n"
# Objects of kustomize bear the name `interlock`, and live where the workload lives.
_RELEASE = {"name": "interlock", "namespace": "agents"}
_PATCHES = {
    "workload": ["spec", "template"],
    "cronjob": ["spec", "jobTemplate", "spec", "template"],
}
_RENDERED = {
    "enforce/guard.yaml": ("guard.yaml", {"guard": {"enabled": True}}),
    "monitoring/podmonitor.yaml": (
        "monitoring.yaml",
        {"monitoring": {"podMonitor": {"enabled": True}}},
    ),
    "monitoring/rules.yaml": ("monitoring.yaml", {"monitoring": {"rules": {"enabled": True}}}),
    "monitoring/dashboards.yaml": (
        "monitoring.yaml",
        {"monitoring": {"dashboards": {"enabled": True}}},
    ),
}


def first() -> Iterator[tuple[str, str]]:
    """What the chart itself has in it: paths, relative to the repository, and what stands there."""
    yield "k8s/helm/interlock/dashboards/interlock.json", dashboard()


def made(chart: Chart) -> Iterator[tuple[str, str]]:
    """What follows from the chart, likewise."""
    yield "k8s/helm/interlock/README.md", _table((CHART / "values.yaml").read_text())
    pod = _agent(chart)
    (container,) = (c for c in pod["initContainers"] if c["name"] == "interlock")
    volumes = [v for v in pod["volumes"] if v["name"].startswith("interlock-")]
    spec = {"initContainers": [container], "volumes": volumes}
    components = "k8s/manifests/components"
    for name, path in _PATCHES.items():
        yield f"{components}/sidecar/{name}.yaml", _MADE + _dump(_patch(path, spec))
    yield f"{components}/sidecar/pod.yaml", _MADE + _dump(_patch([], {"spec": spec}))
    for file, (template, values) in _RENDERED.items():
        items = [_bare(item) for item in objects(chart, values, template)]
        yield f"{components}/{file}", _MADE + "---\n".join(map(_dump, items))
    for case in sorted((CHART / "ci").glob("*.yaml")):
        rendered = render(chart, yaml.safe_load(case.read_text()) or {})
        text = "".join(f"# {name}\n{text.strip()}\n" for name, text in rendered.items())
        yield f"tests/k8s/golden/{case.name}", text


def render(chart: Chart, values: Object) -> dict[str, str]:
    """What the chart makes of values: the text of each template that has any, by its name."""
    rendered = chart.render(values, **_RELEASE)
    return {
        name.removeprefix("interlock/templates/"): text
        for name, text in sorted(rendered.items())
        if text.strip()
    }


def objects(chart: Chart, values: Object, template: str | None = None) -> list[Object]:
    """What the chart makes of values, as objects; of one template only if it is named."""
    return [
        item
        for name, text in render(chart, values).items()
        if name.endswith(".yaml") and template in (None, name)
        for item in yaml.safe_load_all(text)
        if item
    ]


def _agent(chart: Chart) -> Object:
    values = {
        "agent": {"enabled": True, "image": "agent"},
        "config": {"existingConfigMap": "interlock"},
    }
    (deployment,) = objects(chart, values, "agent.yaml")
    pod: Object = deployment["spec"]["template"]["spec"]
    return pod


def _patch(path: list[str], inner: Object) -> Object:
    """A strategic merge patch whose kind and name are the target's, so that any will do."""
    body: Object = {"spec": inner} if path else inner
    for key in reversed(path):
        body = {key: body}
    return {"apiVersion": "any/v1", "kind": "Any", "metadata": {"name": "any"}, **body}


def _bare(item: Object) -> Object:
    """An object without what only a release has: where it is, and who installed it."""
    item["metadata"].pop("namespace", None)
    labels = item["metadata"].get("labels", {})
    for label in [key for key in labels if key.startswith(("app.kubernetes.io/", "helm.sh/"))]:
        if label != "app.kubernetes.io/name":
            del labels[label]
    return item


def _table(values: str) -> str:
    """The chart's README: every value, its default, and what the comment above it says."""
    lines = [
        "# Interlock's chart",
        "",
        "How to use it is in `docs/kubernetes.md`. This table is made from `values.yaml` by "
        "`make manifests`.",
        "",
        "| value | default | meaning |",
        "| --- | --- | --- |",
    ]
    defaults = yaml.safe_load(values)
    path: list[str] = []
    said: list[str] = []
    for line in values.splitlines():
        if comment := re.match(r"\s*# (-- )?(.*)", line):
            said = [comment[2]] if comment[1] else [*said, comment[2]] if said else []
        elif key := re.match(r"( *)([A-Za-z]\w*):", line):
            path = [*path[: len(key[1]) // 2], key[2]]
            if said:
                value = defaults
                for step in path:
                    value = value[step]
                shown = yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False)
                shown = shown.removesuffix("\n").removesuffix("\n...").replace("|", "\\|")
                meaning = " ".join(said).replace("|", "\\|")
                lines.append(f"| `{'.'.join(path)}` | `{shown}` | {meaning} |")
            said = []
    return "\n".join(lines) + "\n"


class _Dumper(yaml.SafeDumper):
    """YAML that reads like a manifest: no aliases, and texts of several lines as blocks."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _dump(item: Object) -> str:
    return yaml.dump(item, Dumper=_Dumper, sort_keys=False, width=110)


def main(folder: Path) -> None:
    """Writes it all below the folder."""
    _write(folder, first())
    with Chart.load(CHART) as chart:
        _write(folder, made(chart))


def _write(folder: Path, files: Iterable[tuple[str, str]]) -> None:
    for name, text in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
