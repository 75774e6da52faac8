"""From the rounds of a run to the figures that are told: medians, and ratios within each round.

INVARIANT: a ratio is only ever taken of two rounds that were run one after the other.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

REFERENCE = "nginx"


def median(values: Sequence[float]) -> float:
    """The middle of some figures, which must not be none."""
    return float(statistics.median(values))


@dataclass(frozen=True)
class Line:
    """One proxy in one scenario; medians over the rounds.

    Attributes:
        rate: requests (or events) a second; the load generator may have been what bounded it.
        cpu_us: CPU time of the proxy for each.
        instructions: of the proxy for each; None where they are not counted.
        rate_ratio: `rate` over that of nginx in the same round.
        core_ratio: how many a second of the proxy's CPU time serves, over how many one of nginx's
            does in the same round.
        core_spread: the least and the greatest `core_ratio` of a round.
        failed: requests that were not answered with 200, in all rounds.
        p99_us: 99th percentile of the latency under full load.
        resident_bytes: after the last round.
    """

    name: str
    rate: float
    cpu_us: float
    instructions: float | None
    rate_ratio: float
    core_ratio: float
    core_spread: tuple[float, float]
    failed: int
    p99_us: float
    resident_bytes: int


def rate(found: dict[str, Any]) -> float:
    """Requests a second of a round, or events where it counted them."""
    return float(found.get("events", found["requests"]) / found["seconds"])


def lines(scenario: dict[str, Any]) -> list[Line]:
    """The figures of each proxy in a scenario, as `bench.load.path.measure` gives it."""
    reference = scenario["proxies"][REFERENCE]["rounds"]
    return [line(name, each["rounds"], reference) for name, each in scenario["proxies"].items()]


def line(name: str, rounds: Sequence[dict[str, Any]], reference: Sequence[dict[str, Any]]) -> Line:
    """The figures of one proxy, of as many rounds as the reference has."""
    pairs = list(zip(rounds, reference, strict=True))
    counts = [each["instructions"] for each in rounds]
    cores = [other["cpu_us"] / each["cpu_us"] for each, other in pairs]
    return Line(
        name=name,
        rate=median([rate(each) for each in rounds]),
        cpu_us=median([each["cpu_us"] for each in rounds]),
        instructions=None if None in counts else median(counts),
        rate_ratio=median([rate(each) / rate(other) for each, other in pairs]),
        core_ratio=median(cores),
        core_spread=(min(cores), max(cores)),
        failed=sum(each["failed"] for each in rounds),
        p99_us=median([each["p99_us"] for each in rounds]),
        resident_bytes=rounds[-1]["resident_bytes"],
    )


@dataclass(frozen=True)
class Latency:
    """One proxy at one rate; medians over the rounds, in microseconds.

    Attributes:
        added_p50_us: what it adds to the p50 of nginx in the same round.
        added_p99_us: likewise.
        keeps_up: everything that fell due was answered.
    """

    name: str
    p50_us: float
    p99_us: float
    p99_9_us: float
    added_p50_us: float
    added_p99_us: float
    keeps_up: bool


def latencies(load: dict[str, Any]) -> list[Latency]:
    """The figures of each proxy at one rate, as `bench.load.latency.measure` gives it."""
    reference = load["proxies"][REFERENCE]
    found = []
    for name, rounds in load["proxies"].items():
        pairs = list(zip(rounds, reference, strict=True))
        found.append(
            Latency(
                name=name,
                p50_us=median([each["p50_us"] for each in rounds]),
                p99_us=median([each["p99_us"] for each in rounds]),
                p99_9_us=median([each["p99_9_us"] for each in rounds]),
                added_p50_us=median([each["p50_us"] - other["p50_us"] for each, other in pairs]),
                added_p99_us=median([each["p99_us"] - other["p99_us"] for each, other in pairs]),
                keeps_up=all(each["answered"] == each["expected"] for each in rounds),
            )
        )
    return found


@dataclass(frozen=True)
class Scaling:
    """Workers with fixed shares of a core; medians over the rounds.

    Attributes:
        rate: calls a second.
        gain: `rate` over that of the first, which is one worker, in the same round.
        spread: the least and the greatest `gain` of a round.
        cpu_us: CPU time for a call.
        by_worker: the least and the greatest part of a round's calls that one worker served; None
            where that is not known.
        used_up: in what part of the periods a share was used up.
        failed: calls that were not answered with 200, in all rounds.
    """

    name: str
    rate: float
    gain: float
    spread: tuple[float, float]
    cpu_us: float
    by_worker: tuple[float, float] | None
    used_up: float
    failed: int


def scalings(found: dict[str, list[dict[str, Any]]]) -> list[Scaling]:
    """The figures of each, as `bench.scaling.measure` gives them in `found`."""
    alone = next(iter(found.values()))
    return [scaling(name, rounds, alone) for name, rounds in found.items()]


def scaling(
    name: str, rounds: Sequence[dict[str, Any]], alone: Sequence[dict[str, Any]]
) -> Scaling:
    """The figures of one, of as many rounds as the worker that is alone has."""
    gains = [rate(each) / rate(other) for each, other in zip(rounds, alone, strict=True)]
    parts = [part for each in rounds for part in each["by_worker"] or ()]
    return Scaling(
        name=name,
        rate=median([rate(each) for each in rounds]),
        gain=median(gains),
        spread=(min(gains), max(gains)),
        cpu_us=median([each["cpu_us"] for each in rounds]),
        by_worker=(min(parts), max(parts)) if parts else None,
        used_up=median([each["used_up"] for each in rounds]),
        failed=sum(each["failed"] for each in rounds),
    )
