"""What a tool's `inputSchema` says of the argument at a path.

INVARIANT: a schema that leaves room for anything makes nothing wrong: only what it plainly lacks is
said to be missing. However a schema refers to itself, looking ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\*)\]")
_MOST_STEPS = 1_000
_LONGEST_INDEX = 6
_REFERS = frozenset({"$ref", "anyOf", "oneOf", "allOf"})
_KINDS = frozenset({"string", "number", "boolean", "null", "array", "object"})


@dataclass(frozen=True, slots=True)
class Argument:
    """What is known of an argument.

    Attributes:
        found: whether the schema has it; True also where it leaves room for anything.
        known: whether the schema speaks of it, so that the rest means something.
        kinds: JSON types that it may have; all where the schema does not say.
        required: whether every call must have it.
        default: what the server says it takes where it is left out, and whether it says so.
        siblings: names that stand where it should.
    """

    found: bool
    known: bool = False
    kinds: frozenset[str] = _KINDS
    required: bool = False
    default: tuple[Any, ...] = ()
    siblings: tuple[str, ...] = field(default=())


def steps(path: str) -> list[str | int]:
    """The steps of a path behind `args`: names, and 0 for any element."""
    return [name or 0 for name, _ in _STEP.findall(path.removeprefix("args"))]


def argument(schema: Mapping[str, Any], path: str) -> Argument:
    """What the schema of a tool says of the argument at a path such as `args.a.b[0]`."""
    current = list(_branches(schema, schema))
    required = True
    for step in steps(path):
        found: list[Any] = []
        names: list[str] = []
        demanded = False
        open_ = not current
        for one in current:
            inner, keys, leaves_open = _inside(one, step)
            found += inner
            names += keys
            open_ |= leaves_open
            demanded |= _demands(one, step)
        if not found:
            return Argument(found=open_, siblings=tuple(dict.fromkeys(names)))
        required &= demanded or isinstance(step, int)
        current = list(islice((b for one in found for b in _branches(one, schema)), _MOST_STEPS))
    defaults = tuple(one["default"] for one in current if "default" in one)
    return Argument(True, True, _kinds(current), required, defaults[:1])


def _demands(one: Mapping[str, Any], step: str | int) -> bool:
    required = one.get("required")
    return isinstance(required, list) and step in required


def _inside(one: Mapping[str, Any], step: str | int) -> tuple[list[Any], list[str], bool]:
    """Schemas of a step, the names that there are instead, and whether anything may stand there."""
    if isinstance(step, int):
        items = one.get("items")
        return ([items], [], False) if isinstance(items, dict) else ([], [], "items" not in one)
    properties = one.get("properties")
    if not isinstance(properties, dict):
        # One that only refers to others says nothing by itself.
        refers = not _REFERS.isdisjoint(one)
        return [], [], not refers and one.get("additionalProperties") is not False
    if step in properties:
        given = properties[step]
        return [given if isinstance(given, dict) else {}], [], False
    return [], list(properties), one.get("additionalProperties") not in (None, False)


def _branches(schema: Any, root: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A schema and all that it is put together from."""
    waiting, seen = [schema], 0
    met: set[int] = set()
    while waiting and seen < _MOST_STEPS:
        one = waiting.pop()
        seen += 1
        if not isinstance(one, dict) or id(one) in met:
            continue
        met.add(id(one))
        yield one
        reference = one.get("$ref")
        if isinstance(reference, str):
            waiting.append(_resolve(root, reference))
        for key in ("anyOf", "oneOf", "allOf"):
            parts = one.get(key)
            waiting += parts if isinstance(parts, list) else []


def _resolve(root: Mapping[str, Any], reference: str) -> Any:
    """What a reference within the schema names; an empty schema, which allows all, if nothing."""
    if reference == "#":
        return root
    if not reference.startswith("#/"):
        return {}
    value: Any = root
    for step in reference[2:].split("/"):
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value.get(key, {})
        else:
            at = int(key) if key.isascii() and key.isdigit() and len(key) < _LONGEST_INDEX else -1
            value = value[at] if isinstance(value, list) and 0 <= at < len(value) else {}
    return value


def _kinds(branches: list[Mapping[str, Any]]) -> frozenset[str]:
    """JSON types that a value may have: those that its branches name, or all."""
    said: set[str] = set()
    for one in branches:
        given = one.get("type")
        said.update(given if isinstance(given, list) else [given] if given else [])
        if "const" in one or isinstance(one.get("enum"), list):
            said.update(kind_of(value) for value in one.get("enum", [one.get("const")]))
    kinds = {"number" if kind == "integer" else kind for kind in said if isinstance(kind, str)}
    return frozenset(kinds & _KINDS) or _KINDS


def kind_of(value: object) -> str:
    """The JSON type of a value."""
    if isinstance(value, bool):
        return "boolean"
    if value is None:
        return "null"
    names = {int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return names[type(value)]
