"""What a decision costs at its dearest: a hundred expressions over a value of 64 KiB, and a limit
table without a free slot.

CPU time of the thread that decides, so that whatever else the machine does is left out.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from statistics import quantiles
from typing import TYPE_CHECKING

from bench import message
from bench.stress.goals import Goal
from bench.summary import median
from gateway import Caller, Engine, LimitTable, PolicySet

if TYPE_CHECKING:
    from bench.load.path import Cores
    from bench.stress.rig import Pace, Result

TITLE = "The worst policies"
VALUE_BYTES = 64 * 1024
"""As long as an expression looks at."""
RULES = 100
BATCH = 1000
CALLER = Caller("stress", server="s")
SLOTS, QUOTAS = 16_384, 20_000
"""Places of a limit table, and quotas that ask for one."""
EXPRESSIONS = {
    "anchored": ("^[a-z]+{}$", "a"),
    "searched": ("secret[-_ ]?{}", "secre"),
    "case folded": ("(?i)password{}", "PASSWOR"),
    "alternatives": ("(?:foo|bar|baz)+{}$", "foobar"),
    "counted": ("(?:[a-z]{{1,8}} ){{4}}{}", "abcdefgh "),
    "many states": ("[ab]*a[ab]{{20}}{}c", "ab"),
}
"""An expression in which a number makes each rule another one, and what its value repeats."""


def policy(expression: str, rules: int = RULES) -> bytes:
    """A policy that denies a call if one of so many expressions is found in its argument."""
    conditions = [
        {"conditions": [{"path": "args.value", "op": "regex", "value": expression.format(i)}]}
        for i in range(rules)
    ]
    return message.encode({"tools": {"t": {"deny_if": conditions}}})


def call(part: str, size: int = VALUE_BYTES) -> bytes:
    """A call whose argument is so long."""
    params = {"name": "t", "arguments": {"value": (part * size)[:size]}}
    document = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return json.dumps(document).encode()


def engine(document: bytes) -> Engine:
    """That policy in force."""
    return Engine(PolicySet.parse(document, name="worst.json"), LimitTable(1024))


def measure(pace: Pace, _cores: Cores) -> Result:
    """Milliseconds of a decision, by kind of expression: `first_ms`, `least_ms`, `median_ms`;
    `ruled`, microseconds with five conditional rules and three limits; and those of a `full`
    table."""
    found: Result = {}
    for name, (expression, part) in EXPRESSIONS.items():
        subject, body = engine(policy(expression)), call(part)
        times = [seconds(subject, body) * 1e3 for _ in range(3 * pace.rounds + 1)]
        found[name] = {
            "first_ms": times[0],
            "least_ms": min(times),
            "median_ms": median(times),
        }
    subject, body = engine(message.ruled(5, 3)), message.call("tool_0")
    batches = [seconds(subject, body, BATCH) * 1e6 for _ in range(20 * pace.rounds)]
    found["ruled"] = {"least_us": min(batches), "median_us": median(batches)}
    found["full"] = full_table(rounds=2 * pace.rounds)
    return found


def full_table(rounds: int) -> Result:
    """More quotas than a table has slots, all live, and each asked for again and again.

    Returns:
        `admitted` and `full`, how many quotas found a slot and how many did not; `forgiven`, how
        many calls beyond a `max` of one passed after that; and microseconds of a decision of a
        quota that has a slot (`known_p50_us`, `known_p99_us`) and of one that finds none
        (`new_p50_us`, `new_p99_us`).
    """
    limit = {"counter": "c", "window": "month", "max": 1, "key": "args.key"}
    document = message.encode({"tools": {"t": {"limits": [limit]}}})
    subject = Engine(PolicySet.parse(document, name="full.json"), LimitTable(SLOTS))
    bodies = [message.call("t", key=f"key {number:05}") for number in range(QUOTAS)]
    codes = [subject.decide(CALLER, body).code for body in bodies]
    taken: dict[str, list[float]] = {"allowed": [], "table-full": []}
    forgiven = 0
    for _ in range(rounds):
        for body, first in zip(bodies, codes, strict=True):
            begun = time.thread_time_ns()
            decision = subject.decide(CALLER, body)
            taken[first].append((time.thread_time_ns() - begun) / 1e3)
            forgiven += decision.allowed
    return {
        "admitted": codes.count("allowed"),
        "full": codes.count("table-full"),
        "forgiven": forgiven,
        **{
            f"{name}_p{percent}_us": quantiles(taken[code], n=100)[percent - 1]
            for name, code in (("known", "allowed"), ("new", "table-full"))
            for percent in (50, 99)
        },
    }


def seconds(subject: Engine, body: bytes, times: int = 1) -> float:
    """CPU time of one decision, of so many.

    Raises:
        RuntimeError: it was refused, so that not all of it was looked at.
    """
    begun = time.thread_time()
    for _ in range(times):
        decision = subject.decide(CALLER, body)
    taken = time.thread_time() - begun
    if not decision.allowed:
        raise RuntimeError(f"the call was refused: {decision.code}")
    return taken / times


def goals(found: Result) -> Iterator[Goal]:
    """What should hold of a result."""
    dearest = max(EXPRESSIONS, key=lambda name: float(found[name]["median_ms"]))
    title = f"decision, 100 expressions over 64 KiB ({dearest})"
    yield Goal(title, found[dearest]["median_ms"], 20, "ms")
    yield Goal("decision, 5 rules and 3 limits", found["ruled"]["median_us"], 4, "µs")
    if full := found.get("full"):  # results of before have none
        title = f"{QUOTAS:,} quotas in a table of {SLOTS:,}"
        yield Goal(f"{title}: live counts that were forgotten", full["forgiven"], 0)
        yield Goal(f"{title}: p99 of a decision with a slot", full["known_p99_us"], 20, "µs")
        yield Goal(f"{title}: p99 of a decision without", full["new_p99_us"], 20, "µs")
