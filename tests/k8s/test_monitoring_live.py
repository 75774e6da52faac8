"""Every query of the dashboard and the rules, before a real Prometheus and real sidecars.

A query that shows nothing under this load would show nothing to anybody.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8s.generate import CHART
from support.process import Sidecar, request, sidecar, upstream
from support.prometheus import Prometheus, prometheus

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(180)]

PATIENCE_S = 90
RULES = CHART / "rules" / "interlock.yaml"
DASHBOARDS = sorted((CHART / "dashboards").glob("*.json"))
POLICY: dict[str, Any] = {
    "version": "1",
    "default": "deny",
    "tools": {
        "echo": {"limits": [{"counter": "echoes", "window": "day", "max": 5, "scope": "grant"}]},
        "watched": {"deny_if": [{"conditions": [], "mode": "shadow"}]},
        "free": {},
    },
}
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


@dataclass(frozen=True)
class Load:
    """What the sidecars are given to do, a round at a time."""

    well: Sidecar
    unwell: Sidecar
    policy: Path

    def run(self) -> None:
        """Some of each decision, a server that cannot be reached, and a changed policy."""
        assert self.well.call("free") == "allowed"
        assert self.well.call("watched") == "allowed"
        assert self.well.call("nothing") == "default-deny"
        assert self.well.call("echo") in ("allowed", "limit-exceeded")
        self.unwell.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
        request(self.well.mcp, "POST", "/mcp", json.dumps(INITIALIZE).encode(), _HEADERS)
        # A changed file is read once it stays as it is for a moment.
        text = json.dumps(POLICY) if int(time.monotonic() / 2) % 2 else "not a policy"
        if self.policy.read_text() != text:
            self.policy.write_text(text)


_HEADERS = {
    "content-type": "application/json",
    "accept": "application/json, text/event-stream",
}


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Load]:
    folder = tmp_path_factory.mktemp("load")
    policies = [folder / "well.json", folder / "unwell.json"]
    for policy in policies:
        policy.write_text(json.dumps(POLICY))
    with ExitStack() as stack:
        server = stack.enter_context(upstream())
        well, unwell = (
            stack.enter_context(
                sidecar("--policy", str(policy), "--upstream", url, "--state", "memory")
            )
            for policy, url in zip(policies, (server.url, "http://127.0.0.1:1/mcp"), strict=True)
        )
        yield Load(well, unwell, policies[0])


@pytest.fixture(scope="module")
def watching(load: Load, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    targets = {
        load.well.admin: {"namespace": "agents", "pod": "well"},
        load.unwell.admin: {"namespace": "agents", "pod": "unwell"},
    }
    with prometheus(tmp_path_factory.mktemp("prometheus"), targets, RULES) as found:
        yield found


def until_shown(load: Load, watching: Prometheus, queries: set[str]) -> None:
    """Go on with the load until every query shows a number."""
    ends = time.monotonic() + PATIENCE_S
    missing = set(queries)
    while missing:
        assert time.monotonic() < ends, f"without data: {sorted(missing)}"
        load.run()
        missing = {query for query in missing if not shows(watching, query)}


def shows(watching: Prometheus, query: str) -> bool:
    return any(series["value"][1] != "NaN" for series in watching.query(query))


def queries(path: Path) -> set[str]:
    """The queries of a dashboard as Grafana would ask them, everything selected."""
    board = json.loads(path.read_text())
    found = {target["expr"] for panel in board["panels"] for target in panel.get("targets", ())}
    asked = {query.replace("$__rate_interval", "10s") for query in found}
    return {re.sub(r'"\$\w+"', '".*"', query) for query in asked}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_every_panel_shows_data(path: Path, load: Load, watching: Prometheus) -> None:
    asked = queries(path)
    assert len(asked) > 20
    assert not [query for query in asked if "$" in query]
    until_shown(load, watching, asked)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_every_variable_offers_something(path: Path, load: Load, watching: Prometheus) -> None:
    load.run()
    offered = {}
    for variable in json.loads(path.read_text())["templating"]["list"][1:]:
        found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
        assert found is not None
        selector = re.sub(r'"\$\w+"', '".*"', found[1])
        watching.until(selector)
        offered[variable["name"]] = watching.ask(
            f"label/{found[2]}/values", **{"match[]": selector}
        )
    assert offered == {
        "job": ["interlock"],
        "namespace": ["agents"],
        "pod": ["unwell", "well"],
        "server": ["default"],
        "grant": ["default"],
    }


def test_every_rule_can_be_evaluated_and_records_something(
    load: Load, watching: Prometheus
) -> None:
    rules = [
        rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
    ]
    for rule in rules:
        watching.query(rule["expr"])
    recorded = {rule["record"] for rule in rules if "record" in rule}
    alerts = {
        'ALERTS{alertname="InterlockPolicyReloadFailed", pod="well"}',
        'ALERTS{alertname="InterlockLimitNearlyUsedUp", counter="echoes"}',
    }
    until_shown(load, watching, recorded | alerts)
    told = {series["metric"]["alertname"] for series in watching.query("ALERTS")}
    assert not told & {"InterlockDown", "InterlockCannotDecide", "InterlockPoliciesDiffer"}


def test_a_query_that_shows_nothing_is_found_out(load: Load, watching: Prometheus) -> None:
    """So that the tests above can fail."""
    load.run()
    assert not shows(watching, "sum(interlock_no_such_metric)")
    assert not shows(watching, 'sum(rate(interlock_decisions_total{pod="none"}[10s]))')
    with pytest.raises(AssertionError, match="parse error"):
        watching.query("sum(")
