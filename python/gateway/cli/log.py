"""`interlock log`: whether a decision log is whole, and what is in it."""

from __future__ import annotations

import heapq
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar

import click
import orjson

from gateway._core import verify_log
from gateway.cli.problems import EXIT_PROBLEMS, EXIT_UNAVAILABLE, report

F = TypeVar("F", bound=Callable[..., Any])
Record = dict[str, Any]

LOOK_S = 0.25
"""How often `tail` looks whether there is more."""
_AGO = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@click.group("log")
def command() -> None:
    """Look at a decision log, or make sure that it is whole."""


@command.command("verify")
@click.argument("file")
@click.option(
    "--expect",
    multiple=True,
    metavar="HASH",
    help="A hash that a line must have: one that was written down earlier.",
)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
def verify(file: str, expect: tuple[str, ...], form: str) -> None:
    """Make sure that no line of FILE, and of the files that belong to it, was changed, left out,
    added or moved. `-` is standard input."""
    try:
        found = verify_log(file, list(expect))
    except OSError as error:
        report(f"error: `{file}` cannot be read: {(error.strerror or str(error)).lower()}")
        raise click.exceptions.Exit(EXIT_UNAVAILABLE) from None
    if form == "json":
        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2))
    else:
        _tell(found)
    if found["problems"] or found["missing"]:
        raise click.exceptions.Exit(EXIT_PROBLEMS)


def _tell(found: dict[str, Any]) -> None:
    for severity in ("problems", "notes"):
        word = "error" if severity == "problems" else "note"
        for remark in found[severity]:
            click.echo(f"{remark['file']}:{remark['line']}: {word}: {remark['message']}")
    if found["more_problems"]:
        click.echo(f"error: {found['more_problems']} more problems")
    for digest in found["missing"]:
        click.echo(f"error: no line has the hash {digest}")
    for chain in found["chains"]:
        lost = f", {chain['dropped']} left out" if chain["dropped"] else ""
        click.echo(
            f"{chain['file']}: numbers {chain['first_seq']} to {chain['last_seq']}{lost}; "
            f"ends with {chain['last_hash']}"
        )
    whole = not found["problems"] and not found["missing"]
    click.echo(f"{found['lines']} lines, {'whole' if whole else 'not whole'}")


def _filters(verb: F) -> F:
    options = [
        click.option("--grant", help="Only of this grant."),
        click.option("--tool", help="Only calls of this tool."),
        click.option("--code", help="Only with this code."),
        click.option("--effect", type=click.Choice(["allow", "deny"]), help="Only these."),
        click.option("--format", "form", type=click.Choice(["text", "json"]), default="text"),
    ]
    for option in reversed(options):
        verb = option(verb)
    return verb


@command.command("query")
@click.argument("file")
@_filters
@click.option("--since", metavar="TIME", help="Not before: 2026-11-21T14:00, or 90m, 2h, 7d ago.")
@click.option("--until", metavar="TIME", help="Before, likewise.")
def query(file: str, since: str | None, until: str | None, form: str, **wanted: str | None) -> None:
    """Show decisions of FILE, of all its writers and old files included. `-` is standard input."""
    start, end = _instant(since), _instant(until)
    fits = _fits(wanted)
    for record, line in _records(file):
        if not fits(record):
            continue
        if (start is None or record["ts"] >= start) and (end is None or record["ts"] < end):
            _show(record, line, form)


@command.command("tail")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_filters
@click.option("--lines", default=10, show_default=True, help="How many there are to begin with.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now on.")
def tail(file: Path, lines: int, form: str, *, follow: bool, **wanted: str | None) -> None:
    """Show the last decisions of FILE, and with -f those to come."""
    fits = _fits(wanted)
    with suppress(KeyboardInterrupt):
        for line in _last(file, lines, fits, follow=follow):
            record = _read(line)
            if record is not None:
                _show(record, line, form)


def _last(
    file: Path, wanted: int, fits: Callable[[Record], bool], *, follow: bool
) -> Iterator[bytes]:
    """The last lines that fit, and those that come, also after the file was rotated away."""
    stream = file.open("rb")
    try:
        kept: deque[bytes] = deque(maxlen=wanted)
        kept.extend(line for line in stream if _is_wanted(line, fits))
        yield from kept
        line = b""
        while follow:
            piece = stream.readline()
            line += piece
            if line.endswith(b"\n"):
                if _is_wanted(line, fits):
                    yield line
                line = b""
            elif not piece and _is_replaced(stream, file):
                stream.close()
                stream = file.open("rb")
            elif not piece:
                time.sleep(LOOK_S)
    finally:
        stream.close()


def _is_wanted(line: bytes, fits: Callable[[Record], bool]) -> bool:
    record = _read(line) if line.endswith(b"\n") else None
    return record is not None and fits(record)


def _is_replaced(stream: Any, file: Path) -> bool:
    """Whether there is another file by now, and nothing left in this one."""
    with suppress(FileNotFoundError):
        ours, theirs = os.fstat(stream.fileno()), file.stat()
        same = (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino)
        return not same and stream.tell() == ours.st_size
    return False


def _records(name: str) -> Iterator[tuple[Record, bytes]]:
    """What a log tells, with the line that tells it: each writer's in the order they were written,
    several writers' by their times."""
    if name == "-":
        return _read_all(sys.stdin.buffer)
    from gateway.author.logfiles import writers

    streams = [_read_files(own) for own in writers(Path(name))]
    if not streams:
        report(f"error: there is no `{name}`")
        raise click.exceptions.Exit(EXIT_UNAVAILABLE)
    return heapq.merge(*streams, key=lambda told: str(told[0]["ts"]))


def _read_files(files: Iterable[Path]) -> Iterator[tuple[Record, bytes]]:
    for file in files:
        with file.open("rb") as stream:
            yield from _read_all(stream)


def _read_all(stream: Iterable[bytes]) -> Iterator[tuple[Record, bytes]]:
    for line in stream:
        record = _read(line)
        if record is not None:
            yield record, line


def _fits(wanted: dict[str, str | None]) -> Callable[[Record], bool]:
    """Whether a record is one of those that are asked for; events are, where nothing is asked."""
    asked = [(name, value) for name, value in wanted.items() if value is not None]
    return lambda record: all(record.get(name) == value for name, value in asked)


def _read(line: bytes) -> Record | None:
    """A line's members; None for what is no line, which `verify` tells."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("ts"), str) else None


def _show(record: Record, line: bytes, form: Literal["text", "json"] | str) -> None:
    if form == "json":
        click.echo(line.rstrip(b"\n"))
        return
    if "event" in record:
        rest = {k: v for k, v in record.items() if k not in _UNTOLD}
        click.echo(f"{record['ts']}  {record['event']}  {orjson.dumps(rest).decode()}")
        return
    what = record.get("tool") or record.get("method") or "-"
    parts = [record["ts"], f"{record['effect']:<5}", what]
    if record["effect"] == "deny":
        parts += [record["code"], record.get("rule") or ""]
    parts.append(record.get("fault") or "")
    if record.get("duration_ms") is not None:
        parts.append(f"{record['duration_ms']:.1f} ms")
    parts.append(f"{record.get('grant') or '-'}@{record.get('server') or '-'}")
    click.echo("  ".join(_visible(str(part)) for part in parts if part))


_UNTOLD = {"ts", "seq", "event", "prev", "hash"}


def _visible(text: str) -> str:
    """Without anything that would write to a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _instant(text: str | None) -> str | None:
    """A time as the log writes it; such texts compare as the times do.

    Raises:
        click.BadParameter: it is none.
    """
    if text is None:
        return None
    number, unit = text[:-1], text[-1:]
    if number.isdecimal() and unit in _AGO:
        at = datetime.now(UTC) - timedelta(**{_AGO[unit]: int(number)})
    else:
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            raise click.BadParameter(
                f"`{text}` is no time, such as 2026-11-21T14:00 or 2h"
            ) from None
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
