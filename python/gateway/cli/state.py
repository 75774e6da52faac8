"""`interlock state`: what a limit table holds, and the way out when it cannot be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.errors import Problem, StartError, table_problem

if TYPE_CHECKING:
    from gateway._core import LimitTable


@click.group("state")
def command() -> None:
    """Show or reset the file in which limits are counted."""


@command.command("show")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text")
def show(path: Path, style: str) -> None:
    """Say what the table holds, also while a sidecar uses it."""
    table = _open(path)
    rows = table.dump()
    if style == "json":
        click.echo(json.dumps({"slots": table.slots, "used": table.used, "entries": rows}))
        return
    click.echo(f"{table.used} of {table.slots} slots used")
    for row in rows:
        click.echo("  ".join(f"{name}={value}" for name, value in row.items()))


@command.command("reset")
@click.argument("path", type=click.Path(path_type=Path))
def reset(path: Path) -> None:
    """Forget every count. Refused while a sidecar uses the table."""
    from gateway._core import LimitTable

    _must_exist(path)
    try:
        # Held while its file goes, so that nobody begins to count in what is about to vanish.
        table: LimitTable | None = LimitTable(path=str(path))
    except BlockingIOError as error:
        raise StartError(table_problem(error)) from error
    except OSError:
        table = None  # damaged, or of another release: what this command is for
    path.unlink()
    del table
    click.echo(f"`{path}` is gone; the next start makes a new one, with every limit unused")


def _open(path: Path) -> LimitTable:
    """The table, alone or beside the sidecar that has it open.

    Raises:
        StartError: it cannot be read.
    """
    from gateway._core import LimitTable

    _must_exist(path)
    try:
        try:
            return LimitTable(path=str(path))
        except BlockingIOError:
            return LimitTable.join(str(path))
    except OSError as error:
        raise StartError(table_problem(error)) from error


def _must_exist(path: Path) -> None:
    if not path.is_file():
        raise StartError(Problem(f"there is no state file `{path}`"))
