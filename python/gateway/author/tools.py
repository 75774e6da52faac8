"""A server's tools as it defines them, and the strict reading of what it sent.

INVARIANT: a definition that could be read in two ways is not read: a key twice, a number that is
none, a lone surrogate.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_NAME = 256


class Unreadable(ValueError):
    """What was sent is not what it should be; the message is for people."""


@dataclass(frozen=True, slots=True)
class Tool:
    """One entry of a `tools/list` answer.

    Attributes:
        schema: `inputSchema`; empty where there is none.
        annotations: what the server says of the tool's behaviour, proven by nothing.
        definition: the whole entry.
    """

    name: str
    title: str = ""
    description: str = ""
    schema: Mapping[str, Any] = field(default_factory=dict)
    annotations: Mapping[str, Any] = field(default_factory=dict)
    definition: Mapping[str, Any] = field(default_factory=dict)

    @property
    def properties(self) -> Mapping[str, Mapping[str, Any]]:
        """Schemas of the arguments, by name; those that are no objects are empty."""
        found = self.schema.get("properties")
        if not isinstance(found, dict):
            return {}
        return {name: given if isinstance(given, dict) else {} for name, given in found.items()}


@dataclass(frozen=True, slots=True)
class Listing:
    """What one server offers."""

    server: str
    tools: tuple[Tool, ...]


def read_tool(entry: object) -> Tool:
    """A tool from an entry of a list.

    Raises:
        Unreadable: it has no name that could be called.
    """
    if not isinstance(entry, dict):
        raise Unreadable("an entry of its list of tools is no object")
    name = entry.get("name")
    if not isinstance(name, str) or not name:
        raise Unreadable("a tool in its list has no name")
    if len(name) > MAX_NAME:
        raise Unreadable(f"a tool's name is longer than {MAX_NAME} characters")
    return Tool(
        name=name,
        title=_text(entry.get("title")),
        description=_text(entry.get("description")),
        schema=_object(entry.get("inputSchema")),
        annotations=_object(entry.get("annotations")),
        definition=entry,
    )


def read_tools(entries: object) -> tuple[Tool, ...]:
    """All entries of a list, in their order.

    Raises:
        Unreadable: it is no list, an entry is no tool, or two have one name.
    """
    if not isinstance(entries, list):
        raise Unreadable("what it calls its tools is no list")
    tools = tuple(read_tool(entry) for entry in entries)
    seen: set[str] = set()
    for tool in tools:
        if tool.name in seen:
            raise Unreadable(f"two of its tools are named `{tool.name}`")
        seen.add(tool.name)
    return tools


def saved(text: bytes) -> tuple[Tool, ...]:
    """The tools of a saved answer: the JSON-RPC message, its result, or the bare list.

    Raises:
        Unreadable: it is none of these.
    """
    value = strict(text)
    for key in ("result", "tools"):
        if isinstance(value, dict) and key in value:
            value = value[key]
    if not isinstance(value, list):
        raise Unreadable("it is no `tools/list` answer")
    return read_tools(value)


def strict(text: bytes) -> Any:
    """One JSON value that every reader takes for the same.

    Raises:
        Unreadable: it is none.
    """
    try:
        value = json.loads(text, object_pairs_hook=_members, parse_constant=_no_number)
        json.dumps(value, ensure_ascii=False).encode()
    except Unreadable:
        raise
    except RecursionError as error:
        raise Unreadable("it is nested too deeply") from error
    except ValueError as error:  # JSON's, and Unicode's
        raise Unreadable("it is not JSON") from error
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise Unreadable("a key is there twice")
    return members


def _no_number(text: str) -> None:
    raise Unreadable(f"`{text}` is not JSON")


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
