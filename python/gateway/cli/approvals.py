"""`interlock approvals`: what waits for a person, and what the person says."""

from __future__ import annotations

import getpass
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gateway.errors import Problem, StartError

if TYPE_CHECKING:
    from gateway.approvals.store import Approval, Approvals

F = TypeVar("F", bound=Callable[..., Any])

EXIT_NONE = 1
"""There is nothing to decide under this id."""

_store = click.option(
    "--store",
    required=True,
    envvar="INTERLOCK_APPROVALS",
    show_envvar=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where approvals are kept, as the sidecar was told.",
)
_style = click.option("--format", "style", type=click.Choice(["text", "json"]), default="text")


def _deciding(command: F) -> F:
    by = click.option(
        "--by",
        default=getpass.getuser,
        show_default="you",
        metavar="NAME",
        help="Who decides, for the record.",
    )
    remark = click.option("--remark", metavar="TEXT", help="Why; the agent is told.")
    return _store(by(remark(_style(command))))


@click.group("approvals")
def command() -> None:
    """List, read and decide the calls that wait for a person."""


@command.command("list")
@_store
@click.option(
    "--state",
    type=click.Choice(["pending", "approved", "denied", "used", "withdrawn"]),
    help="Only those in this state.",
)
@_style
def show_all(store: Path, state: str | None, style: str) -> None:
    """List what waits, and what became of the rest."""
    from gateway.approvals.store import State

    now_s = time.time()
    found = _open(store).all(now_s, None if state is None else State(state))
    if style == "json":
        click.echo(json.dumps([_data(each) for each in found], indent=2))
        return
    if not found:
        click.echo("nothing waits for approval")
    for each in found:
        wanted = each.wanted
        shown = wanted.call if len(wanted.call) <= 60 else wanted.call[:57] + "..."
        click.echo(
            f"{each.id}  {each.state:9}  {_left(each, now_s):>8}  {wanted.grant} on"
            f" {wanted.server}: {wanted.tool} {shown}"
        )


@command.command("show")
@click.argument("id")
@_store
@_style
def show(id: str, store: Path, style: str) -> None:
    """Show one request, with the exact call."""
    found = _open(store).get(id, time.time())
    if found is None:
        _missing(id)
        return
    _tell(found, style)


@command.command("approve")
@click.argument("id")
@_deciding
def approve(id: str, store: Path, by: str, remark: str | None, style: str) -> None:
    """Let the call of this id through, once."""
    _decide(id, store, by, remark, style, approve=True)


@command.command("deny")
@click.argument("id")
@_deciding
def deny(id: str, store: Path, by: str, remark: str | None, style: str) -> None:
    """Refuse the call of this id."""
    _decide(id, store, by, remark, style, approve=False)


def _decide(
    id: str, store: Path, by: str, remark: str | None, style: str, *, approve: bool
) -> None:
    found = _open(store).decide(id, approve=approve, by=by, remark=remark, now_s=time.time())
    if found is None:
        _missing(id)
        return
    _tell(found, style)


def _open(path: Path) -> Approvals:
    from gateway.approvals.database import StoreError
    from gateway.approvals.store import Approvals

    if not path.exists():
        raise StartError(
            Problem(f"there is no file `{path}`", "name the one that the sidecar was told to keep")
        )
    try:
        return Approvals(path)
    except StoreError as error:
        raise StartError(Problem(str(error))) from error


def _missing(id: str) -> None:
    click.echo(
        f"error: nothing of the id `{id}` waits\nhelp: `interlock approvals list` says what does;"
        " a request ends when it was decided or its time is over",
        err=True,
    )
    raise click.exceptions.Exit(EXIT_NONE)


def _tell(found: Approval, style: str) -> None:
    if style == "json":
        click.echo(json.dumps(_data(found), indent=2))
        return
    wanted = found.wanted
    rows = {
        "id": found.id,
        "state": found.state,
        "grant": wanted.grant,
        "server": wanted.server,
        "tool": wanted.tool,
        "arguments": wanted.call,
        "rule": wanted.rule,
        "reason": wanted.reason,
        "asked": f"{_at(found.asked_at)}, {found.asked} times",
        "holds until": _at(found.until),
        "decided by": found.decided_by,
        "remark": found.remark,
        "used": _at(found.used_at),
    }
    for name, value in rows.items():
        if value is not None:
            click.echo(f"{name:12} {value}")


def _data(found: Approval) -> dict[str, Any]:
    wanted = found.wanted
    return {
        "id": found.id,
        "state": found.state,
        "grant": wanted.grant,
        "server": wanted.server,
        "tool": wanted.tool,
        "arguments": json.loads(wanted.call),
        "rule": wanted.rule,
        "reason": wanted.reason,
        "policy": wanted.policy,
        "asked_at": _at(found.asked_at),
        "asked": found.asked,
        "until": _at(found.until),
        "decided_at": _at(found.decided_at),
        "decided_by": found.decided_by,
        "remark": found.remark,
        "used_at": _at(found.used_at),
    }


def _at(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _left(found: Approval, now_s: float) -> str:
    if found.state not in ("pending", "approved", "denied"):
        return "ended"
    return f"{max(0, round(found.until - now_s))} s"
