"""Everything the sidecar is told. What of it cannot be served, `gateway.validation` says."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from gateway.approvals.settings import ApprovalSettings

MAX_WORKERS = 7
"""Eight processes can share a limit table, and one of them is the workers' supervisor."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Of a server, which is part of a path, and of a grant, which is a label of the metrics."""
NAME_HELP = "letters, digits, `.`, `_` and `-`, at most 64 of them"


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
    policy: Path | None = None
    """For grants that name none; None refuses them."""
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
    lock: Path | None = None
    """Where its tools' definitions are pinned; taken at start."""
    pin: Literal["enforce", "warn"] = "enforce"
    """What becomes of a tool that is not as it is pinned: hidden and refused, or only told."""


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
class TokenSettings:
    """A token that a grant is known by."""

    sha256: bytes
    """Of the token; 32 bytes."""
    until: float | None = None
    """When it ends, in seconds since 1970 UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    """TLS on the listener; certificates and keys are PEM files."""

    certificate: Path
    key: Path
    client_ca: Path | None = None
    """What vouches for clients' certificates; None asks for none."""
    client_certificates: Literal["required", "optional"] = "required"


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateSettings:
    """The client certificates by which a grant is known: one of the two is given."""

    subject: str | None = None
    """The names as they are, `CN=…,O=…`."""
    spiffe: str | None = None
    """A pattern, in which `*` stands for anything."""


ALGORITHMS = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
)
"""By which tokens may be signed: only such as need a key that nobody else has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtSettings:
    """The signed tokens (RFC 7519) by which a grant is known."""

    issuer: str
    audience: tuple[str, ...]
    """One of them must be the token's."""
    subject: str | None = None
    """A pattern, in which `*` stands for anything; None takes any."""
    claims: Mapping[str, str | bool] = field(default_factory=dict)
    """Further claims: each has the value, or a list that has it."""
    algorithms: tuple[str, ...] = ALGORITHMS
    jwks_file: Path | None = None
    jwks_url: str | None = None
    """Where the keys are; asked of the issuer (OpenID Connect Discovery) if neither is given."""
    ca_file: Path | None = None
    """Certificates that may vouch for where the keys are."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent when the keys are fetched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantSettings:
    """Somebody who may ask: how it is known, and what it may reach by which policy."""

    name: str
    servers: Mapping[str, Path | None] | None = None
    """Policies by server, None for the server's own; None is every server by its own."""
    tokens: tuple[TokenSettings, ...] = ()
    jwt: JwtSettings | None = None
    certificate: CertificateSettings | None = None

    def policy(self, server: ServerSettings) -> Path | None:
        """What rules this grant on a server; None where nothing lets it in."""
        if self.servers is None:
            return server.policy
        if server.name not in self.servers:
            return None
        return self.servers[server.name] or server.policy


ANONYMOUS = "default"
"""The grant of one-server mode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole sidecar."""

    servers: tuple[ServerSettings, ...]
    grants: tuple[GrantSettings, ...] = (GrantSettings(name=ANONYMOUS),)
    anonymous: str | None = ANONYMOUS
    """The grant of a request without credentials; None refuses it."""
    listen: Address = Address("127.0.0.1", 8080)
    admin: Address | None = Address("127.0.0.1", 9090)
    admin_token: bytes | None = None
    """SHA-256 of the token that operators show for what is neither health nor metrics; without
    one, that is told on loopback only."""
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
    tls: TlsSettings | None = None
    authorization_servers: tuple[str, ...] = ()
    """Where clients may get tokens (RFC 9728); told to those that have none."""
    public_url: str | None = None
    """Scheme and authority under which clients see the listener; each request's own if None."""
    log: LogSettings = LogSettings()
    approvals: ApprovalSettings | None = None
    """Where calls wait for a person; None refuses what needs one."""
    otel: bool = False
    """Whether spans are exported; where to, and which, the `OTEL_` variables say."""
    fast_path: bool = True
    """Whether plain HTTP/1.1 is served without hypercorn's codec and ASGI."""


_LIVE = frozenset({"grants", "anonymous", "servers", "authorization_servers", "public_url"})
_LIVE_OF_SERVER = frozenset({"policy", "headers"})


_KEYS = {
    "allowed_hosts": "allow_host",
    "allowed_origins": "allow_origin",
    "admin_token": "admin_token_sha256",
}


def changed_for_good(before: Settings, after: Settings) -> list[str]:
    """What differs and cannot be taken over by a process that serves, named as in the file."""
    changed = [
        _KEYS.get(one.name, one.name)
        for one in fields(Settings)
        if one.name not in _LIVE and getattr(before, one.name) != getattr(after, one.name)
    ]
    old = {server.name: server for server in before.servers}
    new = {server.name: server for server in after.servers}
    for name in sorted(old.keys() | new.keys()):
        one, other = old.get(name), new.get(name)
        if one is None or other is None:
            changed.append(f"servers.{name}")
            continue
        changed += [
            f"servers.{name}.{part.name}"
            for part in fields(ServerSettings)
            if part.name not in _LIVE_OF_SERVER
            and getattr(one, part.name) != getattr(other, part.name)
        ]
    return changed


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
