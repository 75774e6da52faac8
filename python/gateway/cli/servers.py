"""Servers as a command line names them, and their lists of tools."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli.problems import EXIT_INVALID, report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.author.asking import Outcome
    from gateway.author.targets import Target
    from gateway.author.tools import Listing


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
        report(f"error: cannot read `{path}`: {(error.strerror or str(error)).lower()}")
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
