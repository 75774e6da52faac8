"""How the cost of a call grows when something around it does, by powers of ten.

The time of a decision is the least of many rounds, to which a busy machine only adds; the cost of a
call on the path, by connections, is the proxy's CPU time.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

from bench import message
from bench.load import peers
from bench.load.path import Cores, Scenario, measure
from bench.summary import median
from gateway._core import Caller, Engine, LimitTable, PolicySet

BATCH = 100
SPREAD = 10_000
CALLER = Caller("bench", server="upwork")
Curve = list[tuple[int, float]]
"""A cost in microseconds by the size of what grows."""


def least_us(work: Callable[[], object], *, seconds: float) -> float:
    """Microseconds of the quickest of many batches, per piece of work."""
    end = time.perf_counter() + seconds
    least = float("inf")
    while (begun := time.perf_counter()) < end:
        for _ in range(BATCH):
            work()
        least = min(least, time.perf_counter() - begun)
    return least / BATCH * 1e6


def decisions(engine: Engine, calls: Sequence[tuple[Caller, bytes]]) -> Callable[[], object]:
    """Decides each call in turn.

    Raises:
        RuntimeError: one is not allowed.
    """
    if not all(engine.decide(caller, body).allowed for caller, body in calls):
        raise RuntimeError("a call was refused that was to be timed")
    turn = cycle(calls)
    return lambda: engine.decide(*next(turn))


def engine(policy: bytes, slots: int = 1 << 15) -> Engine:
    """An engine of its own table."""
    return Engine(PolicySet.parse(policy, name="bench.json"), LimitTable(slots))


def by_tools(size: int) -> Callable[[], object]:
    """Tools in the policy; the last one is called."""
    return decisions(engine(message.policy(size)), [(CALLER, message.call(f"tool_{size - 1}"))])


def by_callers(size: int) -> Callable[[], object]:
    """Callers that take turns, each with three quotas of its own."""
    subject = engine(message.policy(1), slots=8 * size)
    body = message.call("tool_0")
    callers = [Caller(f"grant {i}", server="upwork") for i in range(size)]
    random.Random(0).shuffle(callers)
    return decisions(subject, [(caller, body) for caller in callers])


def by_quotas(size: int) -> Callable[[], object]:
    """Live quotas in the table, of which some thousands are charged in no order."""
    subject = engine(message.keyed(), slots=2 * size)
    for user in range(size):
        subject.decide(CALLER, message.call("tool_0", user=user))
    chosen = random.Random(0).choices(range(size), k=SPREAD)
    return decisions(subject, [(CALLER, message.call("tool_0", user=user)) for user in chosen])


def by_payload(size: int) -> Callable[[], object]:
    """Bytes of the body."""
    return decisions(engine(message.policy(100)), [(CALLER, message.call("tool_99", size))])


DECISIONS = {
    "tools in the policy": (by_tools, [1, 10, 100, 1_000, 10_000]),
    "callers": (by_callers, [1, 10, 100, 1_000, 10_000, 100_000]),
    "live quotas": (by_quotas, [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000]),
    "bytes of the body": (by_payload, [330, 1_000, 10_000, 100_000, 1_000_000]),
}
CONNECTIONS = [1, 10, 100, 1_000]


def curves(cores: Cores, *, seconds: float, most: int) -> dict[str, dict[str, Curve]]:
    """Every curve, by what grows and then by what the cost is of.

    Args:
        seconds: that each point of a curve over decisions gets.
        most: leave out points of a size beyond.
    """
    found: dict[str, dict[str, Curve]] = {}
    for title, (make, sizes) in DECISIONS.items():
        points = [(size, least_us(make(size), seconds=seconds)) for size in sizes if size <= most]
        found[title] = {"a decision": points}
    found["connections"] = by_connections(cores)
    return found


def by_connections(cores: Cores) -> dict[str, Curve]:
    """The proxy's CPU time of a call, by connections that are all kept busy."""

    def proxies(policy: bytes) -> dict[str, peers.Peer]:
        return {
            name: peer
            for name, peer in peers.peers(policy).items()
            if name in ("nginx", "interlock")
        }

    found: dict[str, Curve] = {"nginx": [], "interlock": []}
    for connections in CONNECTIONS:
        load = Scenario("", connections=connections, proxies=proxies)
        result: dict[str, Any] = measure(load, cores, rounds=3, seconds=1)
        for name, curve in found.items():
            rounds = result["proxies"][name]["rounds"]
            curve.append((connections, median([each["cpu_us"] for each in rounds])))
    return found
