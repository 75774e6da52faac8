"""`interlock approvals`: what waits for a person, and what the person says.

INVARIANT: what is shown is the whole call, spelt out where it cannot be seen; a line that has no
room for it says how much is missing.
"""

from __future__ import annotations

import getpass
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from gateway.errors import Problem, StartError

if TYPE_CHECKING:
    from gateway.approvals.store import Approval, Approvals

F = TypeVar("F", bound=Callable[..., Any])

EXIT_NONE = 1
"""There is nothing to show or to decide under this id."""
MAX_LISTED = 100
MAX_SHOWN = 60
"""Characters of a call in a list."""
MIN_PREFIX = 4

_store = click.option(
    "--store",
    required=True,
    envvar="INTERLOCK_APPROVALS",
    show_envvar=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where approvals are kept, as the sidecar was told.",
)
_style = click.option(
    "--format",
    "style",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="For people, or for programs.",
)


def _user() -> str:
    """Who is logged in."""
    try:
        return getpass.getuser()
    except (OSError, KeyError) as error:
        raise click.UsageError("nobody knows who you are: say `--by NAME`") from error


def _deciding(command: F) -> F:
    by = click.option(
        "--by",
        default=_user,
        show_default="you, by your login",
        metavar="NAME",
        help="Who decides, for the record.",
    )
    remark = click.option(
        "--remark", metavar="TEXT", help="Why, for the record; of a refusal, the agent is told."
    )
    return _store(by(remark(_style(command))))


@click.group("approvals")
def command() -> None:
    """List, read and decide the calls that wait for a person.

    A call for which the policy says `require_approval` is refused, and waits here. Once you approve
    it, the agent's next try of exactly the same call goes through, once. Read it first:

    \b
      export INTERLOCK_APPROVALS=approvals.db
      interlock approvals list --state pending
      interlock approvals show ID
      interlock approvals approve ID
      interlock approvals deny ID --remark 'ask for less'

    For ID the first four characters do, if no other one begins so. Exit codes: 0 done, 1 nothing
    like that waits, 69 the file cannot be used.
    """


@command.command("list", short_help="List what waits, and what became of the rest.")
@_store
@click.option(
    "--state",
    type=click.Choice(["pending", "approved", "denied", "used", "withdrawn"]),
    help="Only those in this state; `withdrawn` ended unused.",
)
@_style
def show_all(store: Path, state: str | None, style: str) -> None:
    """List what waits, and after it what became of the rest, the latest first."""
    from gateway.approvals.store import State

    now_s = time.time()
    with _opened(store) as approvals:
        found = approvals.all(now_s, None if state is None else State(state), MAX_LISTED + 1)
    shown = found[:MAX_LISTED]
    if style == "json":
        _print(shown, several=True)
    elif not found:
        click.echo("nothing waits for approval" if state is None else f"nothing is {state}")
    else:
        for each in shown:
            click.echo(_line(each, now_s))
    if len(found) > MAX_LISTED:
        click.echo(
            f"there are more than these {MAX_LISTED}; `--state` shows those of one", err=True
        )


@command.command("show")
@click.argument("id")
@_store
@_style
def show(id: str, store: Path, style: str) -> None:
    """Show one request, with the exact call.

    `arguments` is the call as it was made, in ASCII: what is not a plain letter, digit or sign is
    spelt `\\uXXXX`. Where that is hard to read, `reads` says the same with the letters that can
    be seen.
    """
    with _opened(store) as approvals:
        _tell(_one(approvals, id), style)


@command.command("approve", short_help="Let a call through, once.")
@click.argument("id")
@_deciding
def approve(id: str, store: Path, by: str, remark: str | None, style: str) -> None:
    """Let the call of this id through, once, if it is made again in time."""
    _decide(id, store, by, remark, style, approve=True)


@command.command("deny", short_help="Refuse a call, or take an approval back.")
@click.argument("id")
@_deciding
def deny(id: str, store: Path, by: str, remark: str | None, style: str) -> None:
    """Refuse the call of this id, or take back an approval that was not used."""
    _decide(id, store, by, remark, style, approve=False)


def _decide(
    id: str, store: Path, by: str, remark: str | None, style: str, *, approve: bool
) -> None:
    if not by.strip():
        raise click.UsageError("`--by` is empty: who decides is kept")
    with _opened(store) as approvals:
        asked = _one(approvals, id)
        found = approvals.decide(asked.id, approve=approve, by=by, remark=remark, now_s=time.time())
        if found is None:
            _nothing(
                f"`{asked.id}` is {asked.state.value} and cannot be"
                f" {'approved' if approve else 'denied'}",
                "the same call, made again, asks anew",
            )
        _tell(found, style)


@contextmanager
def _opened(path: Path) -> Iterator[Approvals]:
    """The store.

    Raises:
        StartError: it is not there, or cannot be used.
    """
    from gateway.approvals.store import Approvals, StoreError

    if not path.exists():
        raise StartError(
            Problem(f"there is no file `{path}`", "name the one that the sidecar was told to keep")
        )
    try:
        with closing(Approvals(path)) as approvals:
            yield approvals
    except StoreError as error:
        raise StartError(Problem(str(error))) from error


def _one(approvals: Approvals, id: str) -> Approval:
    """The request that is meant."""
    from gateway.approvals.words import visible

    found = approvals.find(id, time.time()) if len(id) >= MIN_PREFIX else []
    if len(found) == 1:
        return found[0]
    if found:
        _nothing(f"several begin with `{id}`", "give more of the id")
    _nothing(
        f"there is nothing of the id `{visible(id)}`",
        "`interlock approvals list` says what there is",
    )


def _nothing(message: str, help: str) -> NoReturn:
    click.echo(f"error: {message}\nhelp: {help}", err=True)
    raise click.exceptions.Exit(EXIT_NONE)


def _line(found: Approval, now_s: float) -> str:
    """One request, on one line."""
    from gateway.approvals.words import exact, visible

    wanted = found.wanted
    whole = call = exact(wanted.call)
    if len(call) > MAX_SHOWN:
        # Not in the middle of `\\uXXXX`, which is six.
        end = MAX_SHOWN - 12
        end = call.rfind("\\", end - 5, end) if "\\" in call[end - 5 : end] else end
        call = f"{call[:end]} and {len(whole) - end} more characters"
    open = found.state.value in ("pending", "approved", "denied")
    left = f"{max(0, round(found.until - now_s))} s" if open else "ended"
    who = f"{visible(wanted.grant)} on {visible(wanted.server)}"
    return f"{found.id}  {found.state:9}  {left:>8}  {who}: {visible(wanted.tool)} {call}"


def _tell(found: Approval, style: str) -> None:
    if style == "json":
        _print([found], several=False)
        return
    from gateway.approvals.words import at, exact, readable, visible

    wanted = found.wanted
    times = "once" if found.asked == 1 else f"{found.asked} times"
    call = exact(wanted.call)
    reads = readable(call)
    ends = "held until" if found.state.value in ("used", "withdrawn") else "holds until"
    rows = {
        "id": found.id,
        "state": found.state.value,
        "grant": visible(wanted.grant),
        "server": visible(wanted.server),
        "tool": visible(wanted.tool),
        "arguments": call,
        "reads": None if reads == call else reads,
        "rule": visible(wanted.rule),
        "reason": visible(wanted.reason) or None,
        "asked": f"{times}, first at {at(found.asked_at)}",
        ends: at(found.until),
        "told": None if found.told_at is None else at(found.told_at),
        "decided by": None if found.decided_by is None else visible(found.decided_by),
        "decided at": None if found.decided_at is None else at(found.decided_at),
        "remark": None if found.remark is None else visible(found.remark),
        "used at": None if found.used_at is None else at(found.used_at),
    }
    for name, value in rows.items():
        if value is not None:
            click.echo(f"{name:12} {value}")


def _print(found: list[Approval], *, several: bool) -> None:
    from gateway.approvals.words import ascii_json, data

    told = [data(each) for each in found]
    click.echo(ascii_json(told if several else told[0]))
