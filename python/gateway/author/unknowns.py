"""A policy as far as a call is known: what is certain, whatever the unknown arguments were.

INVARIANT: nothing here decides. A rule on an unknown argument is taken once as one that never
refuses and once as one that always does; the engine decides both, and only what both agree on is
certain. Pointers into the document stay those of the document.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gateway._core import PolicySet
from gateway.author.coverage import RULES, at
from gateway.author.document import Document, Node

NEVER = {"path": "args.(no such argument)", "op": "eq", "value": True}
"""A condition that does not hold: an absent argument is equal to nothing."""
MOST = 67_108_863
"""The largest `max` that every window can count."""


@dataclass(frozen=True, slots=True)
class Part:
    """A rule or a limit, and the arguments it looks at.

    Attributes:
        kind: `deny_if`, `require`, `require_approval` or `limits`.
        paths: paths of arguments whose values it needs.
        present: paths of arguments of which it only asks whether they are there.
        shadow: whether it never refuses anyway.
    """

    pointer: str
    kind: str
    paths: tuple[str, ...]
    present: tuple[str, ...]
    shadow: bool

    def missing(self, names: Collection[str] | None, known: Collection[str]) -> list[str]:
        """Which of its arguments are unknown where `names` are there and `known` have values."""
        needed = self.paths if names is not None else (*self.paths, *self.present)
        return [path for path in needed if not is_known(path, names, known)]


def is_known(path: str, names: Collection[str] | None, known: Collection[str]) -> bool:
    """Whether the value at a path is known, or known to be absent.

    Nothing is where not all names are: one of the others could differ only by case, and then the
    condition could not be decided.
    """
    if names is None:
        return False
    found = re.match(r"args\.([^.\[]+)", path)
    if found is None:
        return set(names) <= set(known)
    return found[1] in known or found[1] not in names


def parts(root: Node, entry: str) -> Iterator[Part]:
    """Every rule and limit of an entry that looks at arguments."""
    written = at(root, entry).value
    above = "shadow" in (root.value.get("mode"), written.get("mode"))
    for kind in RULES:
        for index, rule in enumerate(written.get(kind) or []):
            conditions = rule.get("conditions") or []
            paths = tuple(condition["path"] for condition in conditions if _needs_value(condition))
            shadow = above or rule.get("mode") == "shadow"
            present = tuple(each["path"] for each in conditions if not _needs_value(each))
            yield Part(f"{entry}/{kind}/{index}", kind, paths, present, shadow)
    for index, limit in enumerate(written.get("limits") or []):
        asked = (limit.get("cost"), limit.get("increment_from"), limit.get("key"))
        paths = tuple(path for path in asked if isinstance(path, str))
        shadow = above or limit.get("mode") == "shadow"
        yield Part(f"{entry}/limits/{index}", "limits", paths, (), shadow)


def _needs_value(condition: Mapping[str, Any]) -> bool:
    """Whether a name alone does not settle it: `exists` on an argument itself asks no more."""
    return condition["op"] != "exists" or not re.fullmatch(r"args\.[^.\[]+", condition["path"])


def lenient(root: Node, unknown: Mapping[str, Part]) -> PolicySet:
    """The policy in which nothing that is unknown refuses or counts."""
    document = copy.deepcopy(root.value)
    for pointer, part in unknown.items():
        holder, index = _holder(root, document, pointer)
        if part.kind == "limits":
            counter = f"unknown {pointer}"
            holder[index] = {"counter": counter, "window": "second", "max": MOST}
        else:
            holder[index]["conditions"] = [] if part.kind == "require" else [NEVER]
    return _compiled(document)


def strict(
    root: Node, unknown: Mapping[str, Part], names: Collection[str] | None, known: Collection[str]
) -> PolicySet:
    """The policy without limits in which whatever is unknown refuses."""
    document = copy.deepcopy(root.value)
    for pointer, part in unknown.items():
        holder, index = _holder(root, document, pointer)
        if part.kind == "require":
            holder[index]["conditions"] = [NEVER]
        elif part.kind != "limits":
            holder[index]["conditions"] = [
                condition
                for condition in holder[index].get("conditions") or []
                if is_known(condition["path"], names, known)
                or (names is not None and not _needs_value(condition))
            ]
    _strip(document)
    return _compiled(document)


def without_limits(root: Node) -> PolicySet:
    """The policy with its rules alone."""
    document = copy.deepcopy(root.value)
    _strip(document)
    return _compiled(document)


def entries_of(root: Node) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every entry of a policy and the pointer to it."""
    if root.value.get("all_tools") is not None:
        yield "/all_tools", root.value["all_tools"]
    for group in ("tools", "methods"):
        for name, entry in (root.value.get(group) or {}).items():
            step = name.replace("~", "~0").replace("/", "~1")
            yield f"/{group}/{step}", entry or {}


def _strip(document: Any) -> None:
    for _, entry in entries_of(Node(Document("", {}), document)):
        entry.pop("limits", None)
        entry.pop("rate_limit", None)


def _holder(root: Node, document: Any, pointer: str) -> tuple[list[Any], int]:
    """The list that a pointer leads into, and the index."""
    above, _, index = pointer.rpartition("/")
    return at(Node(root.document, document), above).value, int(index)


def _compiled(document: Any) -> PolicySet:
    return PolicySet.parse(json.dumps(document).encode(), name="as-far-as-known.json")
