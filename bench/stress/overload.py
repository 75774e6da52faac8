"""Three times as many calls as can be served: what the served ones wait, and what the others get.

Latencies count from when a call was due. Where the number of calls in flight is bounded, or what
the server is given at once, Interlock refuses the rest. Where it is Interlock's own core that does
not suffice, nothing is refused: calls wait in the kernel until they are read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import message
from bench.stress.goals import Goal
from bench.stress.rig import ALLOW_ALL, OVERLOADED, Load, Pace, Result, Rig, running
from bench.summary import median

if TYPE_CHECKING:
    from bench.load.path import Cores

TITLE = "Three times too many calls"
TIMES = 3
RECOVERY_S = 2.0
"""How long after the overload it may last until all is as it was."""
CONNECTIONS, FEWER = 3000, 1000


@dataclass(frozen=True)
class Case:
    """What bounds the calls.

    Attributes:
        title: for people.
        slots: calls that the server serves at once.
        service_s: how long each takes.
        policy: in force.
        refusal: what is in the answer of a call too many.
    """

    title: str
    slots: int
    service_s: float
    policy: bytes = ALLOW_ALL
    refusal: str = OVERLOADED


IN_FLIGHT = 1024
"""What Interlock has in flight at most, unless it is told otherwise."""
SLOTS = 64
GATE = {"counter": "c", "algorithm": "concurrency", "max": 2 * SLOTS}
CASES = {
    "in flight": Case("1,024 calls in flight", 4096, 0.8),
    "concurrency": Case(
        "server of 64 slots, limit of 128 at once",
        SLOTS,
        0.04,
        message.encode({"tools": {"slots": {"limits": [GATE]}}}),
        '"code":"limit-exceeded"',
    ),
}
DEAR_BYTES = 4096
DEAR_RULES = 100
DEAR = message.encode(
    {
        "tools": {
            "dear": {
                "deny_if": [
                    {
                        "conditions": [
                            {"path": "args.cover_letter", "op": "regex", "value": f"^x+{i}$"}
                        ]
                    }
                    for i in range(DEAR_RULES)
                ]
            }
        }
    }
)
"""Takes about a millisecond to decide, so that a core is full with few calls."""


def measure(pace: Pace, cores: Cores) -> Result:
    """Every case: its `title`, its `peak` in calls a second, and all of `told`."""
    found = {name: bounded(case, pace, cores) for name, case in CASES.items()}
    found["own core"] = unbounded(pace, cores)
    return found


def bounded(case: Case, pace: Pace, cores: Cores) -> Result:
    """Where there is a bound."""
    server = ("--slots", str(case.slots), "--service", str(case.service_s))
    with running(cores, case.policy, server=server) as rig:
        peak = min(case.slots, IN_FLIGHT) / case.service_s
        body = message.call("slots")
        rounds = [one(rig, body, peak, pace, case.refusal) for _ in range(pace.rounds)]
    return {"title": case.title, "service_s": case.service_s, "peak": peak, **told(rounds, peak)}


def unbounded(pace: Pace, cores: Cores) -> Result:
    """Where nothing but Interlock's own core bounds the calls: fewer connections than calls may be
    in flight, so that none is refused. Then with more of them: `crowded_share` of the peak."""
    body = message.call("dear", DEAR_BYTES)
    with running(cores, DEAR, server=None) as rig:
        rig.most(body, connections=32, seconds=1)
        found = rig.most(body, connections=32, seconds=2)
        peak = found["requests"] / found["seconds"]
        rounds = [one(rig, body, peak, pace, connections=FEWER)]
        crowded = rig.bear(Load(body, pace.seconds, TIMES * peak, CONNECTIONS, 1.0))
    return {
        "title": "own core",
        "service_s": 0,
        "peak": peak,
        "crowded": crowded,
        "crowded_share": crowded["served_per_s"] / peak,
        **told(rounds, peak),
    }


def one(
    rig: Rig,
    body: bytes,
    peak: float,
    pace: Pace,
    refusal: str = OVERLOADED,
    connections: int = CONNECTIONS,
) -> Result:
    """One round: `half` the peak, three times as much (`over`), and half again (`after`), which
    counts from `RECOVERY_S` on."""

    def load(rate: float, warm: float) -> Result:
        load = Load(body, pace.seconds, rate, connections, warm, refusal)
        return rig.bear(load)

    return {
        "half": load(peak / 2, 1.0),
        "over": load(TIMES * peak, 1.0),
        "after": load(peak / 2, RECOVERY_S),
    }


def told(rounds: list[Result], peak: float) -> Result:
    """For the result: the `rounds`, and over them the medians of `half_p99_us` and `over_p99_us` of
    the served calls, `over_ratio` and `after_ratio` of them to the former, `shed_p50_us` and
    `shed_p99_us`, `shed_share` and `goodput_share`; and how many calls were not `answered`."""

    def of(name: str, figure: str) -> list[float]:
        return [each[name][figure] for each in rounds]

    def waits(name: str) -> list[float]:
        return [wait(each[name]) for each in rounds]

    def ratios(name: str) -> list[float]:
        return [other / half for half, other in zip(waits("half"), waits(name), strict=True)]

    over = [each["over"] for each in rounds]
    return {
        "rounds": rounds,
        "half_p99_us": median(waits("half")),
        "over_p99_us": median(waits("over")),
        "over_ratio": median(ratios("over")),
        "after_ratio": median(ratios("after")),
        "shed_p50_us": median(of("over", "marked_p50_us")),
        "shed_p99_us": median(of("over", "marked_p99_us")),
        "shed_share": median([each["marked"] / max(each["answered"], 1) for each in over]),
        "goodput_share": median([each["served_per_s"] / peak for each in over]),
        "unanswered": sum(each["expected"] - each["answered"] for each in over),
    }


def wait(found: Result) -> float:
    """The p99 of the served calls, in microseconds; infinite if none was served."""
    return float(found["p99_us"]) if found["answered"] > found["marked"] else math.inf


def goals(found: Result) -> Iterator[Goal]:
    """What should hold of a result."""
    for case in found.values():
        title = case["title"]
        added_ms = case["over_p99_us"] / 1e3 - case["service_s"] * 1e3
        yield Goal(f"{title}: p99 of served calls, of that at half load", case["over_ratio"], 5)
        yield Goal(f"{title}: p99 of served calls, less the server's time", added_ms, 100, "ms")
        if case["shed_share"]:
            yield Goal(f"{title}: p99 of refusals", case["shed_p99_us"] / 1e3, 20, "ms")
            yield Goal(f"{title}: calls without an answer", case["unanswered"], 0)
        yield Goal(f"{title}: served, of the peak", case["goodput_share"], 0.8, least=True)
        if "crowded_share" in case:
            share = case["crowded_share"]
            yield Goal(
                f"{title}, {CONNECTIONS:,} clients: served, of the peak", share, 0.8, least=True
            )
        yield Goal(f"{title}: p99 from 2 s after, of that before", case["after_ratio"], 2)
