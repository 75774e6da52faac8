"""Names and arguments at which policies can differ, out of what the policies themselves say.

Every bound brings the values on both sides of it, every pattern names that it matches, and every
regular expression strings that it matches. What these are good for is for the engine to say.
"""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import rstr

if TYPE_CHECKING:
    from gateway.author.document import Node

ABSENT = object()
"""Instead of a value: the argument is not there."""
MATCHES = 3
"""Strings that are made for each regular expression."""
MOST_PATTERNS = 60
"""Patterns that are joined with each other; more would be too many pairs."""
OTHER_TOOL = "some_other_tool"
METHODS = ("resources/read", "resources/subscribe", "prompts/get", "tasks/get", "some/method")


def tool_names(roots: Iterable[Node]) -> list[str]:
    """Tools of which any of the policies speaks, and one of which none does."""
    written: dict[str, None] = {}
    for root in roots:
        for name in (*(root.value.get("tools") or {}), *(root.value.get("hide") or [])):
            written[name] = None
    patterns = [name for name in written if "*" in name]
    names = dict.fromkeys(name for name in written if "*" not in name)
    for pattern in patterns:
        names |= dict.fromkeys(pattern.replace("*", filler) for filler in ("x", ""))
    for one, other in itertools.permutations(patterns[:MOST_PATTERNS], 2):
        names[one.replace("*", "x").rstrip("x") + other.replace("*", "x").lstrip("x")] = None
        names[one.replace("*", other.replace("*", "x"))] = None
    # Servers that ignore case are why names that differ by it are judged as well.
    cased = [name.swapcase() for name in names][:MOST_PATTERNS]
    return [name for name in dict.fromkeys([*names, *cased, OTHER_TOOL]) if name]


def method_names(roots: Iterable[Node]) -> list[str]:
    """Methods likewise; all that a policy speaks of, and some that are closed by default."""
    names = dict.fromkeys(METHODS)
    for root in roots:
        for name in root.value.get("methods") or {}:
            names |= dict.fromkeys(name.replace("*", filler) for filler in ("x", ""))
    return [name for name in names if name]


def candidates(entries: Iterable[dict[str, Any]]) -> dict[str, list[Any]]:
    """Values to be tried, by the path of the argument; `ABSENT` is the first of each."""
    found: dict[str, list[Any]] = {}
    for entry in entries:
        for condition in conditions(entry):
            values = found.setdefault(condition["path"], [ABSENT])
            values += _around(condition["op"], condition["value"])
        for limit in entry.get("limits") or []:
            for key in ("cost", "increment_from"):
                if isinstance(limit.get(key), str):
                    most = limit["max"]
                    found.setdefault(limit[key], [ABSENT]).extend([1, most, 0, *_beside(most), -1])
            if "key" in limit:
                found.setdefault(limit["key"], [ABSENT]).extend(["a", "b", ["a"]])
    return {path: _distinct(values) for path, values in found.items()}


def conditions(entry: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every condition of every rule of an entry."""
    for kind in ("deny_if", "require", "require_approval"):
        for rule in entry.get(kind) or []:
            yield from rule.get("conditions") or []


def _around(op: str, value: Any) -> Iterator[Any]:
    """Values for which a condition holds, does not, and cannot be decided."""
    match op:
        case "exists":
            yield from ("a", 1, None)
        case "in" | "not_in":
            yield from value[:8]
            yield from _beside(value[0] if value else "a")
        case "regex":
            yield from _matches(value)
            yield from ("", "!", 5)
        case "contains":
            yield from (value, [value], [], "", {})
            if isinstance(value, str):
                yield f"a{value}b"
        case _:
            yield value
            yield from _beside(value)


def _beside(value: Any) -> Iterator[Any]:
    """What is next to a value, and what has another type."""
    if isinstance(value, bool) or value is None:
        yield from (not value, "a", 1)
    elif isinstance(value, int | float):
        exact = Decimal(str(value))
        unit = Decimal(1).scaleb(min(0, int(exact.as_tuple().exponent)))
        for step in (unit, -unit, Decimal("0.01"), Decimal("-0.01")):
            yield _plain(exact + step)
        yield str(value)
    else:
        yield from (f"{value}a", f"{value}0"[1:], "", 5)


def _plain(number: Decimal) -> int | float:
    return int(number) if number == number.to_integral_value() else float(number)


def _matches(pattern: str) -> list[str]:
    """Strings that a regular expression matches, if Python can read it too."""
    maker = rstr.Rstr(random.Random(0))
    try:
        return sorted({maker.xeger(pattern)[:200] for _ in range(MATCHES)}, key=len)
    except (re.error, ValueError, KeyError, NotImplementedError):
        return []


def _distinct(values: Iterable[Any]) -> list[Any]:
    found: dict[str, Any] = {}
    for value in values:
        found.setdefault("absent" if value is ABSENT else json.dumps(value, sort_keys=True), value)
    return list(found.values())


def arguments(chosen: dict[str, Any]) -> Any:
    """The arguments that have these values at these paths; where paths collide, the later wins."""
    root: dict[str, Any] = {}
    for path, value in chosen.items():
        if value is not ABSENT and path != "args":
            _put(root, _steps(path), value)
    return root


def _steps(path: str) -> list[str | int]:
    """`args.a[0].b` as `["a", 0, "b"]`; any element is the first."""
    found: list[str | int] = []
    for name, index in re.findall(r"\.([^.\[\]]+)|\[(\d+|\*)\]", path):
        found.append(name if name else (0 if index == "*" else min(int(index), 8)))
    return found


def _put(root: Any, steps: list[str | int], value: Any) -> None:
    here = root
    for step, after in itertools.zip_longest(steps, steps[1:]):
        empty: Any = value if after is None else ([] if isinstance(after, int) else {})
        if isinstance(step, int):
            if not isinstance(here, list):
                return
            here.extend([None] * (step + 1 - len(here)))
            there = here[step]
        else:
            if not isinstance(here, dict):
                return
            there = here.get(step)
        keep = after is not None and isinstance(there, list if isinstance(after, int) else dict)
        if not keep:
            here[step] = empty
        here = here[step]
