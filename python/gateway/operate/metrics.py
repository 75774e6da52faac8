"""A snapshot in the words of Prometheus: its text format, version 0.0.4.

The lines are written here and not by a client library, which takes tens of times as long for the
same text and would hold up calls meanwhile; the library reads them in the tests.

INVARIANT: a label's value comes from the configuration or the policy, never from a request, so that
the number of series is bounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.operate.view import Histogram, RouteData, Snapshot

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_BUCKETS = range(7, 25)
"""Bounds that are shown, as powers of two nanoseconds: 256 ns to 34 ms. The rest is in `+Inf`."""
_CACHED_VALUES = 1 << 14

Series = Mapping[tuple[str, ...], float]
"""Values by label values, in the order of the family's labels."""


def render(snapshot: Snapshot, versions: Mapping[str, str]) -> bytes:
    """The text of a scrape.

    Args:
        snapshot: what there is to tell.
        versions: of `version`, `python` and what else `/version` says.
    """
    return "".join(_text(snapshot, versions)).encode()


def _text(snapshot: Snapshot, versions: Mapping[str, str]) -> Iterator[str]:
    routes = snapshot["routes"]
    yield from _family(
        *("decisions_total", "counter", "Messages decided."),
        ("server", "grant", "tool", "effect", "code"),
        {(r["server"], r["grant"], *row[:3]): row[3] for r in routes for row in r["decisions"]},
    )
    yield from _family(
        *("shadow_denials_total", "counter", "Refusals that shadow mode only recorded."),
        ("server", "rule"),
        _sums(((r["server"], rule), n) for r in routes for rule, n in r["shadow"]),
    )
    yield from _histogram(
        *("decide_duration_seconds", "What a decision took, without the network."),
        [route["decide"] for route in routes],
    )
    yield from _family(
        "upstream_errors_total",
        "counter",
        "Requests that a server could not be asked, or did not answer as it should.",
        ("server", "reason"),
        _sums(((r["server"], why), n) for r in routes for why, n in r["upstream_errors"].items()),
    )
    yield from _family(
        *("requests_in_flight", "gauge", "Requests that wait for a server."),
        ("server",),
        _sums(((route["server"],), route["in_flight"]) for route in routes),
    )
    yield from _family(
        *("sessions", "gauge", "Sessions that are open."),
        ("server",),
        _sums(((route["server"],), route["sessions"]) for route in routes),
    )
    yield from _family(
        *("limit_usage_ratio", "gauge", "How much of a limit is used, 1 being all."),
        ("server", "grant", "counter"),
        _usage(routes),
    )
    used, slots = snapshot["used"], snapshot["slots"]
    yield from _family(
        *("limit_slots", "gauge", "Places of the limit table."),
        ("state",),
        {("used",): used, ("free",): slots - used},
    )
    yield from _policies(routes)
    version = versions.get("version", "")
    yield from _family(
        *("build_info", "gauge", "What runs here."),
        ("version", "python", "core"),
        {(version, versions.get("python", ""), versions.get("core", version)): 1},
    )


def _policies(routes: list[RouteData]) -> Iterator[str]:
    yield from _family(
        *("policy_info", "gauge", "The policies in force."),
        ("server", "policy", "digest"),
        {(r["server"], r["policy"]["name"], r["policy"]["digest"]): 1 for r in routes},
    )
    # Routes may share a file, which is read once for each of them, and counted once.
    files = {route["policy"]["source"]: route["policy"] for route in routes}
    yield from _family(
        *("policy_reloads_total", "counter", "Policy files read again."),
        ("result",),
        {
            (result,): sum(policy["reloads"].get(result, 0) for policy in files.values())
            for result in ("success", "failure", "unchanged")
        },
    )
    loaded = [policy["loaded_at"] for policy in files.values()]
    yield from _family(
        *("policy_last_reload_timestamp_seconds", "gauge", "When a policy last came into force."),
        (),
        {(): max(loaded)} if loaded else {},
    )


def _usage(routes: list[RouteData]) -> Series:
    """Several limits may share a counter; the fullest of them is the one to watch."""
    ratios: dict[tuple[str, ...], float] = {}
    for route in routes:
        for usage in route["usage"]:
            key = (route["server"], route["grant"], str(usage["counter"]))
            most, used = float(usage["max"] or 0), float(usage["used"] or 0)
            ratios[key] = max(ratios.get(key, 0.0), used / most if most else 1.0)
    return ratios


def _sums(values: Iterable[tuple[tuple[str, ...], float]]) -> Series:
    sums: dict[tuple[str, ...], float] = {}
    for labels, value in values:
        sums[labels] = sums.get(labels, 0) + value
    return sums


def _family(
    name: str, kind: str, text: str, labels: tuple[str, ...], series: Series
) -> Iterator[str]:
    yield f"# HELP interlock_{name} {text}\n# TYPE interlock_{name} {kind}\n"
    shape = ",".join(f'{label}="%s"' for label in labels)
    shape = f"interlock_{name}{{{shape}}} %s\n" if labels else f"interlock_{name} %s\n"
    for values, number in series.items():
        yield shape % (*map(_escaped, values), number)


def _histogram(name: str, text: str, parts: list[Histogram]) -> Iterator[str]:
    yield f"# HELP interlock_{name} {text}\n# TYPE interlock_{name} histogram\n"
    if not parts:
        return
    upto = list(accumulate(map(sum, zip(*(buckets for buckets, _, _ in parts), strict=True))))
    count = sum(count for _, _, count in parts)
    for index in _BUCKETS:
        yield f'interlock_{name}_bucket{{le="{2 ** (index + 1) / 1e9}"}} {upto[index]}\n'
    yield f'interlock_{name}_bucket{{le="+Inf"}} {count}\n'
    yield f"interlock_{name}_count {count}\n"
    yield f"interlock_{name}_sum {sum(total_ns for _, total_ns, _ in parts) / 1e9}\n"


@lru_cache(maxsize=_CACHED_VALUES)
def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
