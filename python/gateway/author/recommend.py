"""The rule that a tool of a class should have, and the policy they make together.

INVARIANT: what is proposed compiles without an error, denies what it does not name, and refuses
what destroys.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from gateway.author.assess import Assessed
    from gateway.author.classify import Class

WRITES_A_MINUTE = 30
RUNS_A_MINUTE = 10

Effect = Literal["allow", "limit", "hide", "approval"]
EFFECTS: dict[Class, Effect] = {
    "Read": "allow",
    "Write": "limit",
    "Execute": "limit",
    "Destructive": "hide",
    "Financial": "approval",
}


@dataclass(frozen=True, slots=True)
class Recommended:
    """What is proposed for one tool: an effect, and its entry in a policy."""

    effect: Effect
    entry: dict[str, Any]

    def data(self) -> dict[str, Any]:
        """As it is printed."""
        return {"effect": self.effect, "entry": self.entry}


def recommend(tool: Assessed) -> Recommended:
    """What a tool's class asks for."""
    effect = EFFECTS[tool.kind]
    why = f"{tool.kind}, {tool.severity}: {tool.rationale}"
    entry: dict[str, Any] = {"description": why}
    match effect:
        case "limit":
            most = WRITES_A_MINUTE if tool.kind == "Write" else RUNS_A_MINUTE
            entry["limits"] = [_limit(tool.name, most)]
        case "hide":
            entry |= {"action": "deny", "reason": "this tool destroys, and is not to be used"}
        case "approval":
            entry |= {
                "action": "require_approval",
                "reason": "money is moved with a person's approval",
            }
    return Recommended(effect, entry)


def _limit(name: str, most: int) -> dict[str, Any]:
    return {"counter": f"{name}_rate", "window": "minute", "max": most, "scope": "grant"}


def policy(server: str, tools: Iterable[Assessed]) -> dict[str, Any]:
    """A policy document for the tools of one server.

    A name that the language would take for a pattern cannot have an entry of its own, and stays
    denied by the default.
    """
    entries: dict[str, Any] = {}
    hidden = []
    for tool in tools:
        if not nameable(tool.name):
            continue
        proposed = recommend(tool)
        entries[tool.name] = proposed.entry
        if proposed.effect == "hide":
            hidden.append(tool.name)
    document: dict[str, Any] = {
        "version": "1",
        "description": f"Proposed by interlock scan for {server}; read each entry before use.",
        "default": "deny",
    }
    if hidden:
        document["hide"] = hidden
    return {**document, "tools": entries}


def nameable(name: str) -> bool:
    """Whether a tool's name can be the name of an entry."""
    return re.fullmatch(r"[^*\s\x00-\x1f\x7f]+", name) is not None and name.isprintable()


def file_name(server: str) -> str:
    """A file's name for the policy of a server, whatever that is called."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", server).strip(".-")[:80]
    return f"{plain or 'server'}.json"


def written(document: dict[str, Any]) -> str:
    """The document as a file."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
