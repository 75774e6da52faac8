"""Servers as a command line names them, and their lists of tools."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gateway.cli.options import handed
from gateway.cli.problems import EXIT_INVALID, EXIT_PROBLEMS, cannot, report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.author.asking import Outcome
    from gateway.author.targets import Target
    from gateway.author.tools import Listing


F = TypeVar("F", bound=Callable[..., Any])

TIMEOUT_S = 60.0


def tools_option(command: F) -> F:
    """`--tools FILE`"""
    return click.option(
        "--tools",
        "listed",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="A saved `tools/list` answer, instead of a server.",
    )(command)


def clients_option(help: str) -> Callable[[F], F]:
    """`--clients`"""
    return click.option("--clients", is_flag=True, help=help)


def asking_options(command: F) -> F:
    """`--header`, `--env` and `--timeout`: how the server of the command line is asked."""
    for option in (
        click.option(
            "--timeout",
            "timeout_s",
            type=click.FloatRange(min=0, min_open=True),
            default=TIMEOUT_S,
            show_default=True,
            metavar="SECONDS",
            help="For each server.",
        ),
        click.option(
            "--env",
            "variables",
            multiple=True,
            metavar="NAME",
            help="A variable that the command gets too.",
        ),
        click.option(
            "--header",
            "headers",
            multiple=True,
            metavar="'NAME: VALUE'",
            help="Sent to the URL. ${env:NAME} is the variable, which other users cannot see.",
        ),
    ):
        command = option(command)
    return command


def target(
    url: str | None,
    given: tuple[str, ...],
    name: str,
    headers: tuple[str, ...],
    variables: tuple[str, ...],
) -> Target:
    """The server of the command line.

    Raises:
        click.UsageError: a header is none, or a variable is not set.
    """
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
    return Target(name, url=url, command=given, env=handed(variables), headers=fields)


def of_clients() -> list[Target]:
    """The servers that clients on this machine are set up with.

    Raises:
        click.exceptions.Exit: there are none; everything was printed.
    """
    from gateway.author.clients import find

    found = find(Path.home(), Path.cwd(), os.environ)
    for problem in found.problems:
        report(f"warning: {problem}")
    if not found.targets:
        report("error: no client's configuration on this machine names a server")
        report("help: name one: `interlock scan URL`, or `interlock scan -- COMMAND`")
        raise click.exceptions.Exit(EXIT_PROBLEMS)
    return found.targets


class Split(click.Command):
    """Keeps apart what stands before `--` and after it, which click would join."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            ctx.meta["server_command"] = tuple(args[at + 1 :])
            args = args[:at]
        return super().parse_args(ctx, args)


def saved(path: Path, name: str) -> Listing:
    """The tools of a saved answer.

    Raises:
        click.exceptions.Exit: it cannot be used; everything was printed.
    """
    from gateway.author.tools import Listing, Unreadable, saved

    try:
        return Listing(name or path.stem, saved(path.read_bytes()))
    except OSError as error:
        cannot("read", path, error)
    except Unreadable as error:
        report(f"error: `{path}`: {error}")
        report("help: it should hold the JSON that a server answers to `tools/list`")
    raise click.exceptions.Exit(EXIT_INVALID)


def ask(targets: Sequence[Target], timeout_s: float) -> list[Listing | None]:
    """The lists of several servers, in the order they were named; None of one that did not tell,
    after saying why. On a terminal it is told how far it has come."""
    from gateway.author.asking import ask_all

    watched = sys.stderr.isatty()
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
            target = outcome.target
            place = f" (`{target.source}`)" if target.source else ""
            report(f"error: `{target.shown}`{place} did not tell its tools: {outcome.problem}")
    return [outcome.listing for outcome in outcomes]
