"""The options that `run` and `wrap` share, each also a variable `INTERLOCK_<NAME>`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from gateway.settings import Address

F = TypeVar("F", bound=Callable[..., Any])


class AddressType(click.ParamType[Address]):
    """`HOST:PORT`."""

    name = "HOST:PORT"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Address:
        if isinstance(value, Address):
            return value
        try:
            return Address.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class AddressOrNone(AddressType):
    """`HOST:PORT`, or `none`."""

    name = "HOST:PORT|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value == "none" else super().convert(value, param, ctx)


def setting(name: str, **options: Any) -> Callable[[F], F]:
    """An option that the environment may give too; the command line beats it."""
    variable = "INTERLOCK_" + name.removeprefix("--").replace("-", "_").upper()
    return click.option(name, envvar=variable, show_envvar=True, **options)


def policy(command: F, *, required: bool = True) -> F:
    """`--policy FILE`"""
    return setting(
        "--policy",
        required=required,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="The policy document, JSON or YAML.",
    )(command)


def lock(command: F) -> F:
    """`--lock FILE` and `--pin enforce|warn`"""
    command = setting(
        "--pin",
        type=click.Choice(["enforce", "warn"]),
        default="enforce",
        show_default=True,
        help="What becomes of a tool that is not as it is pinned: refused, or only told.",
    )(command)
    return setting(
        "--lock",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Where the definitions of the server's tools are pinned.",
    )(command)


def state(command: F) -> F:
    """`--state PATH|memory`"""
    return setting(
        "--state",
        metavar="PATH|memory",
        help="Where the limits' counts are kept. By default a file in the user's state folder.",
    )(command)


def approvals(command: F) -> F:
    """`--approvals PATH`"""
    return setting(
        "--approvals",
        type=click.Path(path_type=Path),
        metavar="PATH",
        help="Where calls wait that a person must approve. Without it they are refused for good.",
    )(command)


def log(default: str) -> Callable[[F], F]:
    """`--log PATH|-|none`"""
    return setting(
        "--log",
        default=default,
        show_default=True,
        metavar="PATH|-|none",
        help="Where decisions are logged; - is standard output.",
    )


def log_overflow(command: F) -> F:
    """`--log-overflow deny|drop`"""
    return setting(
        "--log-overflow",
        type=click.Choice(["deny", "drop"]),
        default="deny",
        show_default=True,
        help="What becomes of a call that cannot be logged: refused, or let through and counted.",
    )(command)


def otel(command: F) -> F:
    """`--otel`"""
    return setting(
        "--otel",
        is_flag=True,
        help="Export spans to the collector that the OTEL_ variables name.",
    )(command)


def shadow(command: F) -> F:
    """`--shadow`"""
    return setting("--shadow", is_flag=True, help="Decide and count everything, refuse nothing.")(
        command
    )


def env(command: F) -> F:
    """`--env NAME`"""
    return setting(
        "--env",
        multiple=True,
        metavar="NAME",
        help="A variable that the server's command gets too; may come several times.",
    )(command)


def handed(names: Iterable[str]) -> dict[str, str]:
    """The variables of these names.

    Raises:
        click.UsageError: one is not set.
    """
    for name in names:
        if name not in os.environ:
            raise click.UsageError(f"the variable `{name}` is not set")
    return {name: os.environ[name] for name in names}


def name(command: F) -> F:
    """`--name NAME`"""
    return setting("--name", default="default", show_default=True, help="The server's name.")(
        command
    )


def grace(command: F) -> F:
    """`--grace SECONDS`"""
    return setting(
        "--grace",
        type=click.FloatRange(min=0),
        default=25.0,
        show_default=True,
        metavar="SECONDS",
        help="What running requests get when it is told to stop.",
    )(command)


def server_command(command: F) -> F:
    """`-- COMMAND [ARG...]`"""
    return click.argument(
        "server_command", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND [ARG]...]"
    )(command)
