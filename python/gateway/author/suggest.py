"""Limits that calls would have kept: the most that was made in a window, and a margin."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping
from typing import Any

WINDOWS_S = {"minute": 60, "hour": 3_600, "day": 86_400}


def peak(at_ns: Iterable[int], window_ns: int) -> int:
    """The most calls in any interval as long as a window, wherever it begins.

    No window of the calendar can have had more.
    """
    instants = sorted(at_ns)
    most, first = 0, 0
    for last, now in enumerate(instants):
        while instants[first] <= now - window_ns:
            first += 1
        most = max(most, last - first + 1)
    return most


def suggest(peaks: Mapping[tuple[str, str, str], array[int]], margin: float) -> dict[str, Any]:
    """A policy that admits the tools that were called, each as often as it was and no oftener.

    Args:
        peaks: when calls were made, by grant, server and tool.
        margin: what a limit is above the largest peak of any grant; 1 is none.

    Windows that are longer than the time from the first call to the last are left out, but for
    the minute: what happens in them was not seen.
    """
    instants = [now for at_ns in peaks.values() for now in (min(at_ns), max(at_ns))]
    seen_s = (max(instants) - min(instants)) / 1e9 if instants else 0
    windows = {name: s for name, s in WINDOWS_S.items() if s <= max(60, seen_s)}
    tools: dict[str, dict[str, int]] = {}
    for (_, _, tool), at_ns in peaks.items():
        most = tools.setdefault(tool, dict.fromkeys(windows, 0))
        for window, seconds in windows.items():
            most[window] = max(most[window], peak(at_ns, seconds * 1_000_000_000))
    entries = {tool: {"limits": _limits(tool, tools[tool], margin)} for tool in sorted(tools)}
    return {"version": "1", "default": "deny", "tools": entries}


def _limits(tool: str, most: Mapping[str, int], margin: float) -> list[dict[str, Any]]:
    """A limit for each window that says more than the one before."""
    limits: list[dict[str, Any]] = []
    bound = math.inf
    for window, largest in most.items():
        seconds = WINDOWS_S[window]
        value = math.ceil(round(largest * margin, 9))
        if value >= bound * seconds:
            continue
        bound = value / seconds
        limits.append(
            {
                "counter": f"{tool}_{window}",
                "window": window,
                "max": value,
                "scope": "grant",
                "description": f"the most that one grant made was {largest}",
            }
        )
    return limits
