"""`interlock run`: the sidecar."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import click
from click.core import ParameterSource

from gateway.approvals.settings import ApprovalSettings
from gateway.cli import options
from gateway.cli.problems import load_policy
from gateway.settings import (
    MAX_WORKERS,
    Address,
    LogSettings,
    ServerSettings,
    Settings,
    default_run_state,
)
from gateway.validation import check

if TYPE_CHECKING:
    from gateway.config.source import ConfigSource


@click.command("run", context_settings={"allow_interspersed_args": False})
@options.setting(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The configuration, for several servers or grants. Takes the place of the server's own.",
)
@partial(options.policy, required=False)
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
@options.log("-")
@options.log_overflow
@options.approvals
@options.lock
@options.shadow
@options.env
@options.otel
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
    config: Path | None,
    policy: Path | None,
    upstream: str | None,
    listen: Address,
    admin: Address | str,
    state: str | None,
    workers: int,
    log: str,
    log_overflow: Literal["deny", "drop"],
    approvals: Path | None,
    lock: Path | None,
    pin: Literal["enforce", "warn"],
    shadow: bool,
    env: tuple[str, ...],
    otel: bool,
    name: str,
    grace: float,
    allow_anonymous: bool,
    allow_host: tuple[str, ...],
    allow_origin: tuple[str, ...],
    no_fast_path: bool,
    server_command: tuple[str, ...],
) -> None:
    """Enforce a policy in front of one server, given by its URL or the command that starts it, or
    what a configuration says in front of several."""
    source = _configuration(ctx, config, bool(server_command))
    if source is not None:
        _serve(source.load(), source)
    if server_command and upstream is not None:
        if ctx.get_parameter_source("upstream") is ParameterSource.COMMANDLINE:
            raise click.UsageError("give --upstream or a command after `--`, not both", ctx)
        upstream = None  # the command line beats the environment
    if not server_command and upstream is None:
        raise click.UsageError("a server is needed: --upstream URL, or a command after `--`", ctx)
    if policy is None:
        raise click.UsageError("a policy is needed: --policy FILE, or --config FILE", ctx)
    settings = Settings(
        servers=(
            ServerSettings(
                name=name,
                policy=policy,
                url=upstream,
                command=server_command or None,
                env=options.handed(env),
                lock=lock,
                pin=pin,
            ),
        ),
        listen=listen,
        admin=admin if isinstance(admin, Address) else None,
        state=_state(state, listen),
        workers=workers,
        log=LogSettings(path=log, on_overflow=log_overflow),
        approvals=None if approvals is None else ApprovalSettings(path=approvals),
        shadow=shadow,
        otel=otel,
        grace_s=grace,
        allowed_hosts=allow_host,
        allowed_origins=allow_origin,
        allow_anonymous=allow_anonymous,
        fast_path=not no_fast_path,
    )
    check(settings)
    load_policy(policy)
    _serve(settings, None)


def _serve(settings: Settings, source: ConfigSource | None) -> NoReturn:
    """Serve until told to stop.

    Raises:
        SettingsError: a lock cannot be used; nothing was opened.
    """
    from gateway.pinning import LockSource

    for server in settings.servers:
        LockSource.of(server)
    if settings.workers > 1:
        from gateway.supervisor import run
    else:
        from gateway.process import run
    sys.exit(run(settings, source))


def _configuration(
    ctx: click.Context, path: Path | None, server_command: bool
) -> ConfigSource | None:
    """The configuration that is to be served, with what was said beside it; None for one server.

    Raises:
        click.UsageError: one server is described as well.
    """
    if path is None:
        return None
    place = ctx.get_parameter_source("config")
    for name in ("policy", "upstream", "name", "env", "lock", "pin"):
        # What stands on the command line means more than what stands in the environment.
        also = ctx.get_parameter_source(name)
        if also is ParameterSource.COMMANDLINE or (also is not _DEFAULT and also is place):
            if place is not also:
                return None
            raise click.UsageError(f"give --config or --{name}, not both", ctx)
    if server_command:
        if place is not ParameterSource.COMMANDLINE:
            return None
        raise click.UsageError("give --config or a command after `--`, not both", ctx)
    from gateway.config.source import ConfigSource

    given = {
        key: value
        for parameter, (key, convert) in _CONFIGURED.items()
        if ctx.get_parameter_source(parameter) is not _DEFAULT
        and (value := convert(ctx.params[parameter])) is not None
    }
    return ConfigSource(path, given)


def _absolute(state: str | Path) -> str:
    """A file relative to where the command was given, not to the configuration."""
    return state if state == "memory" else str(Path(state).absolute())


def _log_path(path: str) -> str:
    """A log file, likewise."""
    return path if path in ("-", "none") else str(Path(path).absolute())


def _same(value: Any) -> Any:
    return value


_DEFAULT = ParameterSource.DEFAULT
_CONFIGURED: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "listen": ("listen", _same),
    "admin": ("admin", _same),
    "state": ("state", _absolute),
    "log": ("log_path", _log_path),
    "log_overflow": ("log_overflow", _same),
    "approvals": ("approvals_path", _absolute),
    "workers": ("workers", _same),
    "shadow": ("shadow", _same),
    "otel": ("otel", _same),
    "grace": ("grace_s", _same),
    "allow_anonymous": ("allow_anonymous", _same),
    "allow_host": ("allow_host", _same),
    "allow_origin": ("allow_origin", _same),
    "no_fast_path": ("fast_path", lambda off: not off),
}
"""What the command line and the environment may say instead of the configuration, and how it is
called there."""


def _state(given: str | None, listen: Address) -> Path | None:
    if given is None:
        return default_run_state(listen)
    return None if given == "memory" else Path(given)
