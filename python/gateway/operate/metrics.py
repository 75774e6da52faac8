"""The metrics: what each family is called, what it says, and its text for Prometheus.

The text is written here and in the core, not by a client library, which takes tens of times as long
and would hold up calls meanwhile; `gateway.operate.collector` gives the same families to one.

INVARIANT: a label's value comes from the configuration or the policy, never from a request, so that
the number of series is bounded.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from gateway._core import build_info
from gateway.operate.family import Family, Sample, head, text
from gateway.operate.resources import resources

if TYPE_CHECKING:
    from gateway.operate.view import DeskView, GatewayView, Histogram, Phase, RouteView

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

ADDED_GAUGES = (
    b"interlock_requests_in_flight",
    b"interlock_sessions",
    b"interlock_reload_failing",
    b"process_resident_memory_bytes",
    b"process_virtual_memory_bytes",
    b"process_open_fds",
)
"""Of several processes; any other gauge tells of what they share."""

OUTCOMES = ("asked", "used", "denied", "expired", "unavailable")
"""Of requests for approval."""
DELIVERIES = ("delivered", "failed", "given_up")
"""Of telling a webhook of one: it is told, it is tried again, or it is tried no more."""

_BOUNDS: Mapping[Phase, range] = {
    "decide": range(7, 25),
    "request": range(15, 37),
    "upstream": range(15, 37),
}
"""Bounds that are shown, as powers of two nanoseconds: 256 ns to 34 ms for what we do alone, 66 us
to 137 s for what a server takes part in. The rest is in `+Inf`."""


def versions() -> dict[str, str]:
    """Of the sidecar, its core and what runs it."""
    info = build_info()
    return {**info, "python": ".".join(map(str, sys.version_info[:3]))}


def families(view: GatewayView) -> Iterator[Family]:
    """Everything that is counted, but for what the process takes of its machine."""
    routes = view.routes()
    yield Family(
        *("interlock_decisions_total", "counter", "Messages decided."),
        (
            Sample("", _labels(route, tool=tool, effect=effect, code=code), count)
            for route in routes
            for tool, effect, code, count in route.engine.counters()
        ),
        (route.engine.decision_lines(route.caller) for route in routes),
    )
    yield _per_server(
        *("interlock_shadow_denials_total", "counter"),
        "Refusals that shadow mode only recorded.",
        "rule",
        [(route, rule, n) for route in routes for rule, n in route.engine.shadow_counters()],
    )
    decide = [route.engine.histogram("decide") for route in routes]
    yield Family(
        *("interlock_decide_duration_seconds", "histogram"),
        "What a decision took, without the network.",
        _histogram({}, "decide", decide) if decide else (),
    )
    yield from _durations(routes)
    yield from _gauges(routes)
    used, slots = view.table.used, view.table.slots
    yield Family(
        *("interlock_limit_slots", "gauge", "Places of the limit table."),
        [Sample("", {"state": "used"}, used), Sample("", {"state": "free"}, slots - used)],
    )
    yield from _policies(routes)
    yield from _reloads(view)
    dropped = 0 if view.log is None else view.log.stats()["dropped"]
    yield Family(
        *("interlock_decision_log_dropped_total", "counter"),
        "Lines that the decision log left out.",
        [Sample("", {}, dropped)],
    )
    yield from _approvals(view.desk)
    yield deliveries(view.deliveries)
    spans = view.tracing
    made, exported = (0, 0) if spans is None else (spans.made, spans.exported)
    yield Family(
        *("interlock_spans_total", "counter", "Spans made for sampled traces."),
        [Sample("", {}, made)],
    )
    yield Family(
        *("interlock_spans_exported_total", "counter", "Spans that a collector has taken."),
        [Sample("", {}, exported)],
    )
    found = versions()
    build = {"version": found["version"], "python": found["python"], "core": found["version"]}
    yield Family("interlock_build_info", "gauge", "What runs here.", [Sample("", build, 1)])


def _durations(routes: Sequence[RouteView]) -> Iterator[Family]:
    servers: dict[str, list[RouteView]] = {}
    for route in routes:
        servers.setdefault(route.server, []).append(route)
    phases: tuple[tuple[Phase, str], ...] = (
        ("request", "What a call took, with the server's part."),
        ("upstream", "What a server took to answer a call."),
    )
    for phase, meaning in phases:
        samples = [
            sample
            for server, its in servers.items()
            for sample in _histogram(
                {"server": server}, phase, [route.engine.histogram(phase) for route in its]
            )
        ]
        yield Family(f"interlock_{phase}_duration_seconds", "histogram", meaning, samples)


def _gauges(routes: Sequence[RouteView]) -> Iterator[Family]:
    yield _per_server(
        *("interlock_upstream_errors_total", "counter"),
        "Requests that a server could not be asked, or did not answer as it should.",
        "reason",
        [(route, why, n) for route in routes for why, n in route.upstream_errors.items()],
    )
    yield _per_server(
        *("interlock_unpinned_tools_total", "counter"),
        "Entries of tool lists that were not as they are pinned.",
        "",
        [(route, "", route.unpinned) for route in routes],
    )
    yield _per_server(
        *("interlock_requests_in_flight", "gauge", "Requests that wait for a server."),
        "",
        [(route, "", route.in_flight) for route in routes],
    )
    yield _per_server(
        *("interlock_sessions", "gauge", "Sessions that are open."),
        "",
        [(route, "", route.sessions) for route in routes],
    )
    yield Family(
        *("interlock_limit_usage_ratio", "gauge", "How much of a limit is used, 1 being all."),
        (
            Sample("", _labels(route, counter=counter), ratio)
            for route in routes
            for counter, ratio in route.engine.usage_ratios(route.caller)
        ),
        (route.engine.usage_lines(route.caller) for route in routes),
    )


def _policies(routes: Sequence[RouteView]) -> Iterator[Family]:
    policies = [(route.server, route.policy()) for route in routes]
    infos = {(server, policy.name, policy.digest) for server, policy in policies}
    yield Family(
        *("interlock_policy_info", "gauge", "The policies in force."),
        [
            Sample("", dict(zip(("server", "policy", "digest"), info, strict=True)), 1)
            for info in sorted(infos)
        ],
    )
    # Routes may share a file, which is read once for each of them, and counted once.
    files = {policy.source: policy for _, policy in policies}
    yield Family(
        *("interlock_policy_reloads_total", "counter", "Policy files read again."),
        [
            Sample("", {"result": result}, sum(p.reloads.get(result, 0) for p in files.values()))
            for result in ("success", "failure", "unchanged")
        ],
    )
    loaded = [policy.loaded_at for policy in files.values()]
    yield Family(
        *("interlock_policy_last_reload_timestamp_seconds", "gauge"),
        "When a policy last came into force.",
        [Sample("", {}, max(loaded))] if loaded else (),
    )


def _approvals(desk: DeskView | None) -> Iterator[Family]:
    pending, outcomes = (0, {}) if desk is None else (desk.pending, desk.outcomes)
    yield Family(
        *("interlock_approvals_pending", "gauge", "Calls that wait for a person's approval."),
        [Sample("", {}, pending)],
    )
    yield Family(
        *("interlock_approvals_total", "counter", "What became of requests for approval."),
        [Sample("", {"outcome": outcome}, outcomes.get(outcome, 0)) for outcome in OUTCOMES],
    )


def deliveries(counts: Mapping[str, int]) -> Family:
    """What came of telling a webhook, whichever process of the sidecar does that."""
    return Family(
        *("interlock_approval_deliveries_total", "counter"),
        "Attempts to tell a webhook of a request for approval.",
        [Sample("", {"outcome": outcome}, counts.get(outcome, 0)) for outcome in DELIVERIES],
    )


def _reloads(view: GatewayView) -> Iterator[Family]:
    failures: dict[str, int] = {}
    failing: dict[str, int] = {}
    for one in view.reloads():
        failures[one.what] = failures.get(one.what, 0) + one.failures
        failing[one.what] = failing.get(one.what, 0) + (one.error is not None)
    yield Family(
        *("interlock_reload_failures_total", "counter", "Changed files that could not be used."),
        [Sample("", {"what": what}, count) for what, count in failures.items()],
    )
    yield Family(
        *("interlock_reload_failing", "gauge"),
        "Files that cannot be used as they are now; what was read before stays in force.",
        [Sample("", {"what": what}, count) for what, count in failing.items()],
    )
    yield Family(
        *("interlock_restart_needed", "gauge"),
        "Changed parts of the configuration that take effect at the next start only.",
        [Sample("", {}, len(view.awaits_restart()))],
    )


def _labels(route: RouteView, **more: str) -> dict[str, str]:
    return {"server": route.server, "grant": route.grant, **more}


def _per_server(
    name: str, kind: str, meaning: str, label: str, values: Sequence[tuple[RouteView, str, float]]
) -> Family:
    """Sums over the grants of a server, by one more label if it has a name."""
    sums: dict[tuple[str, str], float] = {}
    for route, value, number in values:
        sums[route.server, value] = sums.get((route.server, value), 0) + number
    return Family(
        *(name, kind, meaning),
        [
            Sample("", {"server": server, **({label: value} if label else {})}, number)
            for (server, value), number in sums.items()
        ],
    )


def _histogram(labels: Mapping[str, str], phase: Phase, parts: list[Histogram]) -> Iterator[Sample]:
    upto = list(accumulate(map(sum, zip(*(buckets for buckets, _, _ in parts), strict=True))))
    count = sum(count for _, _, count in parts)
    for index in _BOUNDS[phase]:
        yield Sample("_bucket", {**labels, "le": str(2 ** (index + 1) / 1e9)}, upto[index])
    yield Sample("_bucket", {**labels, "le": "+Inf"}, count)
    yield Sample("_count", labels, count)
    yield Sample("_sum", labels, sum(total_ns for _, total_ns, _ in parts) / 1e9)


async def render(view: GatewayView) -> bytes:
    """The text of a scrape. Between the grants the event loop serves whoever else has work."""
    pieces = [text(family) for family in resources()]
    for family in families(view):
        if family.lines is None:
            pieces.append(text(family))
            continue
        pieces.append(head(family))
        for lines in family.lines:
            pieces.append(lines)
            await asyncio.sleep(0)
    return b"".join(pieces)


def openmetrics(text: bytes) -> bytes:
    """The same in the format OpenMetrics 1.0, where a counter's family has a name of its own."""
    first, *rest = text.split(b"\n# ")
    pieces = [first.removeprefix(b"# "), *rest]
    for index, piece in enumerate(pieces):
        keyword, name, more = piece.split(b" ", 2)
        pieces[index] = b" ".join((keyword, name.removesuffix(b"_total"), more))
    return b"# " + b"\n# ".join(pieces) + b"# EOF\n"
