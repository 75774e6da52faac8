"""Test cases of policies: the written form, read into steps on a simulated clock.

The format is described in `docs/testing-policies.md`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gateway.author.calls import CODES, duration, instant, method_body, tool_body
from gateway.author.document import Node, read

BEGIN = "2026-03-02T00:00:00Z"
"""When a case starts that does not say: a Monday, and no month's first day."""
MOST_REPEATS = 100_000

WHO = ("grant", "server", "session")
STEP = (
    *WHO, "call", "args", "method", "params", "approved", "at", "after", "repeat", "every", "as",
    "ends", "not_sent", "expect",
)  # fmt: skip
TOP = (*WHO, "start", "description", "cases")
CASE = (*STEP, "name", "description", "start", "steps", "each")
EXPECT = (
    "code", "rule", "counter", "limit", "window", "remaining", "wait", "message", "shadow",
)  # fmt: skip
VERDICTS = (*CODES, "denied")

Nodes = Mapping[str, Node]


@dataclass(frozen=True, slots=True)
class Who:
    """Who calls."""

    grant: str = "default"
    server: str = "default"
    session: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A message, and how it is shown."""

    who: Who
    body: bytes
    shown: str
    approved: bool = False
    """Whether a person has approved it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happens in a case.

    Attributes:
        line: where it is written, from 1.
        at_ns: when, nanoseconds since 1970 UTC; None is `after_ns` past the step before.
        call: the message; None where a call ends instead.
        repeat: how often, `every_ns` apart.
        label: by which a later step ends this call.
        ends: the label of the call that ends.
        expect: what is compared, by the names of `EXPECT`.
    """

    line: int
    at_ns: int | None = None
    after_ns: int = 0
    call: Call | None = None
    repeat: int = 1
    every_ns: int = 0
    label: str | None = None
    ends: str | None = None
    outcome: Literal["done", "not-sent"] = "done"
    expect: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """Steps on a table in which nothing is used yet."""

    name: str
    file: str
    line: int
    column: int
    start_ns: int
    steps: tuple[Step, ...]


def load(path: Path) -> list[Case]:
    """Every case of a file.

    Raises:
        DocumentError: with every problem found.
    """
    root = read(path)
    top = root.members(TOP, required=("cases",))
    _unused(top, "description")
    reader = _Reader(_who(top, Who()), _start(top, instant(BEGIN) or 0))
    found = [case for node in reader.items(top) for case in reader.case(node)]
    root.document.check()
    return found


@dataclass
class _Reader:
    """Reads cases that share defaults, and sees that their names differ."""

    who: Who
    start_ns: int

    def __post_init__(self) -> None:
        self._names: set[str] = set()

    def items(self, top: Nodes) -> list[Node]:
        nodes = top["cases"].items() if "cases" in top else []
        if "cases" in top and not nodes and top["cases"].value == []:
            top["cases"].fault("empty-list", "there are no cases")
        return nodes

    def case(self, node: Node) -> list[Case]:
        """A case, or one for each row of its table."""
        parts = node.members(CASE, required=("name",))
        name = parts["name"].text() if "name" in parts else None
        if name is None:
            return []
        if name in self._names:
            parts["name"].fault("duplicate-name", f"another case is called `{name}` too")
        self._names.add(name)
        _unused(parts, "description")
        who, start = _who(parts, self.who), _start(parts, self.start_ns)
        own = {key: part for key, part in parts.items() if key in STEP}
        if "steps" not in parts:
            return self._rows(node, name, own, parts.get("each"), who, start)
        for key in own.keys() - set(WHO):
            own[key].fault("conflicting-keys", f"`{key}` belongs in a step here", key=True)
        if "each" in parts:
            parts["each"].fault("conflicting-keys", "a case has `steps` or `each`", key=True)
        steps = [
            step
            for item in parts["steps"].items()
            for step in _steps(item, item.members(STEP), who, start)
        ]
        return [_made(name, node, start, steps)]

    def _rows(
        self, node: Node, name: str, own: Nodes, each: Node | None, who: Who, start: int
    ) -> list[Case]:
        if each is None:
            return [_made(name, node, start, _steps(node, own, who, start))]
        found = []
        for number, row in enumerate(each.items(), 1):
            parts = row.members((*STEP, "name"))
            title = parts.get("name", Node(row.document, str(number))).text()
            merged = {**own, **{key: part for key, part in parts.items() if key != "name"}}
            if isinstance(own.get("args", row).value, dict) and "args" in own and "args" in parts:
                merged["args"] = _joined(own["args"], parts["args"])
            steps = _steps(row, merged, _who(parts, who), start)
            found.append(_made(f"{name} [{title}]", row, start, steps))
        return found


def _joined(base: Node, more: Node) -> Node:
    """Arguments of a table, with those of one row over them."""
    if not isinstance(more.value, dict):
        return more
    return Node(more.document, {**base.value, **more.value}, more.pointer)


def _made(name: str, node: Node, start: int, steps: list[Step]) -> Case:
    line, column = _place(node)
    labels: set[str] = set()
    for step in steps:
        if step.ends is not None and step.ends not in labels:
            message = f"no call before this one is labelled `{step.ends}`"
            node.fault("unknown-label", message, help="label it with `as`")
        labels |= {step.label} if step.label is not None else set()
    if steps and not any(step.expect for step in steps):
        node.fault("nothing-expected", f"the case `{name}` expects nothing", help="add `expect`")
    return Case(name, node.document.file, line, column, start, tuple(steps))


def _steps(node: Node, parts: Nodes, who: Who, start: int) -> list[Step]:
    """The step that an object is; none if it cannot be read."""
    actions = [key for key in ("call", "method", "ends", "not_sent") if key in parts]
    if len(actions) != 1:
        message = "a step has one of `call`, `method`, `ends` and `not_sent`"
        node.fault("conflicting-keys" if actions else "missing-key", message)
        return []
    (action,) = actions
    line, _ = _place(node)
    at, after = _at(parts, start), _duration(parts, "after")
    if action in ("ends", "not_sent"):
        outcome: Literal["done", "not-sent"] = "done" if action == "ends" else "not-sent"
        for key in parts.keys() - {"ends", "not_sent", "at", "after", *WHO}:
            parts[key].fault("conflicting-keys", f"`{key}` means nothing here", key=True)
        return [Step(line, at, after, ends=parts[action].text(), outcome=outcome)]
    call = _call(action, parts, _who(parts, who))
    if call is None:
        return []
    repeat = parts["repeat"].integer(1, MOST_REPEATS) if "repeat" in parts else 1
    return [
        Step(
            line,
            at,
            after,
            call,
            repeat or 1,
            _duration(parts, "every"),
            parts["as"].text() if "as" in parts else None,
            expect=_expect(parts["expect"]) if "expect" in parts else None,
        )
    ]


def _call(action: str, parts: Nodes, who: Who) -> Call | None:
    name = parts[action].text()
    given, other = ("args", "params") if action == "call" else ("params", "args")
    if other in parts:
        parts[other].fault("conflicting-keys", f"`{action}` takes `{given}`", key=True)
    arguments = None
    if given in parts:
        node = parts[given]
        if not isinstance(node.value, dict | str):
            node.wrong("an object, or its JSON text")
        # Text is JSON taken as it is, for spellings that would not survive being read.
        is_text = isinstance(node.value, str)
        arguments = node.value if is_text else json.dumps(node.value, ensure_ascii=False)
    if name is None:
        return None
    make = tool_body if action == "call" else method_body
    shown = name + ("" if arguments is None else f" {arguments}")
    return Call(who, make(name, arguments), shown, "approved" in parts and parts["approved"].flag())


def _expect(node: Node) -> dict[str, Any]:
    """What is expected, by the names of `EXPECT`; waits in milliseconds."""
    if isinstance(node.value, str):
        return {"code": node.choice(VERDICTS)}
    parts = node.members(EXPECT)
    if isinstance(node.value, dict) and not node.value:
        node.fault("nothing-expected", "this expects nothing")
    found: dict[str, Any] = {}
    for key, part in parts.items():
        match key:
            case "code":
                found[key] = part.choice(VERDICTS)
            case "limit" | "remaining":
                if not isinstance(part.value, int | float) or isinstance(part.value, bool):
                    part.wrong("a number")
                found[key] = part.value
            case "wait":
                none = part.value is None
                found[key] = None if none else _duration(parts, "wait") // 1_000_000
            case "shadow":
                found[key] = [item.text() for item in part.items()]
            case _:
                found[key] = None if part.value is None else part.text()
    return found


def _who(parts: Nodes, base: Who) -> Who:
    return Who(
        (parts["grant"].text() if "grant" in parts else None) or base.grant,
        (parts["server"].text() if "server" in parts else None) or base.server,
        parts["session"].text() if "session" in parts else base.session,
    )


def _start(parts: Nodes, base: int) -> int:
    if "start" not in parts:
        return base
    text = parts["start"].text()
    found = instant(text) if text is not None else None
    if text is not None and found is None:
        parts["start"].fault("bad-instant", f"`{text}` is no instant", help=f"such as `{BEGIN}`")
    return base if found is None else found


def _at(parts: Nodes, start: int) -> int | None:
    """`at`: an instant, or a time of the day on which the case starts."""
    text = parts["at"].text() if "at" in parts else None
    if text is None:
        return None
    if re.fullmatch(r"\d\d:\d\d(:\d\d(\.\d+)?)?", text):
        day = start - start % 86_400_000_000_000
        since = instant(f"1970-01-01T{text}Z")
        found = None if since is None else day + since
    else:
        found = instant(text)
    if found is None:
        help = f"such as `{BEGIN}`, or `10:00:12` on the day the case starts"
        parts["at"].fault("bad-instant", f"`{text}` is no instant", help=help)
    elif found < start:
        parts["at"].fault("bad-instant", f"`{text}` is before the case starts")
    return found


def _duration(parts: Nodes, key: str) -> int:
    text = parts[key].text() if key in parts else None
    found = duration(text) if text is not None else 0
    if found is None:
        message = f"`{text}` is no duration"
        parts[key].fault("bad-duration", message, help="such as `250ms`, `30s`, `5m`, `1h`, `1d`")
    return found or 0


def _unused(parts: Nodes, key: str) -> None:
    """Only look at the type of what is for people."""
    if key in parts:
        parts[key].text()


def _place(node: Node) -> tuple[int, int]:
    places = node.document.places.get(node.pointer, (1, 1, 1, 1))
    return places[2], places[3]
