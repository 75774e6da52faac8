"""What must hold after a soak, and the figures that say how it was.

A kill may lose what was under way, and nothing else. So each message that had no answer must have
been under way at a kill, each fault at an injected outage; and client, log and metrics agree on all
that no kill can explain:

* the log lacks lines of calls that were answered within `INSTANT_S` of a kill only;
* the metrics of a worker that was killed are those of its last scrape, so they lack what the log
  says of that worker from then on.
"""

from __future__ import annotations

import json
import re
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from soaking import EXPECTED, KINDS, LEFT, LOST, UNSENT, Books

INSTANT_S = 0.5
"""Within which a line may still be on its way to the kernel, on a machine that is busy."""
AFTERMATH_S = 2.0
"""How long after an outage or a kill somebody may still meet its consequences."""
GROWTH_BYTES = 8 << 20
"""What memory may grow by after it has warmed up."""
FILES = 2
"""What the number of open files may differ by."""
SERIES = 12
"""How many series of the metrics may be new: codes and faults that had not occurred yet."""
FAULTS = {"upstream-unreachable", "upstream-failed"}


@dataclass(frozen=True)
class Kill:
    """A worker's end.

    Attributes:
        worker: its number in the log.
        scraped_s: when the last scrape before it began.
        at_s: when it was killed.
    """

    worker: int
    scraped_s: float
    at_s: float


@dataclass
class History:
    """What was done, and what was seen of the processes.

    Attributes:
        kills: in their order.
        outages: of the server: begin and end.
        reloads: how many.
        memory: time in seconds and resident bytes of the worker that nobody kills, after it has
            warmed up.
        supervisor: the same of the supervisor.
        files: open files of both while nothing goes on: before and after.
        series: names of the metrics' series: before and after.
    """

    kills: list[Kill] = field(default_factory=list)
    outages: list[tuple[float, float]] = field(default_factory=list)
    reloads: int = 0
    memory: list[tuple[float, int]] = field(default_factory=list)
    supervisor: list[tuple[float, int]] = field(default_factory=list)
    files: list[tuple[int, int]] = field(default_factory=list)
    series: list[set[str]] = field(default_factory=list)


@dataclass
class Lines:
    """The decision log, held against the books.

    Attributes:
        codes: how often each code was decided.
        late: of these, decided by a killed worker after its last scrape.
        unanswered: lines of messages whose clients got no answer.
        missing: numbers of answered messages without a line.
        wrong: what must not be, in words.
        total: lines in all.
    """

    codes: Counter[str] = field(default_factory=Counter)
    late: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    missing: list[int] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    total: int = 0


def files_of(log: Path) -> list[Path]:
    """All files of a log, of whichever worker."""
    return sorted(log.parent.glob(log.name + "*"))


def records(log: Path) -> Iterator[dict[str, Any]]:
    """Every line that is whole."""
    for file in files_of(log):
        with file.open("rb") as lines:
            for line in lines:
                if line.endswith(b'"}\n') and line.startswith(b"{"):
                    yield json.loads(line)


def slope(points: Sequence[tuple[float, int]]) -> float:
    """Bytes a second, by least squares; 0 for fewer than two points."""
    if len(points) < 2:
        return 0.0
    mean_t = sum(at for at, _ in points) / len(points)
    mean_y = sum(size for _, size in points) / len(points)
    spread = sum((at - mean_t) ** 2 for at, _ in points)
    return sum((at - mean_t) * (size - mean_y) for at, size in points) / spread if spread else 0.0


def read_lines(log: Iterable[dict[str, Any]], books: Books, kills: Sequence[Kill]) -> Lines:
    """Holds each line against the message that has its number."""
    found = Lines()
    seen = bytearray(len(books.states))
    for record in log:
        found.total += 1
        number = record.get("request_id")
        if number is None:
            if "event" not in record and record["method"] != "DELETE":
                found.wrong.append(f"a line of no message: {record}")
            continue
        if seen[number]:
            found.wrong.append(f"message {number} has two lines")
        seen[number] = 1
        code = record["code"]
        found.codes[code] += 1
        at_s = datetime.fromisoformat(record["ts"]).timestamp()
        if any(
            kill.worker == record["worker"] and kill.scraped_s <= at_s <= kill.at_s + INSTANT_S
            for kill in kills
        ):
            found.late[code] += 1
        told = books.code(number)
        if told is None:
            found.unanswered += 1
        elif told != record.get("fault", code):
            found.wrong.append(f"message {number} was told {told}, its line says {record}")
    found.missing = [
        number for number, had in enumerate(seen) if not had and books.code(number) is not None
    ]
    return found


def explained(books: Books, history: History) -> Iterator[str]:
    """What happened to a client and was not injected, in words."""
    kills = [kill.at_s for kill in history.kills]

    def killed_within(begin_s: float, end_s: float) -> bool:
        at = bisect_left(kills, begin_s)
        return at < len(kills) and kills[at] <= end_s

    for number, state in enumerate(books.states):
        kind = KINDS[books.kinds[number]]
        begin_s, end_s = books.sent_s[number], books.ended_s[number]
        if state == UNSENT:
            yield f"message {number} ({kind}) never ended"
        elif state == LOST:
            opened_s = max(books.opened_s[number], end_s - AFTERMATH_S)
            if not killed_within(opened_s - INSTANT_S, end_s):
                yield f"message {number} ({kind}) was lost, and nobody was killed"
        elif state != LEFT:
            code = books.code(number)
            if code in EXPECTED[kind]:
                continue
            if code in FAULTS and any(
                begin_s <= end + AFTERMATH_S and begin <= end_s for begin, end in history.outages
            ):
                continue
            if code == "contended" and killed_within(begin_s - AFTERMATH_S, end_s):
                continue
            yield f"message {number} ({kind}) was answered {code}"


def balance(books: Books, history: History, lines: Lines, metrics: Counter[str]) -> Iterator[str]:
    """Where client, log and metrics disagree by more than a kill explains."""
    yield from books.wrong
    yield from lines.wrong
    kills = [kill.at_s for kill in history.kills]
    unlogged: Counter[str] = Counter()
    for number in lines.missing:
        ended_s = books.ended_s[number]
        unlogged[str(books.code(number))] += 1
        if not any(abs(ended_s - at_s) <= INSTANT_S for at_s in kills):
            yield f"message {number} was answered at no kill, and has no line"
    gone = books.count(LOST) + books.count(LEFT)
    for code in sorted(lines.codes | metrics):
        short = lines.codes[code] - metrics[code]
        if short > lines.late[code]:
            yield f"{code}: {lines.codes[code]} lines, {metrics[code]} in the metrics"
        if -short > sum(unlogged.values()) + gone:
            yield f"{code}: {metrics[code]} in the metrics, {lines.codes[code]} lines"
        if not history.kills and short:
            yield f"{code}: nobody was killed, and {short} are not in the metrics"


def steady(history: History) -> Iterator[str]:
    """What grew."""
    for what, points in (("worker", history.memory), ("supervisor", history.supervisor)):
        seconds = points[-1][0] - points[0][0]
        grown = slope(points) * seconds
        if grown > GROWTH_BYTES:
            yield f"the {what}'s memory grew by {grown / 2**20:.1f} MiB in {seconds:.0f} s"
    for before, after in zip(*history.files, strict=True):
        if abs(after - before) > FILES:
            yield f"{before} open files before, {after} after"
    new = history.series[1] - history.series[0]
    if len(new) > SERIES:
        yield f"{len(new)} new series in the metrics: {sorted(new)[:3]}"


def decided(metrics: str) -> Counter[str]:
    """Decisions by code, of a scrape."""
    counts: Counter[str] = Counter()
    for code, value in re.findall(r'interlock_decisions_total{.*code="([^"]+)"} (\S+)', metrics):
        counts[code] += int(float(value))
    return counts


def series(metrics: str) -> set[str]:
    """The series of a scrape, whatever version of the policy is in force."""
    lines = [line for line in metrics.splitlines() if not line.startswith("#")]
    return {re.sub(r'digest="[^"]*"', "", line.rpartition(" ")[0]) for line in lines}


def told(books: Books, history: History, lines: Lines, metrics: Counter[str]) -> dict[str, Any]:
    """The figures, for the result."""
    first, last = history.memory[0], history.memory[-1]
    return {
        "messages": len(books.states),
        "answered": dict(books.codes()),
        "lost_at_kills": books.count(LOST),
        "left": books.count(LEFT),
        "reached_the_server": sum(books.arrived.values()),
        "kills": len(history.kills),
        "upstream_restarts": len(history.outages),
        "reloads": history.reloads,
        "log_lines": lines.total,
        "lines_without_answer": lines.unanswered,
        "answers_without_line": len(lines.missing),
        "not_in_metrics": sum((lines.codes - metrics).values()),
        "only_in_metrics": sum((metrics - lines.codes).values()),
        "worker_rss_bytes": [first[1], last[1]],
        "worker_slope_bytes_per_minute": round(60 * slope(history.memory)),
        "supervisor_slope_bytes_per_minute": round(60 * slope(history.supervisor)),
        "open_files": history.files,
        "watched_s": round(last[0] - first[0]),
        "ended": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
