"""`interlock run`: the sidecar."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from click.core import ParameterSource

from gateway.cli import options
from gateway.cli.problems import load_policy
from gateway.settings import (
    MAX_WORKERS,
    Address,
    ServerSettings,
    Settings,
    check,
    default_run_state,
)


@click.command("run", context_settings={"allow_interspersed_args": False})
@options.policy
@options.setting("--upstream", metavar="URL", help="The server, where it speaks HTTP.")
@options.setting(
    "--listen",
    type=options.AddressType(),
    default="127.0.0.1:8080",
    show_default=True,
    help="Where agents connect. Port 0 picks a free one.",
)
@options.setting(
    "--admin",
    type=options.AddressOrNone(),
    default="127.0.0.1:9090",
    show_default=True,
    help="Where operators look.",
)
@options.state
@options.setting(
    "--workers",
    type=click.IntRange(1, MAX_WORKERS),
    default=1,
    show_default=True,
    help="Processes that serve agents.",
)
@options.shadow
@options.name
@options.grace
@options.setting(
    "--allow-anonymous", is_flag=True, help="Listen beyond this machine without credentials."
)
@options.setting(
    "--allow-host", multiple=True, metavar="HOST", help="A name that a request's Host may have."
)
@options.setting(
    "--allow-origin", multiple=True, metavar="ORIGIN", help="A web origin that may send requests."
)
@options.setting(
    "--no-fast-path",
    is_flag=True,
    help="Serve every request through ASGI: slower, and the same answers.",
)
@options.server_command
@click.pass_context
def command(
    ctx: click.Context,
    *,
    policy: Path,
    upstream: str | None,
    listen: Address,
    admin: Address | str,
    state: str | None,
    workers: int,
    shadow: bool,
    name: str,
    grace: float,
    allow_anonymous: bool,
    allow_host: tuple[str, ...],
    allow_origin: tuple[str, ...],
    no_fast_path: bool,
    server_command: tuple[str, ...],
) -> None:
    """Enforce a policy in front of one server, given by its URL or the command that starts it."""
    if server_command and upstream is not None:
        if ctx.get_parameter_source("upstream") is ParameterSource.COMMANDLINE:
            raise click.UsageError("give --upstream or a command after `--`, not both", ctx)
        upstream = None  # the command line beats the environment
    if not server_command and upstream is None:
        raise click.UsageError("a server is needed: --upstream URL, or a command after `--`", ctx)
    settings = Settings(
        servers=(
            ServerSettings(name=name, policy=policy, url=upstream, command=server_command or None),
        ),
        listen=listen,
        admin=admin if isinstance(admin, Address) else None,
        state=_state(state, listen),
        workers=workers,
        shadow=shadow,
        grace_s=grace,
        allowed_hosts=allow_host,
        allowed_origins=allow_origin,
        allow_anonymous=allow_anonymous,
        fast_path=not no_fast_path,
    )
    check(settings)
    load_policy(policy)
    if workers > 1:
        from gateway.supervisor import run
    else:
        from gateway.process import run
    sys.exit(run(settings))


def _state(given: str | None, listen: Address) -> Path | None:
    if given is None:
        return default_run_state(listen)
    return None if given == "memory" else Path(given)
