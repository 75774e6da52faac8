"""Conditions over a call's arguments, in three values: True, False, and None for "cannot be said".

INVARIANT: an answer is True or False only where every faithful reader of the arguments would agree.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from model.envelope import fold
from model.reader import Number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from fractions import Fraction

ABSENT: Any = object()
OPAQUE: Any = object()
REGEX_BYTES = 64 * 1024
NEGATED = {"neq": "eq", "not_in": "in"}

Truth = bool | None


def both(truths: Iterable[Truth]) -> Truth:
    """AND: one False settles it, whatever the others are."""
    seen = list(truths)
    if False in seen:
        return False
    return None if None in seen else True


def either(truths: Iterable[Truth]) -> Truth:
    """OR: one True settles it, whatever the others are."""
    seen = list(truths)
    if True in seen:
        return True
    return None if None in seen else False


def negate(truth: Truth) -> Truth:
    return None if truth is None else not truth


def steps(path: str) -> list[str | int]:
    """`args.a[0][*]` as `["a", 0, "*"]`, `"*"` standing for any element."""
    found: list[str | int] = []
    for name, index in re.findall(r"\.([^.\[\]]+)|\[(\*|[0-9]+)\]", path.removeprefix("args")):
        found.append("." + name if name else "*" if index == "*" else int(index))
    return found


def step(value: Any, where: str | int) -> Any:
    """The member or element, ABSENT where there is none.

    Nothing is in null. Whether something is in a value of any other wrong type cannot be said: a
    server may read a text that holds JSON. Nor can be said which member is meant where there is one
    that differs by case only: a server may ignore it.
    """
    if value is ABSENT or value is OPAQUE:
        return value
    if value is None:
        return ABSENT
    if isinstance(where, int) and isinstance(value, list):
        return value[where] if where < len(value) else ABSENT
    if isinstance(where, str) and isinstance(value, dict):
        name = where[1:]
        if any(key != name and fold(key) == fold(name) for key in value):
            return OPAQUE
        return value.get(name, ABSENT)
    return OPAQUE


def find(path: str, root: Any) -> Any:
    """What a path without `[*]` leads to."""
    value = ABSENT if root is None else root
    for where in steps(path):
        value = step(value, where)
    return value


def holds(condition: dict[str, Any], root: Any) -> Truth:
    """Whether `{"path", "op", "value"}` holds of the arguments."""
    start = ABSENT if root is None else root
    op, operand = str(condition["op"]), condition["value"]
    return walk(steps(condition["path"]), start, lambda value: compare(op, value, operand))


def walk(path: list[str | int], value: Any, test: Callable[[Any], Truth]) -> Truth:
    if not path:
        return test(value)
    if path[0] == "*":
        if isinstance(value, list) and value:
            return either(walk(path[1:], element, test) for element in value)
        return walk(path[1:], step(value, 0), test)
    return walk(path[1:], step(value, path[0]), test)


def compare(op: str, value: Any, operand: Any) -> Truth:
    """One operator on one value."""
    if value is OPAQUE:
        return None
    if op == "exists":
        return (value is not ABSENT) is operand
    if value is ABSENT:
        return op in NEGATED
    if op in NEGATED:
        return negate(compare(NEGATED[op], value, operand))
    if op == "eq":
        return equal(value, operand)
    if op == "in":
        return either(equal(value, each) for each in operand)
    if op == "contains":
        return contains(value, operand)
    if op == "regex":
        if not isinstance(value, str) or len(value.encode()) > REGEX_BYTES:
            return None
        return re.search(whole_text_anchors(operand), value) is not None
    return ordered(op, value, operand)


def whole_text_anchors(expression: str) -> str:
    """`$` and `\\z` mean the very end; Python's `$` would also do before a last line break."""
    pieces = re.compile(r"\\.|\[(?:\\.|[^\]])+\]|\$", re.DOTALL)
    ends = {"$": r"\Z", r"\z": r"\Z"}
    return pieces.sub(lambda piece: ends.get(piece[0], piece[0]), expression)


def equal(left: Any, right: Any) -> Truth:
    """Equality of two scalars of one JSON type."""
    if isinstance(left, Number) and isinstance(right, Number):
        values = (left.exact(), right.exact())
        return None if None in values else values[0] == values[1]
    for kind in (str, bool, type(None)):
        if isinstance(left, kind) and isinstance(right, kind):
            return left == right
    return None


def contains(value: Any, operand: Any) -> Truth:
    if isinstance(value, str):
        return operand in value if isinstance(operand, str) else None
    if isinstance(value, list):
        return either(equal(each, operand) for each in value)
    return None


def ordered(op: str, left: Any, right: Any) -> Truth:
    """Order of two numbers, or of two strings by code point."""
    low: Fraction | str | None
    high: Fraction | str | None
    if isinstance(left, Number) and isinstance(right, Number):
        low, high = left.exact(), right.exact()
    elif isinstance(left, str) and isinstance(right, str):
        low, high = str(left), str(right)
    else:
        return None
    if low is None or high is None:
        return None
    outcomes = {"lt": low < high, "lte": low <= high, "gt": low > high, "gte": low >= high}  # type: ignore[operator]
    return outcomes[op]
