"""`interlock scan`: what agents can call, how risky it is, and what to allow."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli.problems import EXIT_INVALID, EXIT_PROBLEMS, EXIT_UNAVAILABLE, report

if TYPE_CHECKING:
    from gateway.author.asking import Outcome
    from gateway.author.assess import Assessment
    from gateway.author.targets import Target
    from gateway.author.tools import Listing

TIMEOUT_S = 60.0


class Split(click.Command):
    """Keeps apart what stands before `--` and after it, which click would join."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            ctx.meta["server_command"] = tuple(args[at + 1 :])
            args = args[:at]
        return super().parse_args(ctx, args)


@click.command("scan", cls=Split)
@click.argument("url", required=False)
@click.option(
    "--clients",
    is_flag=True,
    help="All servers that desktop clients on this machine are set up with.",
)
@click.option(
    "--tools",
    "saved",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A saved `tools/list` answer, instead of a server.",
)
@click.option("--name", default="", help="What to call the one server.")
@click.option(
    "--header",
    "headers",
    multiple=True,
    metavar="'NAME: VALUE'",
    help="Sent to the URL. ${env:NAME} in it is the variable, which other users cannot see.",
)
@click.option(
    "--env",
    "variables",
    multiple=True,
    metavar="NAME",
    help="A variable that the command gets too.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    default=TIMEOUT_S,
    show_default=True,
    metavar="SECONDS",
    help="For each server.",
)
@click.option(
    "--classes",
    "overrides",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Classes that you set yourself: JSON, {tool: class}.",
)
@click.option(
    "--html",
    "page",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a report to send.",
)
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text")
@click.pass_context
def command(
    ctx: click.Context,
    *,
    url: str | None,
    clients: bool,
    saved: Path | None,
    name: str,
    headers: tuple[str, ...],
    variables: tuple[str, ...],
    timeout_s: float,
    overrides: Path | None,
    page: Path | None,
    style: str,
) -> None:
    """List what a server's tools do, how bad a wrong call can be, and what to allow.

    The server is given by its URL, by a command after `--`, by the clients that use it, or by a
    file. It is asked for its list of tools, and no tool is called.

    \b
      interlock scan http://127.0.0.1:8000/mcp
      interlock scan -- npx -y @modelcontextprotocol/server-filesystem /tmp
      interlock scan --clients --html report.html
    """
    given = ctx.meta.get("server_command")
    if sum((url is not None, given is not None, clients, saved is not None)) != 1:
        raise click.UsageError("give one of: a URL, a command after `--`, --clients, --tools", ctx)
    if given == ():
        raise click.UsageError("the server's command is needed after `--`", ctx)
    from gateway.author.assess import assess, read_overrides
    from gateway.author.report import data, lines

    own = read_overrides(overrides) if overrides is not None else {}
    if saved is not None:
        listings, failed = [_saved(saved, name)], False
    else:
        targets = _clients() if clients else [_target(url, given or (), name, headers, variables)]
        listings, failed = _ask(targets, timeout_s)
    found = assess(listings, own)
    if page is not None:
        _write(page, _html(found))
    if style == "json":
        click.echo(json.dumps(data(found)))
    else:
        for line in lines(found):
            click.echo(line)
    if failed:
        raise click.exceptions.Exit(EXIT_UNAVAILABLE)


def _target(
    url: str | None,
    given: tuple[str, ...],
    name: str,
    headers: tuple[str, ...],
    variables: tuple[str, ...],
) -> Target:
    """The server of the command line."""
    from gateway.author.targets import ScanError, Target, expand

    fields = {}
    for header in headers:
        key, colon, value = header.partition(":")
        if not colon or not key.strip():
            raise click.UsageError("a header is written `NAME: VALUE`")
        try:
            fields[key.strip()] = expand(value.strip(), os.environ)
        except ScanError as error:
            raise click.UsageError(str(error)) from error
    for variable in variables:
        if variable not in os.environ:
            raise click.UsageError(f"the variable `{variable}` is not set")
    env = {variable: os.environ[variable] for variable in variables}
    return Target(name, url=url, command=given, env=env, headers=fields)


def _clients() -> list[Target]:
    from gateway.author.clients import find

    found = find(Path.home(), Path.cwd(), os.environ)
    for problem in found.problems:
        report(f"warning: {problem}")
    if not found.targets:
        report("error: no client's configuration on this machine names a server")
        report("help: name one: `interlock scan URL`, or `interlock scan -- COMMAND`")
        raise click.exceptions.Exit(EXIT_PROBLEMS)
    return found.targets


def _saved(path: Path, name: str) -> Listing:
    from gateway.author.tools import Listing, Unreadable, saved

    try:
        return Listing(name or path.stem, saved(path.read_bytes()))
    except OSError as error:
        report(f"error: cannot read `{path}`: {(error.strerror or str(error)).lower()}")
    except Unreadable as error:
        report(f"error: `{path}`: {error}")
        report("help: it should hold the JSON that a server answers to `tools/list`")
    raise click.exceptions.Exit(EXIT_INVALID)


def _ask(targets: list[Target], timeout_s: float) -> tuple[list[Listing], bool]:
    """The lists of all that answered, in the order they were named, and whether one did not."""
    from gateway.author.asking import ask_all

    watched = sys.stderr.isatty() and len(targets) > 0
    done = 0

    def told(outcome: Outcome) -> None:
        nonlocal done
        done += 1
        if watched:
            click.echo(f"\r\x1b[K{done} of {len(targets)} servers asked", nl=False, err=True)

    outcomes = asyncio.run(ask_all(targets, timeout_s=timeout_s, told=told))
    if watched:
        click.echo("\r\x1b[K", nl=False, err=True)
    for outcome in outcomes:
        if outcome.problem is not None:
            place = f" (`{outcome.target.source}`)" if outcome.target.source else ""
            report(
                f"error: `{outcome.target.shown}`{place} did not tell its tools: {outcome.problem}"
            )
    listings = [outcome.listing for outcome in outcomes if outcome.listing is not None]
    return listings, len(listings) < len(outcomes)


def _html(found: list[Assessment]) -> str:
    from gateway.author.page import html

    return html(found)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        report(f"error: cannot write `{path}`: {(error.strerror or str(error)).lower()}")
        raise click.exceptions.Exit(EXIT_INVALID) from error
