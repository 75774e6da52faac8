"""The labelled tools of published servers; see tests/data/tools/README.md."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from gateway.author.classify import CLASSES, Class
from gateway.author.tools import Tool, read_tool

FOLDER = Path(__file__).parents[1] / "data" / "tools"


@dataclass(frozen=True)
class Labelled:
    """A tool and the class that a person gave it."""

    package: str
    tool: Tool
    kind: Class

    @property
    def held_back(self) -> bool:
        """Whether nothing was tuned on it."""
        return hashlib.sha256(self.tool.name.encode()).digest()[0] % 2 == 1


@cache
def labels() -> dict[tuple[str, str], Class]:
    """Classes by package and tool."""
    known = {str(kind): kind for kind in CLASSES}
    with (FOLDER / "labels.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    found = {(row["package"], row["tool"]): known[row["class"]] for row in rows}
    assert len(found) == len(rows)
    return found


@cache
def labelled() -> tuple[Labelled, ...]:
    """Every tool of every file, in a fixed order."""
    found = []
    for path in sorted(FOLDER.glob("*.json")):
        server = json.loads(path.read_text(encoding="utf-8"))
        for entry in server["tools"]:
            tool = read_tool(entry)
            found.append(Labelled(server["package"], tool, labels()[server["package"], tool.name]))
    return tuple(found)
