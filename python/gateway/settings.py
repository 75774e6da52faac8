"""Everything the sidecar is told, parsed and validated before any port opens.

INVARIANT: `check` reports every problem at once, and what it lets through can be served: what fails
later is the machine's doing (a port in use, a full disk), not the settings'.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from gateway.errors import Problem, SettingsError

MAX_WORKERS = 7
"""Eight processes can share a limit table, and one of them is the workers' supervisor."""

MIN_LOG_BUFFER_BYTES = 64 << 10
MAX_LOG_BUFFER_BYTES = 1 << 30
MIN_LOG_FILE_BYTES = 64 << 10

_SERVER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port to listen on; port 0 is any free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `HOST:PORT`; an IPv6 address stands in brackets.

        Raises:
            ValueError: it is neither; the message is for people.
        """
        host, colon, port = text.rpartition(":")
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        if not colon or not bare or (":" in bare and bare == host):
            raise ValueError(f"`{text}` is not HOST:PORT")
        if not (port.isascii() and port.isdigit() and int(port) <= 65535):
            raise ValueError(f"`{port}` is not a port")
        return cls(bare, int(port))

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """One MCP server: either `url` or `command` is given."""

    name: str
    policy: Path
    url: str | None = None
    command: tuple[str, ...] | None = None
    env: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    ca_file: Path | None = None
    connect_timeout_s: float = 5.0
    first_byte_timeout_s: float = 60.0
    idle_timeout_s: float = 300.0
    max_children: int = 64
    """Processes of a `command` at once: one for each session, and one for all clients without."""
    session_idle_s: float = 1800.0
    """After this long without a request a session of a `command` ends, and its process with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """The decision log."""

    path: str = "none"
    """A file, `-` for standard output, or `none`."""
    on_overflow: Literal["deny", "drop"] = "deny"
    """What becomes of a message whose line has no room: it is refused, or its line is left out and
    counted."""
    include_args: tuple[str, ...] = ()
    """Names of arguments whose values are logged as well."""
    buffer_bytes: int = 8 << 20
    """How much may wait to be written."""
    rotate_bytes: int | None = 64 << 20
    """How long a file may get before the next one is begun; None for any length."""
    rotate_s: float | None = None
    """How old it may get."""
    keep: int | None = None
    """How many files that were rotated away are kept; None keeps all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole sidecar."""

    servers: tuple[ServerSettings, ...]
    listen: Address = Address("127.0.0.1", 8080)
    admin: Address | None = Address("127.0.0.1", 9090)
    state: Path | None = None
    """The limit table's file; None keeps it in memory."""
    slots: int = 16384
    workers: int = 1
    shadow: bool = False
    grace_s: float = 25.0
    max_body_bytes: int = 1 << 20
    max_in_flight: int = 1024
    allowed_hosts: tuple[str, ...] = ()
    """Host values accepted besides the listener's own."""
    allowed_origins: tuple[str, ...] = ()
    """Origins accepted besides the listener's own."""
    allow_anonymous: bool = False
    denials: str = "result"
    log: LogSettings = LogSettings()
    fast_path: bool = True
    """Whether plain HTTP/1.1 is served without hypercorn's codec and ASGI."""


def check(settings: Settings) -> None:
    """Make sure that the settings can be served.

    Raises:
        SettingsError: with every problem found.
    """
    problems = [problem for server in settings.servers for problem in _check_server(server)]
    if not settings.servers:
        problems.append(Problem("no server is given"))
    listeners = [settings.listen] + ([settings.admin] if settings.admin is not None else [])
    if not settings.allow_anonymous and not settings.listen.loopback:
        problems.append(
            Problem(
                f"`{settings.listen}` is open to other machines and a request needs no credentials",
                "listen on 127.0.0.1, or say `--allow-anonymous` where the network is the guard",
            )
        )
    if len(set(listeners)) != len(listeners) and settings.listen.port != 0:
        problems.append(
            Problem(
                f"`{settings.listen}` cannot serve agents and operators at once", "use two ports"
            )
        )
    if not 1 <= settings.workers <= MAX_WORKERS:
        problems.append(
            Problem(f"`{settings.workers}` workers: from 1 to {MAX_WORKERS} can be had")
        )
    if settings.workers > 1 and any(server.command for server in settings.servers):
        problems.append(
            Problem(
                "a server that speaks stdio lives in one process, and so do its sessions",
                "leave `--workers` at 1, or serve it over HTTP and name it with `--upstream`",
            )
        )
    problems.extend(_check_log(settings.log))
    if settings.grace_s < 0:
        problems.append(Problem(f"a grace of `{settings.grace_s}` seconds is negative"))
    if problems:
        raise SettingsError(problems)


def _check_log(log: LogSettings) -> list[Problem]:
    problems = []
    if not log.path:
        problems.append(
            Problem(
                "the decision log has no path", "give a file, `-` for standard output, or `none`"
            )
        )
    if log.on_overflow not in ("deny", "drop"):
        problems.append(
            Problem(f"`{log.on_overflow}` is not what a full log can do", "say `deny` or `drop`")
        )
    if not MIN_LOG_BUFFER_BYTES <= log.buffer_bytes <= MAX_LOG_BUFFER_BYTES:
        problems.append(
            Problem(
                f"a log's buffer of `{log.buffer_bytes}` bytes",
                f"from {MIN_LOG_BUFFER_BYTES} to {MAX_LOG_BUFFER_BYTES} can be had",
            )
        )
    if log.rotate_bytes is not None and log.rotate_bytes < MIN_LOG_FILE_BYTES:
        problems.append(
            Problem(
                f"log files of `{log.rotate_bytes}` bytes are too short to be worth one",
                f"at least {MIN_LOG_FILE_BYTES}",
            )
        )
    if log.rotate_s is not None and log.rotate_s < 1:
        problems.append(Problem(f"log files of `{log.rotate_s}` seconds", "at least 1"))
    if log.keep is not None and log.keep < 0:
        problems.append(Problem(f"`{log.keep}` log files cannot be kept"))
    return problems


def _check_server(server: ServerSettings) -> list[Problem]:
    problems = []
    if _SERVER_NAME.fullmatch(server.name) is None:
        problems.append(
            Problem(
                f"`{server.name}` cannot be a server's name",
                "letters, digits, `.`, `_` and `-`, at most 64 of them",
            )
        )
    if (server.url is None) == (server.command is None):
        problems.append(
            Problem(
                f"server `{server.name}` needs a URL or a command, and not both",
                "give `--upstream URL`, or the command after `--`",
            )
        )
    if server.url is not None:
        problems.extend(_check_url(server.url))
    if server.command is not None and (
        not server.command or shutil.which(server.command[0]) is None
    ):
        problems.append(
            Problem(f"command `{' '.join(server.command)}` is not to be found", "check the PATH")
        )
    return problems


def _check_url(url: str) -> list[Problem]:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        return [Problem(f"`{url}` is not a URL: {str(error).lower()}")]
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return [
            Problem(f"`{url}` is not an http or https URL", "for example http://127.0.0.1:8000/mcp")
        ]
    if parts.username is not None or parts.password is not None or parts.fragment:
        return [Problem("the server's URL has credentials or a fragment in it", "leave them out")]
    return []


def default_run_state(listen: Address) -> Path | None:
    """The limit table of `run`: a file by listen address; None (memory) where any port will do."""
    name = re.sub(r"[^A-Za-z0-9.]", "-", str(listen))
    return None if listen.port == 0 else _state_folder() / f"run-{name}.state"


def default_wrap_state(policy: Path) -> Path:
    """The limit table of `wrap`: one for all that wrap with the same policy file."""
    digest = hashlib.sha256(os.fsencode(policy.resolve())).hexdigest()
    return _state_folder() / f"wrap-{digest[:16]}.state"


def _state_folder() -> Path:
    base = os.environ.get("XDG_STATE_HOME", "")
    # The XDG specification: a relative path there is to be ignored.
    root = Path(base) if os.path.isabs(base) else Path.home() / ".local" / "state"
    return root / "interlock"
