"""The scrape says what the snapshot says, under the names that dashboards know."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from gateway.operate.metrics import render
from support.operators import route, snapshot

VERSIONS = {"version": "1.2.3", "python": "3.11.7", "core": "1.2.3"}


def samples(text: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def test_every_figure_has_its_name_and_labels() -> None:
    found = samples(render(snapshot(), VERSIONS))
    where = {"server": "upwork"}
    expected = {
        key(
            "interlock_decisions_total",
            **where,
            grant="default",
            tool="search",
            effect="allow",
            code="allowed",
        ): 3,
        key("interlock_shadow_denials_total", **where, rule="/tools/search/limits/0"): 2,
        key("interlock_upstream_errors_total", **where, reason="connect"): 1,
        key("interlock_requests_in_flight", **where): 2,
        key("interlock_sessions", **where): 1,
        key("interlock_limit_usage_ratio", **where, grant="default", counter="calls"): 0.1,
        key("interlock_limit_slots", state="used"): 5,
        key("interlock_limit_slots", state="free"): 59,
        key("interlock_policy_info", **where, policy="policy.json", digest="ab" * 32): 1,
        key("interlock_policy_reloads_total", result="success"): 1,
        key("interlock_policy_reloads_total", result="failure"): 0,
        key("interlock_policy_reloads_total", result="unchanged"): 2,
        key("interlock_policy_last_reload_timestamp_seconds"): 1000.5,
        key("interlock_build_info", **VERSIONS): 1,
    }
    assert {name: found.get(name) for name in expected} == expected


def test_the_histogram_is_cumulative_and_in_seconds() -> None:
    found = samples(render(snapshot(), VERSIONS))
    name = "interlock_decide_duration_seconds"
    assert found[key(f"{name}_bucket", le="5.12e-07")] == 0
    assert found[key(f"{name}_bucket", le="1.024e-06")] == 4
    assert found[key(f"{name}_bucket", le="+Inf")] == 4
    assert found[key(f"{name}_count")] == 4
    assert found[key(f"{name}_sum")] == 2.4e-06


def test_grants_of_one_server_share_its_series() -> None:
    found = samples(render(snapshot(route(grant="a"), route(grant="b")), VERSIONS))
    assert found[key("interlock_requests_in_flight", server="upwork")] == 4
    assert found[key("interlock_upstream_errors_total", server="upwork", reason="connect")] == 2
    assert found[key("interlock_policy_reloads_total", result="success")] == 1  # one file


def test_a_counter_in_several_limits_shows_the_fullest() -> None:
    busy = route()
    busy["usage"] = [*busy["usage"], {**busy["usage"][0], "window": "day", "max": 4, "used": 3}]
    found = samples(render(snapshot(busy), VERSIONS))
    labels = {"server": "upwork", "grant": "default", "counter": "calls"}
    assert found[key("interlock_limit_usage_ratio", **labels)] == 0.75


def test_nothing_to_tell_is_told() -> None:
    empty = {"not_ready": [], "routes": [], "slots": 64, "used": 0}
    assert b"interlock_limit_slots" in render(empty, VERSIONS)  # type: ignore[arg-type]


def test_label_values_are_escaped() -> None:
    odd = route()
    odd["decisions"] = [('a"b\\c\n', "allow", "allowed", 1)]
    assert b'tool="a\\"b\\\\c\\n"' in render(snapshot(odd), VERSIONS)
