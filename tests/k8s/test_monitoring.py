"""The rules and the dashboard: sound on paper, and showing data before a real Prometheus."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8s.generate import CHART, ROOT
from support.pages import headings

RULES = CHART / "rules" / "interlock.yaml"
DASHBOARDS = sorted((CHART / "dashboards").glob("*.json"))
CASES = Path(__file__).parent / "alerts.yaml"


@cache
def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = [rule for rule in rules() if "alert" in rule]


def promtool(*arguments: str) -> str:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed")
    done = subprocess.run(
        [program, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_takes_the_rules() -> None:
    assert f"{len(rules())} rules found" in promtool("check", "rules", str(RULES))


def test_each_alert_fires_when_it_should_and_only_then() -> None:
    promtool("test", "rules", str(CASES))


def test_each_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    cases = yaml.safe_load(CASES.read_text())
    assert [str(RULES.resolve())] == [
        str((CASES.parent / p).resolve()) for p in cases["rule_files"]
    ]
    tried = [case for test in cases["tests"] for case in test["alert_rule_test"]]
    for alert in ALERTS:
        outcomes = {bool(c.get("exp_alerts")) for c in tried if c["alertname"] == alert["alert"]}
        assert outcomes == {True, False}, alert["alert"]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_says_how_bad_it_is_and_what_to_do(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
    assert alert["annotations"]["summary"]
    page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    assert page == "RUNBOOK"
    assert anchor == alert["alert"].lower()
    assert alert["alert"] in {heading for _, heading in headings("docs/runbook.md")}


def test_the_runbook_has_no_alert_that_there_is_not() -> None:
    told = {
        heading for level, heading in headings("docs/runbook.md") if heading.startswith("Interlock")
    }
    assert told == {alert["alert"] for alert in ALERTS}


def panels(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in board["panels"]:
        if panel["type"] != "row":
            yield panel


def board(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_a_dashboard_is_one_that_works_for_everybody(path: Path) -> None:
    made = board(path)
    assert made["id"] is None
    assert made["uid"]
    assert "__inputs" not in made
    first, *others = made["templating"]["list"]
    assert (first["name"], first["type"], first["query"]) == ("datasource",) * 2 + ("prometheus",)
    source = {"type": "prometheus", "uid": "${datasource}"}
    for variable in others:
        assert variable["datasource"] == source
        assert variable["includeAll"] is True
    taken = set()
    for panel in panels(made):
        assert panel["type"] in {"timeseries", "stat", "table"}
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["datasource"] == source
        assert panel["fieldConfig"]["defaults"]["unit"]
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
        for target in panel["targets"]:
            assert target["datasource"] == source
            assert target["legendFormat"] or panel["type"] == "table"
            if panel["type"] == "timeseries":
                assert "rate(" not in target["expr"] or "$__rate_interval" in target["expr"]
    numbers = [panel["id"] for panel in made["panels"]]
    assert len(numbers) == len(set(numbers))
    assert path.stat().st_size < 2**20, "what a ConfigMap holds"


# What a metric tells is in no query for a reason.
EXEMPT = {
    "process_virtual_memory_bytes": "means nothing by itself",
    "interlock_spans_total": "spans are watched where they arrive",
    "interlock_spans_exported_total": "as above",
}


def test_every_metric_is_watched_or_exempt() -> None:
    told = set(
        re.findall(
            r"^\| `((?:interlock|process)_\w+)`", (ROOT / "docs/metrics.md").read_text(), re.M
        )
    )
    assert len(told) > 15
    text = RULES.read_text() + "".join(path.read_text() for path in DASHBOARDS)
    used = set(re.findall(r"\b(?:interlock|process)_\w+?(?=_bucket|_sum|_count|\b)", text))
    assert told - used == set(EXEMPT)
    assert used - told == set(), "no such metric"
