"""`interlock grant`: tokens, made, listed, rotated and revoked."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gateway.errors import Problem, SettingsError, StartError
from gateway.settings import NAME, NAME_HELP

if TYPE_CHECKING:
    from gateway.config.grants import Grant, GrantsFile
    from gateway.config.source import Whole

F = TypeVar("F", bound=Callable[..., Any])

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Duration(click.ParamType[float]):
    """`90s`, `5m`, `24h`, `7d`, as seconds."""

    name = "DURATION"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        found = re.fullmatch(r"([0-9]{1,6})([smhd])", str(value))
        if found is None:
            self.fail(f"`{value}` is not a duration such as 90s, 5m, 24h or 7d", param, ctx)
        return float(found[1]) * UNITS[found[2]]


def _config(*, required: bool) -> Callable[[F], F]:
    return click.option(
        "--config",
        required=required,
        envvar="INTERLOCK_CONFIG",
        show_envvar=True,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="The configuration, whose `grants_file` is read and written.",
    )


_style = click.option("--format", "style", type=click.Choice(["text", "json"]), default="text")
_expires = click.option(
    "--expires", type=Duration(), metavar="DURATION", help="When the new token ends: 24h, 90d."
)


@click.group("grant")
def command() -> None:
    """Make, list, rotate and revoke the tokens by which grants are known."""


@command.command("create")
@click.argument("name")
@_config(required=False)
@click.option("--server", "servers", multiple=True, help="A server that it may use; all if none.")
@_expires
@_style
def create(
    name: str, config: Path | None, servers: tuple[str, ...], expires: float | None, style: str
) -> None:
    """Make a token for NAME, and show it once.

    With --config the grant is added to the grants file; without it, the hash is for you to write
    into one.
    """
    from gateway.config.grants import new_token, sha256

    if NAME.fullmatch(name) is None:
        raise _stop(f"`{name}` cannot be a grant's name", NAME_HELP)
    token = new_token()
    grant: Grant = {"name": name, "tokens": [_stored(token, expires)]}
    if servers:
        grant["servers"] = list(servers)
    if config is not None:
        whole, file = _open(config)
        _must_know(whole, servers)

        def add(grants: list[Grant]) -> None:
            if name in {one.name for one in _settings(whole).grants}:
                raise _stop(f"there is a grant `{name}`", "`interlock grant rotate` renews it")
            grants.append(grant)

        _edit(file, add)
    if style == "json":
        click.echo(json.dumps({"name": name, "token": token, "token_sha256": sha256(token)}))
        return
    click.echo(f"token         {token}")
    click.echo(f"token_sha256  {sha256(token)}")
    where = "a configuration takes the hash" if config is None else f"`{file.path}` has the hash"
    click.echo(f"The token is shown once; {where}.", err=True)


@command.command("list")
@_config(required=True)
@_style
def show(config: Path, style: str) -> None:
    """Tell every grant, and when its tokens end."""
    from gateway.config.grants import moment

    whole = _load(config)
    now = time.time()
    rows: list[dict[str, Any]] = []
    for index, grant in enumerate(_settings(whole).grants):
        tokens = [
            {
                "sha256": token.sha256.hex(),
                "expires": None if token.until is None else moment(token.until),
                "expired": token.until is not None and token.until <= now,
            }
            for token in grant.tokens
        ]
        servers = None if grant.servers is None else list(grant.servers)
        file = str(whole.file_of(index))
        rows.append({"name": grant.name, "servers": servers, "tokens": tokens, "file": file})
    if style == "json":
        click.echo(json.dumps({"grants": rows}))
        return
    for row in rows:
        its = row["servers"]
        reach = "all servers" if its is None else ", ".join(its) or "no server"
        click.echo(f"{row['name']}  {reach}  {row['file']}")
        for token in row["tokens"]:
            ends = f"until {token['expires']}" if token["expires"] else "for good"
            click.echo(f"  {token['sha256'][:12]}…  {'expired' if token['expired'] else ends}")


@command.command("rotate")
@click.argument("name")
@_config(required=True)
@click.option(
    "--overlap",
    type=Duration(),
    default="24h",
    show_default=True,
    metavar="DURATION",
    help="How long the old tokens still count; 0s ends them at once.",
)
@_expires
@_style
def rotate(name: str, config: Path, overlap: float, expires: float | None, style: str) -> None:
    """Make another token for NAME, and let the old ones end."""
    from gateway.config.grants import moment, new_token, sha256, tokens_of

    whole, file = _open(config)
    token, now = new_token(), time.time()
    end = moment(now + overlap)

    def renew(grants: list[Grant]) -> None:
        grant = _find(whole, grants, name)
        old = [_ended(one, end) for one in tokens_of(grant)] if overlap else []
        old = [one for one in old if _lasts(one, now)]
        grant.pop("token_sha256", None)
        grant.pop("expires", None)
        grant["tokens"] = [*old, _stored(token, expires)]

    _edit(file, renew)
    if style == "json":
        told = {"name": name, "token": token, "token_sha256": sha256(token)}
        click.echo(json.dumps({**told, "previous_expires": end if overlap else None}))
        return
    click.echo(f"token         {token}")
    click.echo(f"token_sha256  {sha256(token)}")
    ends = f"count until {end}" if overlap else "do not count any more"
    click.echo(f"The token is shown once; older ones {ends}.", err=True)


@command.command("revoke")
@click.argument("name")
@_config(required=True)
def revoke(name: str, config: Path) -> None:
    """Take the grant NAME out of the grants file, with all its tokens."""
    whole, file = _open(config)

    def remove(grants: list[Grant]) -> None:
        grants.remove(_find(whole, grants, name))

    _edit(file, remove)
    click.echo(f"`{name}` is revoked: its next request is refused, and what it has open ends")


def _load(config: Path) -> Whole:
    """The configuration, to be shown or to be changed.

    Raises:
        SettingsError: it has problems.
    """
    from gateway.config.source import Whole

    whole = Whole(config, {}, os.environ, may_lack_grants=True)
    # The machine on which grants are kept need not be the one that has the servers' secrets.
    problems = [one for one in whole.problems if one.code not in ELSEWHERE]
    if problems or whole.settings is None:
        raise SettingsError(problems)
    return whole


ELSEWHERE = ("unset-variable", "unreadable-secret", "unusable")


def _open(config: Path) -> tuple[Whole, GrantsFile]:
    """The configuration, and the file beside it that is written."""
    from gateway.config.grants import GrantsFile

    whole = _load(config)
    if whole.grants_file is None:
        raise _stop(
            f"`{config}` has no `grants_file`, and is yours to write",
            "add `grants_file: grants.json` to it",
        )
    return whole, GrantsFile(whole.grants_file)


def _edit(file: GrantsFile, change: Callable[[list[Grant]], None]) -> None:
    """Change the grants file.

    Raises:
        StartError: it cannot be written; nothing was changed.
    """
    try:
        file.edit(change)
    except OSError as error:
        message = f"cannot write `{file.path}`: {(error.strerror or str(error)).lower()}"
        raise StartError(Problem(message)) from error


def _settings(whole: Whole) -> Any:
    assert whole.settings is not None
    return whole.settings


def _must_know(whole: Whole, servers: tuple[str, ...]) -> None:
    known = [server.name for server in _settings(whole).servers]
    for server in servers:
        if server not in known:
            raise _stop(f"there is no server `{server}`", f"there are {', '.join(known)}")


def _find(whole: Whole, grants: list[Grant], name: str) -> Grant:
    """The grant of this name, where a program may write.

    Raises:
        SettingsError: it is elsewhere, or nowhere.
    """
    for grant in grants:
        if grant.get("name") == name:
            return grant
    for index, one in enumerate(_settings(whole).grants):
        if one.name == name:
            message = f"`{name}` is in `{whole.file_of(index)}`, which is yours to write"
            raise _stop(message, "`interlock grant create NAME` without --config makes a token")
    raise _stop(f"there is no grant `{name}`")


def _stored(token: str, expires: float | None) -> dict[str, str]:
    from gateway.config.grants import moment, sha256

    stored = {"sha256": sha256(token)}
    return stored if expires is None else {**stored, "expires": moment(time.time() + expires)}


def _ended(token: dict[str, str], end: str) -> dict[str, str]:
    """The token with an end, the earlier one if it has one already."""
    from gateway.config.texts import time_of

    known = token.get("expires")
    return token if known and time_of(known) <= time_of(end) else {**token, "expires": end}


def _lasts(token: dict[str, str], now: float) -> bool:
    from gateway.config.texts import time_of

    return time_of(token["expires"]) > now


def _stop(message: str, help: str | None = None) -> SettingsError:
    return SettingsError([Problem(message, help)])
