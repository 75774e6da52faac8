"""`interlock replay`: what a policy would have made of calls that were made."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.problems import (
    EXIT_INVALID,
    EXIT_PROBLEMS,
    EXIT_UNAVAILABLE,
    cannot,
    load_policy,
    report,
)

if TYPE_CHECKING:
    from gateway.author.calllog import Unread
    from gateway.author.replay import Replay

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 48
KINDS = {
    "refused": "refused, and was allowed",
    "same": "refused",
    "recoded": "refused for another reason than before",
    "allowed": "allowed, and was refused",
    "shadow": "would be refused, were it not in shadow mode",
}


@click.command("replay")
@click.argument("policy", type=click.Path(path_type=Path))
@click.argument("logs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--grant", "grants", multiple=True, help="Only calls of this grant; several times.")
@click.option("--server", "servers", multiple=True, help="Only calls to this server, likewise.")
@click.option("--strict", is_flag=True, help="Exit with 1 if a call that was allowed is refused.")
@click.option("--suggest", is_flag=True, help="Print a policy with limits the calls would keep.")
@click.option(
    "--margin",
    type=click.FloatRange(1),
    default=1.25,
    show_default=True,
    help="How far above the peaks --suggest goes.",
)
@click.option("--svg", type=click.Path(path_type=Path), metavar="FILE", help="Draw it over time.")
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text")
def command(
    policy: Path,
    logs: tuple[Path, ...],
    grants: tuple[str, ...],
    servers: tuple[str, ...],
    strict: bool,
    suggest: bool,
    margin: float,
    svg: Path | None,
    style: str,
) -> None:
    """Decide the calls of LOGS again by POLICY, on a clock that shows when they were made.

    LOGS are decision logs (`-` reads one from standard input), or lists of calls, one JSON object a
    line:

    \b
        {"at": "2026-03-02T10:00:12Z", "tool": "pay", "args": {"amount": 5}, "grant": "ci"}

    It tells which calls would be refused that were not, from when on and whose, and the other way
    round. A decision log has no values of arguments, unless its owner asked for some; what hangs on
    them is told as not known, never as passed. Nothing is opened or changed.
    """
    from gateway.author.calllog import Calls
    from gateway.author.document import read
    from gateway.author.replay import Replayer

    policies = load_policy(policy)
    calls = Calls(list(logs), frozenset(grants), frozenset(servers))
    try:
        result = Replayer(policies, read(policy)).run(calls)
    except OSError as error:
        cannot("read", error.filename, error)
    if not result.calls:
        report("error: there are no calls to decide")
        report(f"help: {calls.unread.first or 'look at --grant and --server, and at the files'}")
        raise click.exceptions.Exit(EXIT_INVALID)
    if svg is not None:
        _draw(svg, result)
    if suggest:
        from gateway.author.suggest import suggest as suggested

        click.echo(json.dumps(suggested(result.peaks, margin), indent=2, ensure_ascii=False))
    elif style == "json":
        click.echo(json.dumps(_as_data(result, calls.unread)))
    else:
        for line in _words(result, calls.unread):
            click.echo(line)
    if strict and any(kind == "refused" for kind, _, _ in result.findings):
        raise click.exceptions.Exit(EXIT_PROBLEMS)


def _words(result: Replay, unread: Unread) -> Iterable[str]:
    from gateway.author.calls import counted, moment

    first, last = min(result.at_ns), max(result.at_ns)
    yield (
        f"{counted(result.calls, 'call')} of {counted(len(result.grants), 'grant')}, "
        f"{moment(first)} to {moment(last)}"
    )
    yield f"  {_sparkline(result.at_ns, first, last)}"
    yield from _table(result)
    for kind, title in KINDS.items():
        found = [one for (its, _, _), one in result.findings.items() if its == kind]
        if found:
            yield ""
            yield title + (", as before" if kind == "same" and result.was else "")
        for one in sorted(found, key=lambda one: -len(one.at_ns)):
            count = counted(len(one.at_ns), "call")
            if kind != "allowed":
                count = f"{len(one.at_ns):,} of {counted(result.of(one.rule), 'call')}"
            yield from one.lines(count)
            yield f"    {_sparkline(one.at_ns, first, last)}"
    if result.unknown:
        yield ""
        yield "not known, because the log does not hold the values of arguments"
        for unknown in result.unknown.values():
            yield f"  {unknown.rule}  {counted(unknown.calls, 'call')}: " + ", ".join(
                f"`{path}`" for path in sorted(unknown.arguments)
            )
        yield "limits count these as passed, and so refuse at most as often as is told here"
        names = sorted({path.split(".")[1] for path in _paths(result) if "." in path})
        yield f"help: let the log carry them: log: {{include_args: [{', '.join(names)}]}}"
    yield from _left_out(result, unread)


def _table(result: Replay) -> Iterable[str]:
    """Calls by code: in the log, if it says, and by the policy."""
    logged = bool(result.was)
    yield "  " + " " * 20 + ("      in the log" if logged else "") + "       by policy"
    for code in sorted({*result.was, *result.now}, key=lambda code: (code != "allowed", code)):
        was = f"{result.was[code]:>16,}" if logged else ""
        yield f"  {code.replace('not-known', 'not known'):<20}{was}{result.now[code]:>16,}"


def _left_out(result: Replay, unread: Unread) -> Iterable[str]:
    from gateway.author.calls import counted

    if result.out_of_order:
        yield ""
        yield (
            f"{counted(result.out_of_order, 'line')} out of order: windows do not go back, so "
            "these calls are counted in the newest"
        )
    if unread.lost:
        yield f"the log lacks {counted(unread.lost, 'line')}, and says so"
    if unread.decided_before:
        yield f"left out: {counted(unread.decided_before, 'message')} that no policy has a say in"
    if unread.count:
        yield f"left out: {counted(unread.count, 'line')} that cannot be read; {unread.first}"


def _buckets(at_ns: Sequence[int], first: int, last: int, count: int) -> list[int]:
    """Calls in each of `count` equal parts of the time from `first` to `last`."""
    buckets = [0] * count
    length = max(1, last - first)
    for at in at_ns:
        buckets[min(count - 1, (at - first) * count // length)] += 1
    return buckets


def _sparkline(at_ns: Sequence[int], first: int, last: int) -> str:
    buckets = _buckets(at_ns, first, last, WIDTH)
    most = max(buckets)
    return "".join(BARS[-(-count * 7 // most)] if count else "·" for count in buckets)


def _paths(result: Replay) -> set[str]:
    return {path for unknown in result.unknown.values() for path in unknown.arguments}


def _as_data(result: Replay, unread: Unread) -> dict[str, Any]:
    return {
        "calls": result.calls,
        "first_ns": min(result.at_ns),
        "last_ns": max(result.at_ns),
        "grants": dict(result.grants),
        "logged": dict(result.was),
        "decided": dict(result.now),
        "findings": [
            {"kind": kind, "of": result.of(one.rule), **one.data()}
            for (kind, _, _), one in result.findings.items()
        ],
        "unknown": [
            {"rule": one.rule, "calls": one.calls, "arguments": sorted(one.arguments)}
            for one in result.unknown.values()
        ],
        "out_of_order": result.out_of_order,
        "not_decided_by_policy": unread.decided_before,
        "lost": unread.lost,
        "unread": {"lines": unread.count, "first": unread.first},
    }


def _draw(path: Path, result: Replay) -> None:
    """Calls over time, and on them those that would be refused."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        report("error: drawing takes matplotlib: pip install 'interlock[plot]'")
        raise click.exceptions.Exit(EXIT_UNAVAILABLE) from error
    from gateway.author.calls import moment

    first, last = min(result.at_ns), max(result.at_ns)
    parts = 120
    step = max(1, last - first) / parts
    whens = [(first + step * index) / 1e9 / 86_400 for index in range(parts)]
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.add_subplot(title=f"{moment(first)} to {moment(last)}", ylabel="calls")
    axes.xaxis_date()
    axes.fill_between(whens, _buckets(result.at_ns, first, last, parts), label="calls", alpha=0.3)
    for (kind, _, _), one in result.findings.items():
        if kind in ("refused", "same", "shadow"):
            label = f"{one.rule} {one.code}"
            axes.plot(whens, _buckets(one.at_ns, first, last, parts), label=label)
    axes.legend(fontsize="small")
    try:
        figure.savefig(path, format="svg")
    except OSError as error:
        cannot("write", path, error)
