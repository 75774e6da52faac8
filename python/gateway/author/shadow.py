"""Rules in shadow mode: what they would have refused, and putting one of them in force.

INVARIANT: promoting changes one word of the file and nothing else, and only where the policy that
comes of it is the same but for that mode.
"""

from __future__ import annotations

import copy
import os
import re
import stat
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gateway._core import PolicyError, PolicySet, did_you_mean, read_document
from gateway.author.coverage import at
from gateway.author.document import Node, read
from gateway.author.tally import Tally
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from gateway.author.calllog import Logged

METRIC = "interlock_shadow_denials_total"


@dataclass
class Summary:
    """What shadow mode recorded in logs."""

    calls: int = 0
    shadowed: int = 0
    """Calls that at least one rule would have refused."""
    rules: dict[tuple[str, str], Tally] = field(default_factory=dict)
    """What each would have refused, by rule and code."""


def summarise(calls: Iterable[Logged]) -> Summary:
    """Add up what rules in shadow mode would have refused."""
    found = Summary()
    for call in calls:
        found.calls += 1
        found.shadowed += bool(call.shadow)
        for key in call.shadow:
            found.rules.setdefault(key, Tally(*key)).add(call)
    return found


def from_metrics(text: str) -> dict[tuple[str, str], int]:
    """Refusals that shadow mode recorded, by server and rule, out of a scrape."""
    found: dict[tuple[str, str], int] = {}
    for labels, value in re.findall(rf"^{METRIC}{{(.*)}} ([0-9.e+]+)", text, re.M):
        named = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels))
        rule = re.sub(r"\\(.)", lambda one: "\n" if one[1] == "n" else one[1], named["rule"])
        found[named.get("server", ""), rule] = int(float(value))
    return found


class PromotionError(GatewayError):
    """A rule that cannot be promoted; `help` says what can be done."""

    def __init__(self, message: str, help: str | None = None) -> None:
        super().__init__(message)
        self.help = help


def promoted(path: Path, rule: str) -> bytes:
    """The policy file with a part of it no longer in shadow mode.

    Args:
        rule: RFC 6901 pointer of an entry, a rule, a limit, or of the document (`""`).

    Raises:
        DocumentError: the file cannot be read.
        PromotionError: that part is not in shadow mode by itself, or it would not become a policy.
    """
    root = read(path)
    root.document.check()
    _check(root, rule)
    source = path.read_bytes()
    _, _, line, column = root.document.places[f"{rule}/mode"]
    changed = _replaced(source.decode(), line, column)
    wanted = copy.deepcopy(root.value)
    at(Node(root.document, wanted), rule).value["mode"] = "enforce"
    try:
        PolicySet.parse(changed.encode(), name=path.name)
    except PolicyError as error:
        raise PromotionError(f"the policy would not load: {error}") from error
    if changed == source.decode() or read_document(changed.encode(), path.name)[0] != wanted:
        message = f"the mode of `{rule}` is written in a way that cannot be edited safely"
        raise PromotionError(message, "change `mode` to `enforce` by hand")
    return changed.encode()


def shadows(root: Node) -> list[str]:
    """Pointers of all that has `mode: shadow` of its own."""
    return [
        pointer.removesuffix("/mode")
        for pointer in root.document.places
        if pointer.endswith("/mode") and _is_shadow(root, pointer.removesuffix("/mode"))
    ]


def _check(root: Node, rule: str) -> None:
    if rule and not rule.startswith("/"):
        raise PromotionError(f"`{rule}` is no pointer", "it begins with `/`: `/tools/t/limits/0`")
    there = shadows(root)
    above = [one for one in _above(rule) if one in there]
    if rule in there:
        if above:
            message = f"{_named(above[0])} is in shadow mode as a whole"
            raise PromotionError(message, "promote `" + (above[0] or '""') + "` first")
        return
    if above:
        message = f"`{rule}` is in shadow mode because {_named(above[-1])} is"
        raise PromotionError(message, "promote `" + (above[-1] or '""') + "`")
    try:
        at(root, rule)
        message = f"`{rule}` is not in shadow mode"
    except (LookupError, TypeError):
        message = f"there is no `{rule}` in the policy"
    meant = did_you_mean(rule, there)
    listed = ", ".join(f"`{one}`" for one in there[:8])
    help = f"did you mean `{meant}`?" if meant else None
    raise PromotionError(message, help or (f"in shadow mode: {listed}" if there else None))


def _named(pointer: str) -> str:
    return f"`{pointer}`" if pointer else "the document"


def _is_shadow(root: Node, pointer: str) -> bool:
    try:
        value = at(root, pointer).value
    except (LookupError, TypeError):
        return False
    return isinstance(value, dict) and value.get("mode") == "shadow"


def _above(pointer: str) -> Iterator[str]:
    """Every pointer on the way to one, the document's own first."""
    parts = pointer.split("/")
    for count in range(1, len(parts)):
        yield "/".join(parts[:count])


def _replaced(text: str, line: int, column: int) -> str:
    """The text with the word `shadow` at a place become `enforce`, in the quotes that it has."""
    lines = text.split("\n")
    before, rest = lines[line - 1][: column - 1], lines[line - 1][column - 1 :]
    lines[line - 1] = before + re.sub(r"""^(["']?)shadow\b""", r"\1enforce", rest)
    return "\n".join(lines)


def write(path: Path, content: bytes) -> None:
    """Put a file in the place of another, whole, with the permissions of the one that was there.

    A symbolic link goes on leading to its file. Raises `OSError`.
    """
    target = path.resolve()
    mode = stat.S_IMODE(target.stat().st_mode)
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".", delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, mode)
            os.replace(file.name, target)
        except BaseException:
            os.unlink(file.name)
            raise
