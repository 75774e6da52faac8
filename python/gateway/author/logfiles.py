"""The files that one decision log consists of.

Up to eight processes write one log: the first to the file that was named, each further one to its
own beside it, and each leaves full files behind under a number (docs/decision-log.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

WRITERS = 8
"""Processes that may write one log (`gateway-log`)."""


def writers(path: Path) -> Iterator[list[Path]]:
    """The files that are there, for each writer that has any, oldest first."""
    for number in range(WRITERS):
        own = path if number == 0 else path.with_name(f"{path.name}.w{number}")
        old = [
            file
            for file in own.parent.glob(f"{_literal(own.name)}.*")
            if (digits := file.name.removeprefix(own.name + ".")).isdigit() and len(digits) >= 6
        ]
        found = sorted(old, key=lambda file: int(file.name.rpartition(".")[2]))
        if own.exists():
            found.append(own)
        if found:
            yield found


def _literal(name: str) -> str:
    """A name in which a glob finds no pattern."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
