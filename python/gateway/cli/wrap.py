"""`interlock wrap`: the sidecar between a desktop client and a stdio server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import click

from gateway.approvals.settings import ApprovalSettings
from gateway.cli import options
from gateway.cli.problems import load_policy
from gateway.settings import LogSettings, ServerSettings, Settings, default_wrap_state
from gateway.validation import check


@click.command("wrap", context_settings={"allow_interspersed_args": False})
@options.policy
@options.state
@options.log("none")
@options.log_overflow
@options.approvals
@options.lock
@options.shadow
@options.env
@options.otel
@options.name
@options.server_command
def command(
    *,
    policy: Path,
    state: str | None,
    log: str,
    log_overflow: Literal["deny", "drop"],
    approvals: Path | None,
    lock: Path | None,
    pin: Literal["enforce", "warn"],
    shadow: bool,
    env: tuple[str, ...],
    otel: bool,
    name: str,
    server_command: tuple[str, ...],
) -> None:
    """Enforce a policy on a server that speaks over its standard input and output."""
    if not server_command:
        raise click.UsageError("the server's command is needed after `--`")
    if log == "-":
        raise click.UsageError("standard output is the protocol's: log to a file, or `none`")
    if state is None:
        place: Path | None = default_wrap_state(policy)
    else:
        place = None if state == "memory" else Path(state)
    settings = Settings(
        servers=(
            ServerSettings(
                name=name,
                policy=policy,
                command=server_command,
                env=options.handed(env),
                lock=lock,
                pin=pin,
            ),
        ),
        admin=None,
        state=place,
        log=LogSettings(path=log, on_overflow=log_overflow),
        approvals=None if approvals is None else ApprovalSettings(path=approvals),
        shadow=shadow,
        otel=otel,
    )
    check(settings)
    load_policy(policy)
    from gateway.process import run_wrapped

    sys.exit(run_wrapped(settings))
