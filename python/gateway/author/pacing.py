"""Sequences of calls at which limits can differ: how many, how fast, and whose."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from gateway.author.calls import instant

SECOND = 1_000_000_000
BEGIN_NS = instant("2026-03-02T00:00:00Z") or 0
"""A Monday, at which every window but the month begins."""
WHO = ("ann", "default", "s1")
OTHERS = {
    "grant": ("bob", "default", "s1"),
    "session": ("ann", "default", "s2"),
    "server": ("ann", "other", "s1"),
}
MOST_CALLS = 1_000
"""Calls that are made at most to use up a limit."""
WINDOWS_S = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800}
MONTH_S = 31 * 86_400
UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True, slots=True)
class Beat:
    """One call of a sequence.

    Attributes:
        arguments: what is laid over the arguments that the rules allow.
        stays: the call does not end.
    """

    at_ns: int
    who: tuple[str, str, str] = WHO
    arguments: dict[str, Any] = field(default_factory=dict)
    stays: bool = False


def written(entry: dict[str, Any], pointer: str) -> list[dict[str, Any]]:
    """The limits of an entry, without what only people read; the short form written out."""
    said = ("on_deny", "description")
    limits = [
        {key: value for key, value in limit.items() if key not in said}
        for limit in entry.get("limits") or []
    ]
    rate = entry.get("rate_limit")
    if rate is not None:
        if isinstance(rate, str):
            most, _, window = rate.partition("/")
            rate = {"max": float(most), "window": window}
        window = rate["window"]
        limits.append(
            {
                "counter": f"{pointer} rate",
                "max": rate["max"],
                "window": window if isinstance(window, str) else f"{window}s",
                "scope": "session",
            }
        )
    # In shadow mode nothing is refused, whatever stands around a limit.
    return limits if entry.get("mode") != "shadow" else []


def window_s(limit: dict[str, Any]) -> int:
    """How long a limit's window is, seconds; the longest month for `month`."""
    window = limit.get("window")
    if window is None:
        return 1
    if window == "month":
        return MONTH_S
    if window in WINDOWS_S:
        return WINDOWS_S[window]
    found = re.fullmatch(r"([0-9]+)([smhdw])", window)
    assert found is not None
    return int(found[1]) * UNITS_S[found[2]]


def quota(limit: dict[str, Any]) -> str:
    """What is counted: limits that say the same of it share one count."""
    counted = (limit["counter"], window_s(limit), limit.get("scope", "grant"), limit.get("key"))
    return repr(counted)


def stories(limits: Iterable[dict[str, Any]], base: dict[str, Any]) -> Iterator[list[Beat]]:
    """Sequences for the limits that apply to a call, of both policies together."""
    limits = list(limits)
    count = min(MOST_CALLS, max(calls_of(limit, base) for limit in limits) + 1)
    windows = sorted({window_s(limit) for limit in limits})
    begin = BEGIN_NS
    yield [Beat(begin) for _ in range(count)]
    if any(limit.get("algorithm") == "concurrency" for limit in limits):
        yield [Beat(begin, stays=True) for _ in range(count)]
    for who in OTHERS.values():
        yield [Beat(begin, one) for _ in range(count) for one in (WHO, who)]
    yield from _costs(limits, begin, base)
    for window in windows:
        whole, step = window * SECOND, window * SECOND // 8
        # All at once, and again whenever a piece of the window has passed, until two are over.
        yield [Beat(begin + part * step) for part in range(18) for _ in range(count)]
        # Around the boundary, which a fixed window forgets everything at.
        near = begin + whole - SECOND // 2
        yield [Beat(at) for at in (near, near + SECOND) for _ in range(count)]
        for limit in limits:
            if window_s(limit) == window and limit["max"]:
                pace = int(whole / max(1, min(limit["max"], MOST_CALLS)))
                yield [Beat(begin + number * pace) for number in range(2 * count)]


def argument_names(limits: Iterable[dict[str, Any]]) -> set[str]:
    """Arguments that say what a call costs, or whose quota it is."""
    paths = (limit.get(key) for limit in limits for key in ("cost", "increment_from", "key"))
    return {name for name in map(_name, paths) if name is not None}


def calls_of(limit: dict[str, Any], base: dict[str, Any]) -> int:
    """How many calls use up a limit."""
    cost = limit.get("cost", limit.get("increment_from", 1))
    if isinstance(cost, str):
        cost = base.get(_name(cost) or "", 1)
    if not isinstance(cost, int | float) or cost <= 0:
        return 1
    return min(MOST_CALLS, int(limit["max"] / cost))


def _costs(limits: list[dict[str, Any]], begin: int, base: dict[str, Any]) -> Iterator[list[Beat]]:
    """Calls that differ in the arguments which say what they cost, or whose quota it is."""
    for limit in limits:
        cost, key = limit.get("cost", limit.get("increment_from")), limit.get("key")
        name = _name(cost)
        if name is not None:
            most = limit["max"]
            for value in (most, most + 1, most / 2, 1, 0.5, 0.0001, -1, "1"):
                amount = int(value) if isinstance(value, float) and value.is_integer() else value
                yield [Beat(begin, arguments={name: amount}) for _ in range(3)]
            yield [Beat(begin)]
        name = _name(key)
        if name is not None:
            values = ("a", "b", "c")
            count = calls_of(limit, base) + 1
            yield [Beat(begin, arguments={name: one}) for _ in range(count) for one in values]
            yield [Beat(begin, arguments={name: ["a"]})]


def _name(path: Any) -> str | None:
    """The argument itself that a path names; none for what is inside of one."""
    found = re.fullmatch(r"args\.([^.\[\]]+)", path) if isinstance(path, str) else None
    return None if found is None else found[1]
