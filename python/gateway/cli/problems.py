"""How problems are worded on a terminal, and the exit codes that go with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from gateway._core import Diagnostic, PolicySet
    from gateway.errors import Problem

EXIT_PROBLEMS = 1
EXIT_INVALID = 64
EXIT_UNAVAILABLE = 69
EXIT_INTERNAL = 70


def report(line: str) -> None:
    """Print one line on standard error."""
    click.echo(line, err=True)


def complain(problem: Problem) -> None:
    """Print a problem of the settings, and its help."""
    for line in problem.lines():
        report(line)


def lines(path: str, diagnostic: Diagnostic) -> list[str]:
    """A problem of a document: the line that names its place, and its help."""
    place = f"{path}:{diagnostic.line}:{diagnostic.column}"
    first = f"{place}: {diagnostic.severity}[{diagnostic.code}]: {diagnostic.message}"
    return [first] + ([f"help: {diagnostic.help}"] if diagnostic.help is not None else [])


def load_policy(path: Path) -> PolicySet:
    """Compile a policy, or say what is wrong with it and exit.

    Raises:
        click.exceptions.Exit: it cannot be read or used; everything was printed.
    """
    from gateway._core import PolicyError
    from gateway.policies import PolicySource

    try:
        return PolicySource(path).load()
    except OSError as error:
        report(f"error: cannot read `{path}`: {error.strerror or error}")
    except PolicyError as error:
        for diagnostic in error.diagnostics:
            for line in lines(str(path), diagnostic):
                report(line)
    raise click.exceptions.Exit(EXIT_INVALID)
