"""A policy document as its author wrote it, read into the few questions a decision asks.

Documents are taken to be valid: finding what is wrong with one is another test's subject.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from model.limit import (
    SECOND,
    SPANS,
    SUB_WINDOWS,
    Bucket,
    Concurrency,
    Fixed,
    Sliding,
    State,
    ceil_div,
)
from model.reader import Bounds, Number, read

UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}

COUNT_BITS = ((1, 26), (10, 27), (60, 31), (3600, 33), (86_400, 39))
"""A count over windows narrower than so many seconds has so many bits; wider ones have 43."""

STAGES = ("deny_if", "require", "require_approval")


def pointer(*parts: str | int) -> str:
    """An RFC 6901 pointer."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def matches(pattern: str, name: str) -> bool:
    """`*` is any run of characters, also none; everything else is itself."""
    reached = {0}  # how much of the name the pattern so far can have used up
    for char in pattern:
        if char == "*":
            reached = set(range(min(reached), len(name) + 1)) if reached else reached
        else:
            reached = {at + 1 for at in reached if name[at : at + 1] == char}
    return len(name) in reached


@dataclass(frozen=True)
class Rule:
    """Conditions that must all hold for the rule to hold."""

    pointer: str
    conditions: list[dict[str, Any]]
    shadow: bool


@dataclass(frozen=True)
class Limit:
    """One place that names a quota."""

    pointer: str
    counter: str
    scope: str
    algorithm: str
    window: str | None
    max: Fraction
    burst: int | None
    cost: Fraction | str
    key: str | None
    scale: int | None
    shadow: bool

    def span(self) -> int | None:
        """Nanoseconds; None for the month."""
        if self.window is None or self.window == "month":
            return None
        if self.window in SPANS:
            return SPANS[self.window]
        return int(self.window[:-1]) * UNIT_SECONDS[self.window[-1]] * SECOND

    def identity(self) -> tuple[object, ...]:
        """Limits that agree in these share one quota."""
        span = "month" if self.window == "month" else self.span()
        return (self.counter, span, self.scope, self.key)

    def capacity(self) -> int:
        """The most units one of its counts can hold."""
        span = self.span()
        if span is None or self.algorithm == "token_bucket":
            return (1 << 43) - 1
        width = ceil_div(span, SUB_WINDOWS) if self.algorithm == "sliding_window" else span
        for seconds, bits in COUNT_BITS:
            if width < seconds * SECOND:
                return (1 << bits) - 1
        return (1 << 43) - 1

    def own_scale(self) -> int:
        """Decimals that its cost is counted in, were it the only place of its quota."""
        if isinstance(self.cost, Fraction):
            return decimals(self.cost)
        if self.scale is not None:
            return self.scale
        return next(s for s in (4, 2, 0) if s == 0 or self.max * 10**s <= self.capacity())

    def fresh(self, most: int) -> State:
        """The count of a quota nobody has used yet; `most` is `max` in units."""
        span = self.span()
        if self.algorithm == "concurrency":
            return Concurrency()
        if self.algorithm == "fixed_window":
            return Fixed(span)
        assert span is not None
        if self.algorithm == "sliding_window":
            return Sliding(span)
        burst = max(1, most // 2) if self.burst is None else self.burst
        return Bucket(interval=ceil_div(span, most - burst + 1), burst=burst)


@dataclass(frozen=True)
class Entry:
    """What a document says of a tool, a pattern of tools, or a method."""

    pointer: str
    action: str
    shadow: bool
    rules: dict[str, list[Rule]]
    limits: list[Limit]


def decimals(value: Fraction) -> int:
    """Digits after the point."""
    return next(n for n in range(20) if (value * 10**n).denominator == 1)


class Document:
    """One policy."""

    def __init__(self, text: str) -> None:
        self.raw = read(text.encode(), Bounds(keys=100_000))
        self.default = str(self.raw["default"])
        self.shadow = self.raw.get("mode") == "shadow"
        self.hide = [str(name) for name in self.raw.get("hide", [])]
        self.tools = {
            str(name): self.entry(pointer("tools", name), str(name), body)
            for name, body in self.raw.get("tools", {}).items()
        }
        self.methods = {
            str(name): self.entry(pointer("methods", name), str(name), body)
            for name, body in self.raw.get("methods", {}).items()
        }
        self.all_tools = self.entry("/all_tools", "", self.raw.get("all_tools", {}))
        scales: dict[tuple[object, ...], int] = {}
        for entry in (self.all_tools, *self.tools.values(), *self.methods.values()):
            for limit in entry.limits:
                known = scales.setdefault(limit.identity(), limit.own_scale())
                scales[limit.identity()] = min(known, limit.own_scale())
        self.scales = scales

    def entry(self, where: str, name: str, body: dict[str, Any]) -> Entry:
        shadow = self.shadow or body.get("mode") == "shadow"
        rules = {
            stage: [
                Rule(
                    f"{where}/{stage}/{i}",
                    list(rule.get("conditions", [])),
                    shadow or rule.get("mode") == "shadow",
                )
                for i, rule in enumerate(body.get(stage, []))
            ]
            for stage in STAGES
        }
        limits = [
            self.limit(f"{where}/limits/{i}", each, shadow)
            for i, each in enumerate(body.get("limits", []))
        ]
        if "rate_limit" in body:
            limits.append(self.rate(f"{where}/rate_limit", name, body["rate_limit"], shadow))
        return Entry(where, str(body.get("action", "allow")), shadow, rules, limits)

    def limit(self, where: str, body: dict[str, Any], shadow: bool) -> Limit:
        cost = body.get("cost", body.get("increment_from", Number("1")))
        algorithm = str(body.get("algorithm", "fixed_window"))
        return Limit(
            pointer=where,
            counter=str(body["counter"]),
            scope=str(body.get("scope", "grant")),
            algorithm=algorithm,
            window=str(body["window"]) if "window" in body else None,
            max=body["max"].value(),
            burst=int(body["burst"].value()) if "burst" in body else None,
            cost=cost.value() if isinstance(cost, Number) else str(cost),
            key=str(body["key"]) if "key" in body else None,
            scale=int(body["scale"].value()) if "scale" in body else None,
            shadow=shadow or body.get("mode") == "shadow",
        )

    def rate(self, where: str, name: str, body: Any, shadow: bool) -> Limit:
        """The short form: `{"max": 10, "window": 60}`, or `"10/minute"`; counted by session."""
        if isinstance(body, str):
            most, _, window = body.partition("/")
        else:
            most, window = body["max"].text, body["window"].text + "s"
        return Limit(
            where, f"rate_limit {name}", "session", "fixed_window", window, Fraction(most),
            None, Fraction(1), None, None, shadow,
        )  # fmt: skip

    def scale(self, limit: Limit) -> int:
        """Decimals that the limit's quota is counted in."""
        return self.scales[limit.identity()]

    def hidden(self, tool: str) -> str | None:
        """Where the document hides the tool."""
        places = (i for i, pattern in enumerate(self.hide) if matches(pattern, tool))
        return next((pointer("hide", i) for i in places), None)

    def entries(self, table: dict[str, Entry], name: str) -> list[Entry]:
        """Every entry that names it, in document order."""
        return [entry for pattern, entry in table.items() if matches(pattern, name)]


def text_of(policy: Any) -> str:
    """A document given as data, or as JSON text, as JSON text."""
    return policy if isinstance(policy, str) else json.dumps(policy, ensure_ascii=False)
