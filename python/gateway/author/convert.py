"""Policies of PolicyLayer's Intercept, and of the older short form, as policies of this language.

INVARIANT: where something cannot be carried over exactly, what comes of it refuses at least what it
refused, or a note of the level `laxer` says that it does not; and nothing is left out silently.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gateway._core import PolicyError, PolicySet
from gateway.author.document import Document, DocumentError, Node, read
from gateway.author.goregex import translated
from gateway.author.intercept import (
    ACTIONS,
    CONDITION,
    NUMERIC,
    OPS,
    RULE,
    SHORT,
    STATE,
    TOP,
    WINDOWS,
    CannotCarryError,
    Entry,
    add,
    as_all_tools,
    number,
    scope,
    short_rate,
)


@dataclass(frozen=True, slots=True)
class Note:
    """Something that is not exactly as it was.

    Attributes:
        level: `lost`, could not be carried over, and a rule that refuses stands in its place;
            `stricter` or `laxer`, refuses more or less in the case that is told; `note`, refuses
            the same, and something else is worth knowing.
        path: RFC 6901 pointer into the document that was read.
    """

    level: str
    file: str
    line: int
    column: int
    message: str
    path: str

    def text(self) -> str:
        """For people."""
        return f"{self.file}:{self.line}:{self.column}: {self.level}: {self.message}"

    def data(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)


@dataclass
class Converted:
    """What came of a document."""

    policy: dict[str, Any]
    notes: list[Note]


def convert(path: Path) -> Converted:
    """Read a policy of Intercept or of the short form, and say it in this language.

    Raises:
        DocumentError: it is neither, with every problem found.
    """
    root = read(path)
    converter = _Converter(root.document)
    policy = converter.document(root)
    root.document.check()
    _must_load(policy, path)
    converter.notes.sort(key=lambda note: (note.line, note.column))
    return Converted(policy, converter.notes)


def _must_load(policy: Mapping[str, Any], path: Path) -> None:
    try:
        PolicySet.parse(json.dumps(policy).encode(), name="policy.json")
    except PolicyError as error:
        document = Document(str(path), {})
        for problem in error.diagnostics:
            pointer = problem.path
            Node(document, None).fault(problem.code, f"at `{pointer}` there: {problem.message}")
        raise DocumentError(document.faults) from error


def _loads(entry: Entry) -> str | None:
    """Why an entry would not load, or None."""
    document = {"version": "1", "default": "deny", "all_tools": entry}
    try:
        PolicySet.parse(json.dumps(document).encode(), name="policy.json")
    except PolicyError as error:
        return error.diagnostics[0].message
    return None


class _Converter:
    """Reads one document; notes what is not exactly as it was."""

    def __init__(self, document: Document) -> None:
        self.notes: list[Note] = []
        self._document = document
        self._told: set[str] = set()

    def document(self, root: Node) -> dict[str, Any]:
        parts = root.members(TOP, required=("tools",))
        version = parts["version"].value if "version" in parts else "1"
        if str(version) != "1":
            parts["version"].fault("unsupported-version", "only version `1` is known")
        policy: dict[str, Any] = {"version": "1"}
        if "description" in parts:
            policy["description"] = parts["description"].text() or ""
        tools = parts["tools"].children() if "tools" in parts else {}
        rules = any(isinstance(one.value, dict) and "rules" in one.value for one in tools.values())
        policy["default"] = self._default(root, parts, rules)
        if "hide" in parts:
            policy["hide"] = [self._hidden(item) for item in parts["hide"].items()]
        if "approvals" in parts:
            message = "who is told of approvals, and how, belongs in the configuration"
            self._note("note", parts["approvals"], message, key=True)
        entries = {name: self._tool(name, node) for name, node in tools.items()}
        if "*" in entries and rules:
            policy["all_tools"] = as_all_tools(entries.pop("*") or {})
        policy["tools"] = {name: entry for name, entry in entries.items() if entry is not None}
        return policy

    def _default(self, root: Node, parts: Mapping[str, Node], rules: bool) -> str:
        if "default" not in parts:
            if not rules:
                self._note("stricter", root, "without `default`, tools without an entry are denied")
            return "allow" if rules else "deny"
        default = parts["default"].choice(("allow", "deny")) or "deny"
        if default == "deny":
            message = (
                "requests other than tool calls are closed as well, but for those that every "
                "session needs; name them in `methods`"
            )
            self._note("stricter", parts["default"], message)
        return default

    def _hidden(self, node: Node) -> str:
        name = node.text() or "?"
        if "*" in name and name != "*":
            message = f"`{name}` was a name and is a pattern here: it hides more"
            self._note("stricter", node, message)
        return name

    def _tool(self, name: str, node: Node) -> Entry | None:
        if not isinstance(node.value, dict) or "rules" not in node.value:
            return self._short(name, node)
        parts = node.members(("rules",))
        if "*" in name and name != "*":
            message = f"`{name}` was a name that no tool has, and would be a pattern here; left out"
            self._note("note", node, message, key=True)
            return None
        entry: Entry = {}
        for rule in parts["rules"].items():
            self._rule(name, rule, entry)
        if entry.get("action") == "deny" and entry.keys() - {"action", "reason", "description"}:
            message = "this tool is always refused, so its other rules decide nothing; left out"
            self._note("note", node, message, key=True)
            entry = {key: entry[key] for key in ("action", "reason", "description") if key in entry}
        return entry

    def _short(self, name: str, node: Node) -> Entry:
        """An entry of the short form, which is one of this language but for its rate."""
        if node.value is None:
            return {}
        parts = node.members(SHORT)
        entry = {key: part.value for key, part in parts.items() if key != "rate_limit"}
        if "rate_limit" in parts:
            rate = parts["rate_limit"]
            limit = short_rate(rate)
            if limit is not None:
                counter = {"counter": f"{name}_rate_limit", **limit, "scope": "session"}
                entry["limits"] = [*(entry.get("limits") or []), counter]
                message = "counted for each session, as before; an agent can open another one"
                self._note("note", rate, f"{message}: scope `grant` is safe")
        return entry

    def _rule(self, tool: str, node: Node, entry: Entry) -> None:
        parts = node.members(RULE)
        action = (parts["action"].choice(ACTIONS) if "action" in parts else None) or "evaluate"
        texts = {
            key: parts[part].text() or ""
            for key, part in (("description", "name"), ("on_deny", "on_deny"))
            if part in parts
        }
        if "approval_timeout" in parts:
            message = "how long an approval holds belongs in the configuration"
            self._note("note", parts["approval_timeout"], message, key=True)
        try:
            self._carry(tool, node, parts, action, texts, entry)
        except CannotCarryError as error:
            message = f"{error}; in its place every call of this tool is refused"
            self._note("lost", node, message)
            texts["description"] = f"not carried over: {error}"
            add(entry, "deny_if", {"conditions": [], **texts})

    def _carry(
        self,
        tool: str,
        node: Node,
        parts: Mapping[str, Node],
        action: str,
        texts: dict[str, str],
        entry: Entry,
    ) -> None:
        conditions = parts["conditions"].items() if "conditions" in parts else []
        own = [one for one in conditions if not self._is_state(one)]
        states = [one for one in conditions if self._is_state(one)]
        if action == "deny":
            if conditions:
                raise CannotCarryError("a rule with `action: deny` has no conditions")
            reason = {"reason": texts["on_deny"]} if "on_deny" in texts else {}
            entry.update(action="deny", **reason)
            if "description" in texts:
                entry["description"] = texts["description"]
            return
        carried = [one for each in own for one in self._condition(each)]
        if action == "require_approval":
            if states:
                raise CannotCarryError("an approval that hangs on a counter")
            add(entry, "require_approval", {"conditions": carried, **texts})
        elif carried:
            add(entry, "require", {"conditions": carried, **texts})
        if "rate_limit" in parts:
            self._rate(tool, parts["rate_limit"], texts, entry)
        self._counted(tool, node, parts.get("state"), states, texts, entry)
        empty = not conditions and "rate_limit" not in parts and "state" not in parts
        if empty and action == "evaluate":
            self._note("note", node, "a rule without conditions refuses nothing; left out")

    def _is_state(self, node: Node) -> bool:
        path = node.value.get("path") if isinstance(node.value, dict) else None
        return isinstance(path, str) and path.startswith("state.")

    def _condition(self, node: Node) -> list[dict[str, Any]]:
        """A condition on an argument; with another that it be there, where its absence failed."""
        parts = node.members(CONDITION, required=CONDITION)
        path = parts["path"].text() if "path" in parts else None
        op = parts["op"].choice(OPS) if "op" in parts else None
        if path is None or op is None or "value" not in parts:
            return []
        if not path.startswith("args.") or "[" in path or "]" in path:
            raise CannotCarryError(f"the path `{path}` reads something else here")
        value = parts["value"].value
        if op == "exists" and isinstance(value, bool):
            level = "laxer" if value else "stricter"
            self._once(level, node, "an argument that is null was absent, and exists here")
        elif op in NUMERIC:
            value = number(value)
        elif op == "regex" and isinstance(value, str):
            try:
                value = translated(value)
            except ValueError as error:
                message = f"{error} in a regular expression has no counterpart"
                raise CannotCarryError(message) from None
        if op != "exists":
            self._once(
                "stricter",
                node,
                "a value of another type than the condition's was converted, and refuses here: "
                '`5` is not `"5"`',
            )
        made = [{"path": path, "op": op, "value": value}]
        if op in ("neq", "not_in"):
            # What is absent differs from everything here, and failed there.
            made.insert(0, {"path": path, "op": "exists", "value": True})
        problem = _loads({"require": [{"conditions": made}]})
        if problem is not None:
            raise CannotCarryError(problem)
        return made

    def _rate(self, tool: str, node: Node, texts: Mapping[str, str], entry: Entry) -> None:
        found = re.fullmatch(r"([1-9][0-9]*)/(minute|hour|day)", str(node.value))
        if found is None:
            raise CannotCarryError(f"`{node.value}` is no rate such as `5/hour`")
        counter = f"{scope(tool)}._rate_{found[2]}"
        limit = {"counter": counter, "window": found[2], "max": int(found[1]), "scope": "server"}
        self._limit(node, {**limit, **texts}, entry)

    def _counted(
        self,
        tool: str,
        node: Node,
        state: Node | None,
        conditions: list[Node],
        texts: Mapping[str, str],
        entry: Entry,
    ) -> None:
        """The limit that a rule's counter and its condition are."""
        if state is None:
            if conditions:
                raise CannotCarryError("a condition on a counter that another rule counts")
            return
        parts = state.members(STATE, required=("counter", "window"))
        counter = f"{scope(tool)}.{parts['counter'].text() if 'counter' in parts else '?'}"
        window = parts["window"].choice(WINDOWS) if "window" in parts else None
        own = [one for one in conditions if one.value.get("path") == f"state.{counter}"]
        if len(own) < len(conditions):
            raise CannotCarryError("a condition on a counter that another rule counts")
        if not own:
            self._note("note", state, f"`{counter}` was counted and bounds nothing; left out")
            return
        for each in own:
            op = each.value.get("op")
            if op not in ("lt", "lte"):
                raise CannotCarryError(f"`{op}` on a counter; a limit is `lt` or `lte`")
        bounds = [int(number(one.value.get("value"))) - (one.value["op"] == "lt") for one in own]
        limit: Entry = {
            "counter": counter,
            "window": window,
            "max": max(0, min(bounds)),
            "scope": "server",
        }
        if "increment_from" in parts:
            limit["cost"] = parts["increment_from"].text()
            message = "an amount that is negative, or has more decimals than counted, is refused"
            self._once("stricter", state, f"{message}; it was cut to a whole number")
        elif "increment" in parts and parts["increment"].value != 1:
            limit["cost"] = parts["increment"].value or 1
        self._limit(state, {**limit, **texts}, entry)

    def _limit(self, node: Node, limit: Entry, entry: Entry) -> None:
        problem = _loads({"limits": [limit]})
        if problem is not None:
            raise CannotCarryError(problem)
        self._once("note", node, "counted for all grants of the server together, as before")
        self._once(
            "stricter",
            node,
            "a call that the server answered with an error stays counted; only what was not sent "
            "is given back",
        )
        add(entry, "limits", limit)

    def _once(self, level: str, node: Node, message: str) -> None:
        """A note that holds for all of its kind, at the first of them."""
        if message not in self._told:
            self._told.add(message)
            self._note(level, node, message)

    def _note(self, level: str, node: Node, message: str, *, key: bool = False) -> None:
        places = self._document.places.get(node.pointer, (1, 1, 1, 1))
        line, column = places[:2] if key else places[2:]
        self.notes.append(Note(level, self._document.file, line, column, message, node.pointer))
