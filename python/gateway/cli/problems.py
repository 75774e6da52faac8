"""How problems are worded on a terminal, and the exit codes that go with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from gateway._core import PolicySet
    from gateway.author.document import Fault
    from gateway.errors import Problem

EXIT_PROBLEMS = 1
EXIT_INVALID = 64
EXIT_UNAVAILABLE = 69
EXIT_INTERNAL = 70


def report(line: str) -> None:
    """Print one line on standard error."""
    click.echo(line, err=True)


def cannot(verb: str, path: object, error: OSError) -> NoReturn:
    """Say that a file cannot be read or written, and exit.

    Raises:
        click.exceptions.Exit: always.
    """
    report(f"error: cannot {verb} `{path}`: {(error.strerror or str(error)).lower()}")
    raise click.exceptions.Exit(EXIT_INVALID) from error


def complain(*problems: Problem | Fault) -> None:
    """Print problems of settings or documents, each with its help."""
    for problem in problems:
        for line in problem.lines():
            report(line)


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
        cannot("read", path, error)
    except PolicyError as error:
        from gateway.author.document import Fault

        complain(*(Fault.of(str(path), diagnostic) for diagnostic in error.diagnostics))
    raise click.exceptions.Exit(EXIT_INVALID)
