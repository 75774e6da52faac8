"""What a decision costs at its dearest: a hundred expressions over a value of 64 KiB.

CPU time of the thread that decides, so that whatever else the machine does is left out.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
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
    """Milliseconds of a decision, by kind of expression: `first_ms`, `least_ms`, `median_ms`; and
    `ruled`, microseconds with five conditional rules and three limits."""
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
    return found


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
