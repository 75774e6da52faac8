"""What a scan found, as text and as data.

INVARIANT: nothing a server sent reaches a terminal as anything but visible text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from gateway.author.assess import Assessed, Assessment, shown
from gateway.author.calls import counted
from gateway.author.classify import CLASSES
from gateway.author.recommend import EFFECTS, recommend

EFFECT_WORDS = {
    "allow": "allow",
    "limit": "limit",
    "hide": "hide",
    "approval": "ask a person",
}
_NAME_CHARS = 40


def data(assessments: Sequence[Assessment]) -> dict[str, Any]:
    """The whole result for a program; see docs/scan.md."""
    return {
        "servers": [
            {"server": one.server, "tools": [_tool(tool) for tool in one.tools]}
            for one in assessments
        ]
    }


def _tool(tool: Assessed) -> dict[str, Any]:
    evidence = [
        {"source": one.source, "quote": one.quote, "supports": one.supports, "weight": one.weight}
        for one in tool.evidence
    ]
    evidence += [
        {"source": "flag", "quote": flag.why, "supports": flag.slug, "weight": 0.0}
        for flag in tool.flags
    ]
    return {
        "name": tool.name,
        "class": tool.kind,
        "severity": tool.severity,
        "confidence": tool.confidence,
        "rationale": tool.rationale,
        "evidence": evidence,
        "flags": [flag.slug for flag in tool.flags],
        "recommended": recommend(tool).data(),
    }


def lines(assessments: Sequence[Assessment], *, why: bool = True) -> Iterator[str]:
    """The result for a person: a table for each server, the worst tools first.

    Args:
        why: with the reason and the flags under each tool.
    """
    for one in assessments:
        yield f"{shown(one.server, _NAME_CHARS)}: {summary(one)}"
        width = max((len(shown(tool.name, _NAME_CHARS)) for tool in one.tools), default=0)
        for tool in worst_first(one):
            name = shown(tool.name, _NAME_CHARS)
            effect = EFFECT_WORDS[EFFECTS[tool.kind]]
            row = (name.ljust(width), f"{tool.kind:11}", f"{tool.severity:8}", effect)
            yield "  " + "  ".join(row).rstrip()
            if why:
                yield f"      {shown(tool.rationale)}"
                yield from (f"      ! {flag.slug}: {shown(flag.why)}" for flag in tool.flags)


def summary(one: Assessment) -> str:
    """How many tools of each class."""
    if not one.tools:
        return "no tools"
    counts = Counter(tool.kind for tool in one.tools)
    return f"{counted(len(one.tools), 'tool')}, " + ", ".join(
        f"{counts[k]} {k}" for k in reversed(CLASSES) if counts[k]
    )


def worst_first(one: Assessment) -> list[Assessed]:
    """The tools of a server as a reviewer wants them."""
    return sorted(one.tools, key=lambda tool: (-CLASSES.index(tool.kind), tool.name))
