"""What policies of Intercept and of the short form are made of, and their small parts in this
language."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.author.document import Node

TOP = ("version", "description", "default", "hide", "tools", "approvals", "$schema")
RULE = (
    "name", "action", "rate_limit", "conditions", "on_deny", "state", "approval_timeout",
    "description",
)  # fmt: skip
STATE = ("counter", "window", "increment", "increment_from")
CONDITION = ("path", "op", "value")
SHORT = (
    "action", "reason", "rate_limit", "require", "deny_if", "require_approval", "limits", "mode",
    "description",
)  # fmt: skip
ACTIONS = ("evaluate", "deny", "require_approval")
WINDOWS = ("minute", "hour", "day")
OPS = (
    "eq", "neq", "lt", "lte", "gt", "gte", "in", "not_in", "exists", "regex", "contains",
)  # fmt: skip
NUMERIC = ("lt", "lte", "gt", "gte")
EXACT_WINDOWS = {60: "minute", 3_600: "hour", 86_400: "day"}

Entry = dict[str, Any]


class CannotCarryError(Exception):
    """A rule that has no counterpart; the message says why."""


def add(entry: Entry, kind: str, rule: Entry) -> None:
    """Add a rule or a limit to an entry."""
    entry.setdefault(kind, []).append(rule)


def scope(tool: str) -> str:
    """Whose a counter was: a tool's, or everybody's."""
    return "_global" if tool == "*" else tool


def as_all_tools(entry: Entry) -> Entry:
    """What goes for every call, which cannot have an action as a whole."""
    entry = dict(entry)
    action, reason = entry.pop("action", "allow"), entry.pop("reason", None)
    if action != "allow":
        rule: Entry = (
            {"conditions": []} if reason is None else {"conditions": [], "on_deny": reason}
        )
        add(entry, "deny_if" if action == "deny" else "require_approval", rule)
    return entry


def number(value: Any) -> int | float:
    """A number as YAML of Intercept spells it, such as `50_000`, which is text to a policy."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    text = str(value)
    try:
        return int(text, 0)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        raise CannotCarryError(f"`{text}` is no number") from None
    if number != number or number in (float("inf"), float("-inf")):
        raise CannotCarryError(f"`{text}` is no number that can be compared")
    return number


def short_rate(node: Node) -> Entry | None:
    """`{max, window}` with seconds, or `10/minute`."""
    if isinstance(node.value, str):
        found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)/([a-z0-9]+)", node.value)
        if found is None:
            node.fault("bad-rate", f"`{node.value}` is no rate", help="such as `10/minute`")
            return None
        return {"window": found[2], "max": number(found[1])}
    parts = node.members(("max", "window"), required=("max", "window"))
    if len(parts) < 2:
        return None
    seconds = parts["window"].integer(1, 31_622_400) or 1
    return {"window": EXACT_WINDOWS.get(seconds, f"{seconds}s"), "max": parts["max"].value}
