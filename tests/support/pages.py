"""Reads README.md and the pages of docs/, whose examples are executed.

Two things of Markdown are understood: fenced blocks, and tables. A table that follows a block, with
nothing but sentences between, belongs to it and says what the block's policy decides.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from casefile import instant
from gateway import Caller, Decision, Engine, LimitTable, PolicySet

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
DAY = "2026-03-02"
"""The Monday on which examples happen that do not say when."""

Row = dict[str, str]


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: the first word behind the fence.
        note: the words after it.
        rows: the table that belongs to the block, by column name.
    """

    page: str
    line: int
    heading: str
    language: str
    note: str
    text: str
    rows: list[Row] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def page(name: str) -> str:
    """The text of a page, by its path in the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def prose(name: str) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page(name), flags=re.M | re.S)


def headings(name: str) -> list[tuple[int, str]]:
    """Every heading with its level."""
    return [(len(marks), text) for marks, text in re.findall(r"^(#+) (.+)$", prose(name), re.M)]


def sections(name: str, level: int) -> dict[str, str]:
    """Text by heading of a level; a section ends at the next heading of that level or above."""
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    fenced = False
    for line in page(name).splitlines():
        fenced ^= line.startswith("```")
        heading = None if fenced else re.fullmatch(r"(#+) (.+)", line)
        if heading is not None and len(heading[1]) <= level:
            current = found.setdefault(heading[2], []) if len(heading[1]) == level else None
        elif current is not None:
            current.append(line)
    return {heading: "\n".join(lines) for heading, lines in found.items()}


def codes(text: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", text)


def blocks(name: str) -> list[Block]:
    """Every fenced block of a page."""
    lines = page(name).splitlines()
    found: list[Block] = []
    heading, at = "", 0
    while at < len(lines):
        line = lines[at]
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith("```"):
            language, _, note = line[3:].partition(" ")
            end = lines.index("```", at + 1)
            text = "\n".join(lines[at + 1 : end]) + "\n"
            rows = list(table(lines[end + 1 :]))
            found.append(Block(name, at + 1, heading, language, note, text, rows))
            at = end
        at += 1
    return found


def table(lines: list[str]) -> Iterator[Row]:
    """The rows of a table, unless a heading or a block comes first."""
    columns: list[str] | None = None
    for line in lines:
        if not line.startswith("|"):
            if columns is not None or line.startswith(("#", "```")):
                return
            continue
        cells = [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if columns is None:
            columns = cells
        elif not set("".join(cells)) <= set("-: "):
            assert len(cells) == len(columns), line
            yield dict(zip(columns, cells, strict=True))


def plain(cell: str) -> str:
    """A cell without the backticks around it."""
    return cell.strip("`")


def message(call: str) -> bytes:
    """A request for `tool`, `tool {arguments}`, or `a/method {params}`."""
    name, _, rest = call.partition(" ")
    if "/" in name or name == "ping":
        params = rest or "{}"
        return f'{{"jsonrpc":"2.0","id":1,"method":"{name}","params":{params}}}'.encode()
    arguments = f',"arguments":{rest}' if rest else ""
    params = f'{{"name":{json.dumps(name)}{arguments}}}'
    return f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}'.encode()


def caller(text: str) -> Caller:
    """`grant`, `grant session s` and `grant at server`, in that order."""
    found = re.fullmatch(r"(\S+)(?: session (\S+))?(?: at (\S+))?", text)
    assert found is not None, text
    return Caller(found[1], server=found[3] or "default", session=found[2])


def parse(block: Block) -> PolicySet:
    """The policy of a block."""
    return PolicySet.parse(block.text.encode(), name=f"page.{block.language}")


def walk(block: Block) -> None:
    """Do what the rows of a block say, one after the other, and compare.

    Columns: `at` (time of day on a Monday, or a whole instant), `call`, `who`, `decision` (a code),
    `rule`, `left`, `wait`, `shadow`, `message`. A call may have a label, as in `` `t` as a ``; a
    later row whose call is `a ends` or `a was not sent` ends it. The others end at once.
    """
    walk_all([block])


def walk_all(timeline: list[Block]) -> None:
    """The same for several blocks, each of whose policies takes over from the one before."""
    engine: Engine | None = None
    running: dict[str, Decision] = {}
    for block in timeline:
        if engine is None:
            engine = Engine(parse(block), LimitTable(256))
        else:
            engine.install(parse(block))
        for row in block.rows:
            _step(f"{block}: {row}", row, engine, running)


def _step(where: str, row: Row, engine: Engine, running: dict[str, Decision]) -> None:
    now = instant(_when(row.get("at", "00:00:00")))
    if ended := re.fullmatch(r"(\w+) (ends|was not sent)", row["call"]):
        outcome: Literal["done", "not-sent"] = "done" if ended[2] == "ends" else "not-sent"
        engine.settle(running.pop(ended[1]), outcome, now_ns=now)
        return
    call, _, label = row["call"].partition("` as ")
    who = caller(plain(row.get("who", "default")))
    decision = engine.decide(who, message(plain(call)), now_ns=now)
    _compare(where, row, decision)
    if label:
        running[label] = decision
    else:
        engine.settle(decision, "done", now_ns=now)


def _when(text: str) -> str:
    moment = plain(text)
    day, time = moment.split(" ") if " " in moment else (DAY, moment)
    return f"{day}T{time}Z"


def _compare(where: str, row: Row, decision: Decision) -> None:
    told: dict[str, Any] = {
        "decision": decision.code,
        "rule": decision.rule or "",
        "left": "" if decision.remaining is None else f"{decision.remaining:g}",
        "wait": "" if decision.retry_after_ms is None else f"{decision.retry_after_ms / 1000:g} s",
        "shadow": ", ".join(f"{code} {rule}" for rule, code in decision.shadow),
        "message": decision.message.replace("`", ""),
    }
    for column in row.keys() & told.keys():
        written = row[column].replace("`", "")
        assert told[column] == written, f"{where}\n{column}: {told[column]!r}"
