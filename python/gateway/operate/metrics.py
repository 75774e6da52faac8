"""A snapshot in the words of Prometheus.

INVARIANT: a label's value comes from the configuration or the policy, never from a request, so that
the number of series is bounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from gateway.operate.view import Histogram, RouteData, Snapshot

__all__ = ["CONTENT_TYPE", "render"]

_BUCKETS = range(7, 25)
"""Bounds that are shown, as powers of two nanoseconds: 256 ns to 34 ms. The rest is in `+Inf`."""


def render(snapshot: Snapshot, versions: Mapping[str, str]) -> bytes:
    """The text of a scrape.

    Args:
        snapshot: what there is to tell.
        versions: of `version`, `python` and what else `/version` says.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Scrape(snapshot, versions))
    return generate_latest(registry)


class _Scrape(Collector):
    def __init__(self, snapshot: Snapshot, versions: Mapping[str, str]) -> None:
        self._snapshot = snapshot
        self._versions = versions

    def collect(self) -> Iterator[Metric]:
        routes = self._snapshot["routes"]
        yield _decisions(routes)
        yield _shadow(routes)
        yield _decide(routes)
        yield _upstream_errors(routes)
        waiting = [(route["server"], route["in_flight"]) for route in routes]
        yield _gauge("interlock_requests_in_flight", "Requests that wait for a server.", waiting)
        sessions = [(route["server"], route["sessions"]) for route in routes]
        yield _gauge("interlock_sessions", "Sessions that are open.", sessions)
        yield _usage(routes)
        yield _slots(self._snapshot)
        yield from _policies(routes)
        yield _build(self._versions)


def _decisions(routes: list[RouteData]) -> Metric:
    family = CounterMetricFamily(
        "interlock_decisions",
        "Messages decided.",
        labels=["server", "grant", "tool", "effect", "code"],
    )
    for route in routes:
        for tool, effect, code, count in route["decisions"]:
            family.add_metric([route["server"], route["grant"], tool, effect, code], count)
    return family


def _shadow(routes: list[RouteData]) -> Metric:
    family = CounterMetricFamily(
        "interlock_shadow_denials",
        "Refusals that shadow mode only recorded.",
        labels=["server", "rule"],
    )
    counts: dict[tuple[str, str], int] = {}
    for route in routes:
        for rule, count in route["shadow"]:
            counts[route["server"], rule] = counts.get((route["server"], rule), 0) + count
    for labels, count in counts.items():
        family.add_metric(labels, count)
    return family


def _decide(routes: list[RouteData]) -> Metric:
    family = HistogramMetricFamily(
        "interlock_decide_duration_seconds", "What a decision took, without the network."
    )
    if routes:
        buckets, total_ns, count = _sum(route["decide"] for route in routes)
        upto = list(accumulate(buckets))
        shown = [(str(2 ** (i + 1) / 1e9), float(upto[i])) for i in _BUCKETS if i < len(upto)]
        family.add_metric([], [*shown, ("+Inf", float(count))], total_ns / 1e9)
    return family


def _sum(histograms: Iterable[Histogram]) -> Histogram:
    parts = list(histograms)
    buckets = [sum(column) for column in zip(*(part[0] for part in parts), strict=True)]
    return buckets, sum(part[1] for part in parts), sum(part[2] for part in parts)


def _upstream_errors(routes: list[RouteData]) -> Metric:
    family = CounterMetricFamily(
        "interlock_upstream_errors",
        "Requests that a server could not be asked, or did not answer as it should.",
        labels=["server", "reason"],
    )
    counts: dict[tuple[str, str], int] = {}
    for route in routes:
        for reason, count in route["upstream_errors"].items():
            counts[route["server"], reason] = counts.get((route["server"], reason), 0) + count
    for labels, count in counts.items():
        family.add_metric(labels, count)
    return family


def _gauge(name: str, text: str, values: Iterable[tuple[str, int]]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=["server"])
    by_server: dict[str, int] = {}
    for server, value in values:
        by_server[server] = by_server.get(server, 0) + value
    for server, value in by_server.items():
        family.add_metric([server], value)
    return family


def _usage(routes: list[RouteData]) -> Metric:
    """Several limits may share a counter; the fullest of them is the one to watch."""
    family = GaugeMetricFamily(
        "interlock_limit_usage_ratio",
        "How much of a limit is used, 1 being all.",
        labels=["server", "grant", "counter"],
    )
    ratios: dict[tuple[str, str, str], float] = {}
    for route in routes:
        for usage in route["usage"]:
            key = (route["server"], route["grant"], str(usage["counter"]))
            most, used = float(usage["max"] or 0), float(usage["used"] or 0)
            ratios[key] = max(ratios.get(key, 0.0), used / most if most else 1.0)
    for labels, ratio in ratios.items():
        family.add_metric(labels, ratio)
    return family


def _slots(snapshot: Snapshot) -> Metric:
    family = GaugeMetricFamily(
        "interlock_limit_slots", "Places of the limit table.", labels=["state"]
    )
    family.add_metric(["used"], snapshot["used"])
    family.add_metric(["free"], snapshot["slots"] - snapshot["used"])
    return family


def _policies(routes: list[RouteData]) -> Iterator[Metric]:
    info = GaugeMetricFamily(
        "interlock_policy_info", "The policies in force.", labels=["server", "policy", "digest"]
    )
    reloads = CounterMetricFamily(
        "interlock_policy_reloads",
        "Policy files read again.",
        labels=["result"],
    )
    last = GaugeMetricFamily(
        "interlock_policy_last_reload_timestamp_seconds", "When a policy last came into force."
    )
    places = {(r["server"], r["policy"]["name"], r["policy"]["digest"]) for r in routes}
    for place in sorted(places):
        info.add_metric(place, 1)
    files = {route["policy"]["source"]: route["policy"] for route in routes}
    for result in ("success", "failure", "unchanged"):
        count = sum(policy["reloads"].get(result, 0) for policy in files.values())
        reloads.add_metric([result], count)
    if files:
        last.add_metric([], max(policy["loaded_at"] for policy in files.values()))
    yield from (info, reloads, last)


def _build(versions: Mapping[str, str]) -> Metric:
    family = GaugeMetricFamily(
        "interlock_build_info", "What runs here.", labels=["version", "python", "core"]
    )
    version = versions.get("version", "")
    family.add_metric([version, versions.get("python", ""), versions.get("core", version)], 1)
    return family
