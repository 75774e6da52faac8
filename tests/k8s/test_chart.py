"""The chart: it lints, renders what is on record, and refuses what it cannot mean."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from helm_python.chart import lint
from helm_python.errors import HelmError

from gateway import PolicySet
from gateway.config.source import ConfigSource
from k8s.generate import CHART, ROOT, first, made, objects
from support.charts import CASES, EXAMPLES, MANIFESTS, Object, case, chart, kustomized, rendered

VERSIONS = ["1.29", "1.30", "1.33", "1.36"]
# Kinds that are not Kubernetes' own, and such as came later, with their version.
FOREIGN = {"PodMonitor", "PrometheusRule"}
SINCE = {"ValidatingAdmissionPolicy": "1.30", "ValidatingAdmissionPolicyBinding": "1.30"}
AGENT: Object = {"agent": {"enabled": True, "image": "a"}, "config": {"upstream": "http://x/mcp"}}


@pytest.mark.parametrize("name", CASES)
def test_lint_finds_nothing(name: str) -> None:
    report = lint(CHART, case(name), strict=True, kube_version="v1.29.0")
    assert [m for m in report["messages"] if m["severity"] > 1] == []


def test_what_is_made_from_the_chart_is_current() -> None:
    """Golden renders, kustomize's manifests and the table of values: else run `make manifests`."""
    for name, text in [*first(), *made(chart())]:
        assert (ROOT / name).read_text() == text, f"{name}: run `make manifests`"
    here = {path.name for path in (ROOT / "tests" / "k8s" / "golden").iterdir()}
    assert here == set(CASES)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", [*CASES, *EXAMPLES])
def test_every_object_is_one_that_kubernetes_knows(name: str, version: str) -> None:
    items = rendered(name) if name in CASES else kustomized(MANIFESTS / "examples" / name)
    for item in items:
        if item["kind"] in FOREIGN or SINCE.get(item["kind"], version) > version:
            continue
        kubernetes_validate.validate(item, version, strict=True)


REFUSED = [
    ("a typo", {"sidecra": {}}, "'sidecra' not allowed"),
    ("a typo below", {"sidecar": {"prot": 8080}}, "'prot' not allowed"),
    ("a port", {"sidecar": {"port": 70000}}, "/sidecar/port"),
    ("a port as text", {"sidecar": {"port": "8080"}}, "got string, want integer"),
    ("root", {"sidecar": {"uid": 0}}, "minimum"),
    ("a digest", {"image": {"digest": "sha256:12"}}, "does not match pattern"),
    ("a tag that is a number", {"image": {"tag": 1.2}}, "got number, want string"),
    ("a kind", {"agent": {"kind": "Deploymnet"}}, "/agent/kind"),
    ("a URL", {"config": {"upstream": "mcp-server:8000"}}, "/config/upstream"),
    ("a file name", {"config": {"policies": {"../x.yaml": "a"}}}, "invalid propertyName"),
    ("no image", {"agent": {"enabled": True}, "config": AGENT["config"]}, "agent.image is"),
    ("no server", {"agent": AGENT["agent"]}, "config.upstream is needed"),
    (
        "the sidecar's user",
        {**AGENT, "agent": {**AGENT["agent"], "uid": 10001}},
        "agent.uid must differ",
    ),
    ("no file", {"config": {"mode": "file"}}, "config.file is needed"),
    (
        "a gateway for anybody",
        {"gateway": {"enabled": True}, "config": AGENT["config"]},
        "gateway.allowAnonymous must be true",
    ),
    (
        "limits that are silently doubled",
        {
            "gateway": {"enabled": True, "allowAnonymous": True, "replicas": 2},
            "config": AGENT["config"],
        },
        "gateway.limitsPerReplica must be true",
    ),
    (
        "one file of counts for two",
        {
            "gateway": {
                "enabled": True,
                "allowAnonymous": True,
                "limitsPerReplica": True,
                "replicas": 2,
            },
            "config": AGENT["config"],
            "state": {"existingClaim": "counts"},
        },
        "a file of counts has one owner",
    ),
    (
        "a guard of unknown users",
        {"guard": {"enabled": True}, "sidecar": {"uid": None}},
        "guard.users must be false",
    ),
    (
        "a guard of classic sidecars",
        {"guard": {"enabled": True}, "sidecar": {"native": False}},
        "guard.enabled needs sidecar.native",
    ),
]


@pytest.mark.parametrize(("values", "why"), [pytest.param(v, w, id=i) for i, v, w in REFUSED])
def test_what_cannot_be_meant_is_refused(values: Object, why: str) -> None:
    def install() -> None:
        chart().validate_schema(values)
        objects(chart(), values)

    with pytest.raises(HelmError) as refusal:
        install()
    assert why in str(refusal.value)


def test_it_can_be_a_part_of_another_chart() -> None:
    """Helm hands a chart that others depend on two keys more."""
    chart().validate_schema({"global": {"any": 1}, "enabled": True})


def keys(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key of nested values; what users fill in freely is a leaf."""
    for key, value in node.items():
        yield (*path, key)
        if isinstance(value, dict) and key != "resources":
            yield from keys(value, (*path, key))


def test_every_value_is_documented_and_known_to_the_schema() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    readme = (CHART / "README.md").read_text()
    schema = chart().schema
    assert schema is not None
    for path in keys(values):
        known = schema
        for step in path:
            known = known["properties"][step]
        if "properties" not in known:
            assert f"| `{'.'.join(path)}` |" in readme, path


def test_the_schema_refuses_every_key_that_there_is_not() -> None:
    def check(node: Object) -> None:
        if "properties" in node:
            assert node["additionalProperties"] is False
            for inner in node["properties"].values():
                check(inner)

    schema = chart().schema
    assert schema is not None
    check(schema)


@pytest.mark.parametrize("trap", ["y", "no", "on", "0123", "1e3", "null", "~", "{{ x }}", "a: b"])
def test_texts_stay_texts(trap: str) -> None:
    """YAML 1.1 would make of most of these something else than a text."""
    values = {
        **AGENT,
        "agent": {
            **AGENT["agent"],
            "args": [trap],
            "env": [{"name": "A", "value": trap}],
            "podLabels": {"a": trap},
            "podAnnotations": {"a": trap},
            "schedule": trap,
            "kind": "CronJob",
        },
        "commonLabels": {"a": trap},
        "sidecar": {"env": [{"name": "A", "value": trap}], "args": [trap]},
    }
    (cron,) = objects(chart(), values, "agent.yaml")
    pod = cron["spec"]["jobTemplate"]["spec"]["template"]
    agent, sidecar = pod["spec"]["containers"][0], pod["spec"]["initContainers"][0]
    assert cron["spec"]["schedule"] == cron["metadata"]["labels"]["a"] == trap
    assert pod["metadata"]["labels"]["a"] == pod["metadata"]["annotations"]["a"] == trap
    assert agent["args"] == [trap]
    assert sidecar["args"][-1] == trap
    assert agent["env"][-1]["value"] == sidecar["env"][-1]["value"] == trap


@pytest.mark.parametrize("name", CASES)
def test_the_policies_load_without_a_warning(name: str) -> None:
    for item in rendered(name):
        for key, text in item.get("data", {}).items():
            if item["kind"] == "ConfigMap" and key.endswith(".yaml") and key != "interlock.yaml":
                assert PolicySet.parse(text.encode(), name=key).warnings == []


@pytest.mark.parametrize("name", ["file.yaml", "gateway-grants.yaml"])
def test_a_configuration_file_is_one_that_interlock_takes(name: str, tmp_path: Path) -> None:
    (item,) = (one for one in rendered(name) if "interlock.yaml" in one.get("data", {}))
    (tmp_path / "token").write_text("secret")
    for name, text in item["data"].items():
        (tmp_path / name).write_text(text.replace("/run/secrets/upwork", str(tmp_path)))
    settings = ConfigSource(tmp_path / "interlock.yaml", {}).load()
    assert [server.name for server in settings.servers] == ["upwork"]


def test_a_changed_policy_starts_pods_anew_only_if_asked_to() -> None:
    def template(**config: Any) -> Object:
        (deployment,) = objects(
            chart(), {**AGENT, "config": {**AGENT["config"], **config}}, "agent.yaml"
        )
        found: Object = deployment["spec"]["template"]
        return found

    policies = {"policies": {"policy.yaml": 'version: "1"\ndefault: allow\n'}}
    assert template() == template(**policies)
    assert template(rolloutOnChange=True) != template(rolloutOnChange=True, **policies)


@pytest.mark.parametrize(
    ("name", "link"),
    [("enforced", None), ("gateway-ha", "https://wiki.example.com/interlock/runbook")],
)
def test_alerts_link_to_a_runbook_where_there_is_one(name: str, link: str | None) -> None:
    (rules,) = [one for one in rendered(f"{name}.yaml") if one["kind"] == "PrometheusRule"]
    alerts = [
        rule for group in rules["spec"]["groups"] for rule in group["rules"] if "alert" in rule
    ]
    assert len(alerts) > 10
    for alert in alerts:
        told = alert["annotations"].get("runbook_url")
        assert told == (None if link is None else f"{link}#{alert['alert'].lower()}")
        assert alert["annotations"]["summary"]


def test_the_version_is_that_of_the_product() -> None:
    declared = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = (ROOT / "pyproject.toml").read_text()
    assert f'version = "{declared["appVersion"]}"' in project


def test_no_template_is_left_untried() -> None:
    """Each template makes something in some case."""
    seen = {line[2:] for name in CASES for line in _golden(name) if line.startswith("# ")}
    folder = CHART / "templates"
    templates = {
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix == ".yaml"
    }
    assert templates <= seen


def _golden(name: str) -> list[str]:
    return Path(ROOT, "tests", "k8s", "golden", name).read_text().splitlines()
