"""The scrape says what was counted, under the names that dashboards know."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as read_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as read

from gateway._core import __version__
from gateway.operate.collector import InterlockCollector
from gateway.operate.family import text
from gateway.operate.metrics import families, openmetrics, render
from gateway.operate.resources import resources
from support.operators import POLICY, Gateway, busy, route, view

Key = tuple[str, frozenset[tuple[str, str]]]


def scrape(gateway: Gateway) -> bytes:
    return asyncio.run(render(gateway))


def samples(text: bytes, parse: Any = read) -> dict[Key, float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse(text.decode())
        for sample in family.samples
    }


def key(name: str, **labels: str) -> Key:
    return name, frozenset(labels.items())


def test_every_figure_has_its_name_and_labels() -> None:
    found = samples(scrape(view()))
    where = {"server": "upwork"}
    who = {**where, "grant": "default"}
    decisions = "interlock_decisions_total"
    build = {"python": sys.version.split()[0], "version": __version__, "core": __version__}
    expected = {
        key(decisions, **who, tool="search", effect="allow", code="allowed"): 3,
        key(decisions, **who, tool="other", effect="deny", code="default-deny"): 1,
        key("interlock_shadow_denials_total", **where, rule="/tools/search/limits/1"): 2,
        key("interlock_upstream_errors_total", **where, reason="connect"): 1,
        key("interlock_requests_in_flight", **where): 2,
        key("interlock_sessions", **where): 1,
        key("interlock_limit_usage_ratio", **who, counter="calls"): 0.1,
        key("interlock_limit_slots", state="used"): 0,
        key("interlock_limit_slots", state="free"): 64,
        key("interlock_policy_info", **where, policy="policy.json", digest="ab" * 32): 1,
        key("interlock_policy_reloads_total", result="success"): 1,
        key("interlock_policy_reloads_total", result="failure"): 0,
        key("interlock_policy_reloads_total", result="unchanged"): 2,
        key("interlock_policy_last_reload_timestamp_seconds"): 1000.5,
        key("interlock_decide_duration_seconds_count"): 4,
        key("interlock_build_info", **build): 1,
    }
    assert {name: found.get(name) for name in expected} == expected


def test_the_histograms_are_cumulative_and_in_seconds() -> None:
    one, two = route(grant="a"), route(grant="b")
    one.engine.observe("request", 100_000)
    two.engine.observe("request", 70_000_000)
    two.engine.observe("upstream", 1 << 62)
    found = samples(scrape(view(one, two)))
    name = "interlock_request_duration_seconds"
    where = {"server": "upwork"}
    assert found[key(f"{name}_bucket", **where, le="6.5536e-05")] == 0
    assert found[key(f"{name}_bucket", **where, le="0.000131072")] == 1
    assert found[key(f"{name}_bucket", **where, le="0.067108864")] == 1
    assert found[key(f"{name}_bucket", **where, le="0.134217728")] == 2
    assert found[key(f"{name}_bucket", **where, le="+Inf")] == 2
    assert found[key(f"{name}_count", **where)] == 2
    assert found[key(f"{name}_sum", **where)] == 0.0701
    name = "interlock_upstream_duration_seconds"
    assert found[key(f"{name}_bucket", **where, le=str(2**37 / 1e9))] == 0
    assert found[key(f"{name}_bucket", **where, le="+Inf")] == 1


def test_a_phase_must_be_one() -> None:
    with pytest.raises(ValueError, match="a phase is"):
        route().engine.observe("lunch", 1)  # type: ignore[arg-type]


def test_grants_of_one_server_share_its_series() -> None:
    found = samples(scrape(view(route(grant="a"), route(grant="b"))))
    assert found[key("interlock_requests_in_flight", server="upwork")] == 4
    assert found[key("interlock_upstream_errors_total", server="upwork", reason="connect")] == 2
    assert found[key("interlock_policy_reloads_total", result="success")] == 1  # one file


def test_a_counter_in_several_limits_shows_the_fullest() -> None:
    limits = [
        {"counter": "calls", "window": window, "max": n} for window, n in [("week", 30), ("90s", 4)]
    ]
    made = route(policy={**POLICY, "tools": {"search": {"limits": limits}}})
    made.call("search", "search", "search")
    found = samples(scrape(view(made)))
    labels = {"server": "upwork", "grant": "default", "counter": "calls"}
    assert found[key("interlock_limit_usage_ratio", **labels)] == 0.75


def test_nothing_to_tell_is_told() -> None:
    assert b'interlock_limit_slots{state="free"} 64\n' in scrape(Gateway([], []))


def test_label_values_are_escaped_by_whoever_words_them() -> None:
    names = {"server": 's"\\\n', "grant": 'g\n"'}
    found = samples(scrape(view(busy(**names))))
    assert key("interlock_sessions", server=names["server"]) in found
    assert key("interlock_limit_usage_ratio", **names, counter="calls") in found


def test_what_the_core_words_is_what_the_samples_say() -> None:
    for family in families(view(busy(grant="a"), busy(grant='b"'))):
        if family.lines is not None:
            told = text(family).partition(b"\n")[2].partition(b"\n")[2]
            assert samples(b"".join(family.lines)) == samples(told)
            assert samples(told)


def test_a_client_of_ones_own_tells_the_same() -> None:
    gateway = view(busy(grant="a"), busy(grant='b"'))
    registry = CollectorRegistry()
    registry.register(InterlockCollector(gateway))
    ours = [f for f in read(scrape(gateway).decode()) if not f.name.startswith("process_")]
    assert list(read(generate_latest(registry).decode())) == ours


def test_openmetrics_has_the_same_figures() -> None:
    classic = scrape(view())
    modern = openmetrics(classic)
    assert modern.endswith(b"# EOF\n")
    assert samples(modern, read_openmetrics) == samples(classic)
    types = {family.name: family.type for family in read_openmetrics(modern.decode())}
    assert types["interlock_decisions"] == "counter"


def test_others_run_while_a_scrape_is_worded() -> None:
    async def main() -> int:
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        running = asyncio.create_task(others())
        await render(view(*(busy(grant=f"g{i}") for i in range(5))))
        running.cancel()
        return turns

    assert asyncio.run(main()) >= 10  # once after each grant, in both families that are long


def test_what_the_process_takes_is_told() -> None:
    found = samples(b"".join(text(family) for family in resources()))
    assert found[key("process_resident_memory_bytes")] > 1 << 20
    assert found[key("process_virtual_memory_bytes")] > found[key("process_resident_memory_bytes")]
    assert 0 < found[key("process_cpu_seconds_total")] <= time.process_time() + 1
    assert 0 <= time.time() - found[key("process_start_time_seconds")] < 24 * 3600
    open_files = found[key("process_open_fds")]
    assert 3 <= open_files < found[key("process_max_fds")]
    with Path("/dev/null").open():
        more = samples(b"".join(text(family) for family in resources()))
    assert more[key("process_open_fds")] == open_files + 1


def test_a_machine_without_those_figures_has_none(tmp_path: Path) -> None:
    assert list(resources(tmp_path)) == []
