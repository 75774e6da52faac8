"""All that is said of a tool: its class, what an owner said instead, and its flags.

INVARIANT: an owner's word replaces the class and never the evidence; what a server sent is shown
only as text that no terminal obeys.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.author.classify import CLASSES, SEVERITY, Class, Evidence, Severity, classify
from gateway.author.flags import Flag, flags, lookalikes
from gateway.errors import Problem, SettingsError

if TYPE_CHECKING:
    from gateway.author.tools import Listing, Tool

MAX_OVERRIDES_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Assessed:
    """One tool of one server."""

    tool: Tool
    kind: Class
    confidence: float
    rationale: str
    evidence: tuple[Evidence, ...]
    flags: tuple[Flag, ...]

    @property
    def name(self) -> str:
        """The tool's."""
        return self.tool.name

    @property
    def severity(self) -> Severity:
        """How bad a wrong call can be."""
        return SEVERITY[self.kind]


@dataclass(frozen=True, slots=True)
class Assessment:
    """The tools of one server."""

    server: str
    tools: tuple[Assessed, ...]


@dataclass(frozen=True, slots=True)
class Override:
    """An owner's word on the tools of a name."""

    kind: Class
    reason: str


def assess(
    listings: Sequence[Listing], overrides: Mapping[str, Override] | None = None
) -> list[Assessment]:
    """What there is to say of every tool; names are compared across servers."""
    alike = lookalikes(listings)
    return [
        Assessment(
            listing.server,
            tuple(
                _assess(tool, overrides or {}, alike.get((listing.server, tool.name)))
                for tool in listing.tools
            ),
        )
        for listing in listings
    ]


def _assess(tool: Tool, overrides: Mapping[str, Override], alike: Flag | None) -> Assessed:
    verdict = classify(tool)
    found = (*flags(tool), *([alike] if alike is not None else []))
    override = overrides.get(tool.name)
    if override is None:
        return Assessed(
            tool, verdict.kind, verdict.confidence, verdict.rationale, verdict.evidence, found
        )
    reason = f"{override.kind} by the owner's word" + (
        f": {override.reason}" if override.reason else ""
    )
    return Assessed(tool, override.kind, 1.0, reason, verdict.evidence, found)


def read_overrides(path: Path) -> dict[str, Override]:
    """Classes that an owner sets: a JSON object of tool names, each with a class, or with an object
    of `class` and `reason`.

    Raises:
        SettingsError: it cannot be read, with every problem found.
    """
    import json

    try:
        with path.open("rb") as file:
            given = json.loads(file.read(MAX_OVERRIDES_BYTES))
    except (OSError, ValueError) as error:
        raise SettingsError([Problem(f"cannot read `{path}`: {str(error).lower()}")]) from error
    if not isinstance(given, dict):
        raise SettingsError([Problem(f"`{path}` holds no object of tool names")])
    found: dict[str, Override] = {}
    problems = []
    for name, value in given.items():
        form: Any = {"class": value} if isinstance(value, str) else value
        kind = next((k for k in CLASSES if isinstance(form, dict) and form.get("class") == k), None)
        if kind is None or set(form) - {"class", "reason"}:
            problems.append(
                Problem(f"`{path}`: `{name}` has no class", f"one of {', '.join(CLASSES)}")
            )
        else:
            found[name] = Override(kind, str(form.get("reason", "")))
    if problems:
        raise SettingsError(problems)
    return found


def shown(text: str, most: int = 400) -> str:
    """Text of a stranger for a person: one line, bounded, nothing that moves a cursor or hides."""
    plain = "".join(_visible(c) for c in re.sub(r"\s+", " ", text[: 4 * most]).strip())
    return plain if len(plain) <= most else plain[: most - 1] + "…"


def _visible(c: str) -> str:
    if unicodedata.category(c) in ("Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"):
        return f"\\u{{{ord(c):x}}}"
    return c
