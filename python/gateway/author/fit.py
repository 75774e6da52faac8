"""Where a policy and the tools of a server do not meet.

INVARIANT: whether an entry applies to a tool is asked of the engine that will decide; what is said
here are warnings, since a server may change.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway._core import Caller, Engine, LimitTable, did_you_mean, quote
from gateway.author.calls import counted
from gateway.author.schema import Argument, argument, kind_of

if TYPE_CHECKING:
    from gateway._core import PolicySet
    from gateway.author.tools import Tool

_SCALARS = frozenset({"string", "number", "boolean", "null"})


@dataclass(frozen=True, slots=True)
class Misfit:
    """One thing that a policy says and a server's tools do not bear out.

    Attributes:
        pointer: RFC 6901, into the policy document.
    """

    code: str
    message: str
    pointer: str
    help: str | None = None


def misfits(document: Any, policy: PolicySet, tools: Sequence[Tool]) -> list[Misfit]:
    """Everything that does not fit.

    Args:
        document: the policy as it is written, in Python's own types.
        policy: the same, compiled.
    """
    told = _explained(policy, tools)
    applying: dict[str, list[Tool]] = {}
    for tool, one in told:
        for pointer in one["entries"]:
            applying.setdefault(pointer, []).append(tool)
    found = list(_unused(document, policy, tools, applying))
    for pointer, entry in _entries(document):
        for tool in applying.get(pointer, []):
            found += _arguments(pointer, entry, tool)
    found = _joined(found)
    found += _uncovered(told)
    return found


def _explained(policy: PolicySet, tools: Iterable[Tool]) -> list[tuple[Tool, dict[str, Any]]]:
    """What the engine makes of a call of each tool."""
    engine, caller = Engine(policy, LimitTable(64)), Caller("check", server="default")
    found = []
    for tool in tools:
        params = {"name": tool.name, "arguments": {}}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        found.append((tool, json.loads(engine.explain(caller, json.dumps(body).encode()))))
    return found


def _unused(
    document: Any, policy: PolicySet, tools: Sequence[Tool], applying: Mapping[str, list[Tool]]
) -> Iterator[Misfit]:
    """Names that no tool has."""
    names = [tool.name for tool in tools]
    for pointer in policy.entries:
        if pointer.startswith("/tools/") and pointer not in applying:
            name = _last(pointer)
            if not _matches(name, names):
                yield _nobody("entry-unused", name, pointer, names)
    hidden = document.get("hide") if isinstance(document, dict) else None
    for at, name in enumerate(hidden or []):
        if isinstance(name, str) and not _matches(name, names):
            yield _nobody("hide-unused", name, f"/hide/{at}", names)


def _nobody(code: str, name: str, pointer: str, names: list[str]) -> Misfit:
    meant = did_you_mean(name, names) if "*" not in name else None
    help = f"did you mean {quote(meant)}?" if meant is not None else None
    return Misfit(code, f"{quote(name)} matches no tool of the server", pointer, help)


def _matches(pattern: str, names: Iterable[str]) -> bool:
    regex = re.compile(".*".join(map(re.escape, pattern.split("*"))), re.S)
    return any(regex.fullmatch(name) is not None for name in names)


def _uncovered(explained: list[tuple[Tool, dict[str, Any]]]) -> list[Misfit]:
    """Tools that no rule names."""
    uncovered = [
        quote(tool.name)
        for tool, told in explained
        if told["decision"]["code"] == "default-deny" or (told["allowed"] and not told["entries"])
    ]
    if not uncovered:
        return []
    number = counted(len(uncovered), "tool")
    message = f"no entry covers {number}, the default decides: {', '.join(uncovered)}"
    return [Misfit("tool-uncovered", message, "/tools")]


def _entries(document: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Entries of tools, and what stands over all of them."""
    tools = document.get("tools") if isinstance(document, dict) else None
    for name, entry in (tools or {}).items():
        if isinstance(entry, dict):
            step = name.replace("~", "~0").replace("/", "~1")
            yield f"/tools/{step}", entry


@dataclass(frozen=True, slots=True)
class _Use:
    """A place of an entry that reads an argument.

    Attributes:
        kinds: JSON types that can be decided there.
        does: what is done with them, for people.
        bound: whether a call without the argument passes.
    """

    pointer: str
    path: str
    kinds: frozenset[str]
    does: str
    bound: bool = False


def _arguments(pointer: str, entry: Mapping[str, Any], tool: Tool) -> Iterator[Misfit]:
    """What an entry says of arguments that the tool's schema does not."""
    demanded = {
        condition.get("path")
        for rule in _objects(entry.get("require"))
        for condition in _objects(rule.get("conditions"))
        if (condition.get("op"), condition.get("value")) != ("exists", False)
        and condition.get("op") not in ("neq", "not_in")
    }
    for use in _uses(pointer, entry):
        found = argument(tool.schema, use.path)
        path, name = quote(use.path), quote(tool.name)
        if not found.found:
            meant = did_you_mean(_last_step(use.path), found.siblings)
            help = f"did you mean {quote(meant)}?" if meant is not None else None
            yield Misfit("argument-unknown", f"{path} is no argument of {name}", use.pointer, help)
        elif found.known and not found.kinds & use.kinds:
            message = f"{path} is {_either(found.kinds)} in {name}, and {use.does}"
            help = "every call with it is refused, since it cannot be decided"
            yield Misfit("argument-type", message, use.pointer, help)
        elif use.bound and found.known and not found.required and use.path not in demanded:
            yield _optional(use, tool, found)


def _optional(use: _Use, tool: Tool, found: Argument) -> Misfit:
    taken = (
        f"; the server then takes {quote(json.dumps(found.default[0]))}" if found.default else ""
    )
    message = f"{quote(use.path)} is optional in {quote(tool.name)}, and a call without it passes"
    condition = json.dumps({"path": use.path, "op": "exists", "value": True})
    help = f'to ask for it, add to `require`: `{{"conditions": [{condition}]}}`'
    return Misfit("optional-argument", message + taken, use.pointer, help)


def _uses(pointer: str, entry: Mapping[str, Any]) -> Iterator[_Use]:
    for part in ("deny_if", "require", "require_approval"):
        for number, rule in enumerate(_objects(entry.get(part))):
            for at, condition in enumerate(_objects(rule.get("conditions"))):
                place = f"{pointer}/{part}/{number}/conditions/{at}"
                if (use := _condition(place, condition, bound=part != "require")) is not None:
                    yield use
    for number, limit in enumerate(_objects(entry.get("limits"))):
        for key in ("cost", "increment_from"):
            if isinstance(path := limit.get(key), str):
                place = f"{pointer}/limits/{number}/{key}"
                yield _Use(place, path, frozenset({"number"}), "a cost has to be a number")
        if isinstance(path := limit.get("key"), str):
            place = f"{pointer}/limits/{number}/key"
            yield _Use(place, path, _SCALARS, "a key has to be a string, a number, or a boolean")


def _condition(place: str, condition: Mapping[str, Any], *, bound: bool) -> _Use | None:
    path, op, value = condition.get("path"), condition.get("op"), condition.get("value")
    if not isinstance(path, str) or path == "args":
        return None
    match op:
        case "exists":
            return _Use(place, path, _SCALARS | {"array", "object"}, "")
        case "regex":
            kinds, does = frozenset({"string"}), "`regex` looks into strings"
        case "contains":
            kinds, does = frozenset({"string", "array"}), "`contains` looks into strings and arrays"
        case "in" | "not_in":
            values = value if isinstance(value, list) else []
            kinds = frozenset(map(kind_of, values))
            does = f"`{op}` compares it with {_either(kinds)}"
        case _:
            kinds = frozenset({kind_of(value)})
            does = f"`{op}` compares it with {_either(kinds)}"
    return _Use(place, path, kinds, does, bound and op not in ("neq", "not_in"))


def _either(kinds: frozenset[str]) -> str:
    words = {"null": "null", "array": "an array", "object": "an object"}
    return " or ".join(words.get(kind, f"a {kind}") for kind in sorted(kinds)) or "nothing"


def _joined(found: list[Misfit]) -> list[Misfit]:
    """One of a code and place is enough, however many tools a pattern matches."""
    first: dict[tuple[str, str], Misfit] = {}
    for one in found:
        first.setdefault((one.code, one.pointer), one)
    return list(first.values())


def _objects(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _last(pointer: str) -> str:
    """The key that an RFC 6901 pointer ends in."""
    return pointer.rpartition("/")[2].replace("~1", "/").replace("~0", "~")


def _last_step(path: str) -> str:
    return re.split(r"[.\[]", re.sub(r"\[[^\]]*\]$", "", path))[-1]
