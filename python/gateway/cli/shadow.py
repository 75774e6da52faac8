"""`interlock shadow`: what shadow mode would have refused, and putting a rule in force."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.problems import (
    EXIT_INVALID,
    EXIT_PROBLEMS,
    EXIT_UNAVAILABLE,
    cannot,
    complain,
    report,
)

if TYPE_CHECKING:
    from gateway.author.shadow import Summary

TIMEOUT_S = 10.0


@click.group("shadow")
def command() -> None:
    """See what rules in shadow mode would have refused, and put one in force.

    A rule, limit or entry with `mode: shadow` is decided, counted and recorded, and refuses
    nothing. Look at what it would have done, and when that is right, promote it.
    """


@command.command("summarise")
@click.argument("logs", nargs=-1, type=click.Path(path_type=Path))
@click.option("--metrics", metavar="URL", help="A running sidecar's /metrics, instead of LOGS.")
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text")
def summarise(logs: tuple[Path, ...], metrics: str | None, style: str) -> None:
    """Tell by rule, grant and tool what shadow mode recorded in decision logs.

    `-` reads a log from standard input.

    Metrics tell the numbers by rule only, since the sidecar's start.
    """
    if bool(logs) == (metrics is not None):
        raise click.UsageError("give decision logs, or --metrics")
    if metrics is not None:
        _tell_metrics(metrics, style)
        return
    from gateway.author.calllog import Calls
    from gateway.author.shadow import summarise as add_up

    calls = Calls(list(logs))
    try:
        summary = add_up(calls)
    except OSError as error:
        cannot("read", error.filename, error)
    if not summary.calls:
        report("error: there are no calls in it")
        report(f"help: {calls.unread.first or 'give decision logs'}")
        raise click.exceptions.Exit(EXIT_INVALID)
    if style == "json":
        click.echo(json.dumps(_as_data(summary)))
    else:
        for line in _words(summary):
            click.echo(line)


@command.command("promote")
@click.argument("policy", type=click.Path(path_type=Path))
@click.argument("rule")
@click.option("--dry-run", is_flag=True, help="Print the file instead of writing it.")
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text")
def promote(policy: Path, rule: str, dry_run: bool, style: str) -> None:
    """Put what RULE points to in POLICY in force.

    RULE is an RFC 6901 pointer, as `summarise` and the decision log tell it, such as
    /tools/send/limits/0; "" is the document. The word `shadow` becomes `enforce` and no other byte
    changes. The file is replaced at once and whole, and only if the result is a policy: a running
    sidecar takes it up by itself.
    """
    from gateway.author.document import DocumentError
    from gateway.author.shadow import PromotionError, promoted, write

    try:
        content = promoted(policy, rule)
        if dry_run:
            click.echo(content, nl=False)
            return
        write(policy, content)
    except DocumentError as error:
        complain(*error.faults)
        raise click.exceptions.Exit(EXIT_INVALID) from error
    except PromotionError as error:
        report(f"error: {error}")
        if error.help is not None:
            report(f"help: {error.help}")
        raise click.exceptions.Exit(EXIT_PROBLEMS) from error
    except OSError as error:
        cannot("write", policy, error)
    if style == "json":
        click.echo(json.dumps({"policy": str(policy), "rule": rule, "mode": "enforce"}))
    else:
        click.echo(f"{policy}: `{rule or 'the document'}` is in force")


def _words(summary: Summary) -> Iterable[str]:
    from gateway.author.calls import counted

    yield f"{summary.shadowed:,} of {summary.calls:,} calls would have been refused"
    for one in sorted(summary.rules.values(), key=lambda one: -len(one.at_ns)):
        yield from one.lines(counted(len(one.at_ns), "call"))


def _as_data(summary: Summary) -> dict[str, Any]:
    rules = [one.data() for one in summary.rules.values()]
    return {"calls": summary.calls, "shadowed": summary.shadowed, "rules": rules}


def _tell_metrics(url: str, style: str) -> None:
    from gateway.author.shadow import from_metrics

    found = from_metrics(_scrape(url))
    if style == "json":
        rows = [
            {"server": server, "rule": rule, "calls": count}
            for (server, rule), count in found.items()
        ]
        click.echo(json.dumps({"rules": rows}))
        return
    if not found:
        click.echo("nothing would have been refused")
    for (server, rule), count in sorted(found.items(), key=lambda one: -one[1]):
        click.echo(f"{count:>10,}  {server}  {rule}")


def _scrape(url: str) -> str:
    from http.client import HTTPException
    from urllib.request import ProxyHandler, build_opener

    if not url.startswith(("http://", "https://")):
        raise click.UsageError(f"`{url}` is no URL of http or https")
    try:
        # A sidecar is asked directly, whatever proxy this machine has for the web.
        with build_opener(ProxyHandler({})).open(url, timeout=TIMEOUT_S) as answer:
            return bytes(answer.read()).decode()
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        report(f"error: `{url}` did not tell its metrics: {reason}")
        report("help: it is the admin port's, such as http://127.0.0.1:9090/metrics")
        raise click.exceptions.Exit(EXIT_UNAVAILABLE) from error
