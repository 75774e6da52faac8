"""What operators may see of a running gateway, and the same as plain data.

`GatewayView` is what the composition root offers. `take` turns it into a `Snapshot` that can cross
a process boundary, and `merge` adds up the snapshots of several workers; the admin port and the
metrics read nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypedDict

Histogram = tuple[list[int], int, int]
"""Counts of power-of-two buckets of nanoseconds (bucket `i` holds what took less than `2**(i+1)`),
their sum in nanoseconds, and how many there were."""
Usage = dict[str, str | int | float | None]


class PolicyView(Protocol):
    """What is in force on one route; `gateway.policies.PolicyStatus` is one."""

    @property
    def name(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def loaded_at(self) -> float: ...
    @property
    def last_error(self) -> str | None: ...
    @property
    def reloads(self) -> Mapping[str, int]: ...


class EngineView(Protocol):
    """The counts that an engine keeps; `gateway._core.Engine` bound to its caller."""

    def counters(self) -> list[tuple[str, str, str, int]]: ...
    def shadow_counters(self) -> list[tuple[str, int]]: ...
    def decide_histogram(self) -> Histogram: ...


class RouteView(Protocol):
    """One grant on one server."""

    @property
    def server(self) -> str: ...
    @property
    def grant(self) -> str: ...
    @property
    def engine(self) -> EngineView: ...
    def usage(self) -> list[Usage]:
        """`Engine.usage` of the route's caller."""

    def policy(self) -> PolicyView: ...
    @property
    def in_flight(self) -> int:
        """Requests that wait for the server now."""

    @property
    def sessions(self) -> int:
        """Sessions opened and not yet ended, as far as this process knows."""

    @property
    def upstream_errors(self) -> Mapping[str, int]:
        """Failures of the server so far, by `UpstreamError.reason`."""


class TableView(Protocol):
    @property
    def slots(self) -> int: ...
    @property
    def used(self) -> int: ...


class GatewayView(Protocol):
    """What the composition root lets operators see."""

    @property
    def table(self) -> TableView: ...
    def ready(self) -> list[str]:
        """Why it is not ready to serve; empty when it is."""

    def routes(self) -> Sequence[RouteView]: ...


class PolicyData(TypedDict):
    name: str
    digest: str
    source: str
    loaded_at: float
    last_error: str | None
    reloads: dict[str, int]


class RouteData(TypedDict):
    server: str
    grant: str
    policy: PolicyData
    decisions: list[tuple[str, str, str, int]]
    shadow: list[tuple[str, int]]
    decide: Histogram
    usage: list[Usage]
    in_flight: int
    sessions: int
    upstream_errors: dict[str, int]


class Snapshot(TypedDict):
    """Everything the admin port tells, at one moment, as JSON can carry it."""

    not_ready: list[str]
    routes: list[RouteData]
    slots: int
    used: int


def take(view: GatewayView) -> Snapshot:
    """Read the view once."""
    return {
        "not_ready": view.ready(),
        "routes": [_route(route) for route in view.routes()],
        "slots": view.table.slots,
        "used": view.table.used,
    }


def merge(snapshots: Sequence[Snapshot]) -> Snapshot:
    """One snapshot for several workers of the same settings.

    Counts are added up. The limit table is shared, so its figures are one worker's. A policy that
    one worker could not load is reported, whatever the others say.

    Raises:
        ValueError: there is no snapshot.
    """
    if not snapshots:
        raise ValueError("no snapshot to merge")
    by_route: dict[tuple[str, str], list[RouteData]] = {}
    for snapshot in snapshots:
        for route in snapshot["routes"]:
            by_route.setdefault((route["server"], route["grant"]), []).append(route)
    reasons = [reason for snapshot in snapshots for reason in snapshot["not_ready"]]
    return {
        "not_ready": list(dict.fromkeys(reasons)),
        "routes": [_merge_route(routes) for routes in by_route.values()],
        "slots": snapshots[0]["slots"],
        "used": max(snapshot["used"] for snapshot in snapshots),
    }


def retire(snapshot: Snapshot) -> Snapshot:
    """What stays of a process that ended: its counts, and none of what it was doing."""
    routes: list[RouteData] = [
        {**route, "in_flight": 0, "sessions": 0} for route in snapshot["routes"]
    ]
    return {**snapshot, "not_ready": [], "routes": routes}


def _route(route: RouteView) -> RouteData:
    policy = route.policy()
    return {
        "server": route.server,
        "grant": route.grant,
        "policy": {
            "name": policy.name,
            "digest": policy.digest,
            "source": policy.source,
            "loaded_at": policy.loaded_at,
            "last_error": policy.last_error,
            "reloads": dict(policy.reloads),
        },
        "decisions": route.engine.counters(),
        "shadow": route.engine.shadow_counters(),
        "decide": route.engine.decide_histogram(),
        "usage": route.usage(),
        "in_flight": route.in_flight,
        "sessions": route.sessions,
        "upstream_errors": dict(route.upstream_errors),
    }


def _merge_route(routes: list[RouteData]) -> RouteData:
    decisions: dict[tuple[str, str, str], int] = {}
    shadow: dict[str, int] = {}
    errors: dict[str, int] = {}
    for route in routes:
        for tool, effect, code, count in route["decisions"]:
            decisions[tool, effect, code] = decisions.get((tool, effect, code), 0) + count
        for rule, count in route["shadow"]:
            shadow[rule] = shadow.get(rule, 0) + count
        for reason, count in route["upstream_errors"].items():
            errors[reason] = errors.get(reason, 0) + count
    failed = [route for route in routes if route["policy"]["last_error"] is not None]
    return {
        "server": routes[0]["server"],
        "grant": routes[0]["grant"],
        "policy": (failed or routes)[0]["policy"],
        "decisions": [(*key, count) for key, count in decisions.items()],
        "shadow": list(shadow.items()),
        "decide": _merge_histograms([route["decide"] for route in routes]),
        "usage": routes[0]["usage"],
        "in_flight": sum(route["in_flight"] for route in routes),
        "sessions": sum(route["sessions"] for route in routes),
        "upstream_errors": errors,
    }


def _merge_histograms(histograms: list[Histogram]) -> Histogram:
    buckets = [sum(column) for column in zip(*(h[0] for h in histograms), strict=True)]
    return buckets, sum(h[1] for h in histograms), sum(h[2] for h in histograms)
