"""Everything the sidecar is told, parsed and validated before any port opens.

INVARIANT: `check` reports every problem at once, and what it lets through can be served: what fails
later is the machine's doing (a port in use, a full disk), not the settings'.
"""

from __future__ import annotations

import hashlib
import importlib.util
import ipaddress
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from gateway.errors import Problem, SettingsError
from gateway.tls import context_of

if TYPE_CHECKING:
    from gateway.approvals.settings import ApprovalSettings

MAX_WORKERS = 7
"""Eight processes can share a limit table, and one of them is the workers' supervisor."""

MIN_LOG_BUFFER_BYTES = 64 << 10
MAX_LOG_BUFFER_BYTES = 1 << 30
MIN_LOG_FILE_BYTES = 64 << 10

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Of a server, which is part of a path, and of a grant, which is a label of the metrics."""
NAME_HELP = "letters, digits, `.`, `_` and `-`, at most 64 of them"

URL_HELP = "for example http://127.0.0.1:8000/mcp"
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?")
_OURS = frozenset({"connection", "content-length", "content-type", "host", "transfer-encoding"})
"""Fields by which a message is framed or routed."""


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


_KEYS = {
    "allowed_hosts": "allow_host",
    "allowed_origins": "allow_origin",
    "admin_token": "admin_token_sha256",
}


def check(settings: Settings) -> None:
    """Make sure that the settings can be served.

    Raises:
        SettingsError: with every problem found.
    """
    problems = [problem for server in settings.servers for problem in _check_server(server)]
    problems += _check_whole(settings)
    problems += _check_grants(settings)
    problems += _check_log(settings.log)
    problems += _check_approvals(settings)
    if problems:
        raise SettingsError(problems)


def _check_whole(settings: Settings) -> Iterator[Problem]:
    if not settings.servers:
        yield Problem("no server is given", at="/servers")
    listeners = [settings.listen] + ([settings.admin] if settings.admin is not None else [])
    if (
        settings.anonymous is not None
        and not settings.allow_anonymous
        and not settings.listen.loopback
    ):
        yield Problem(
            f"`{settings.listen}` is open to other machines and a request needs no credentials",
            "listen on 127.0.0.1, or say `--allow-anonymous` where the network is the guard",
            at="/listen",
        )
    if len(set(listeners)) != len(listeners) and settings.listen.port != 0:
        yield Problem(
            f"`{settings.listen}` cannot serve agents and operators at once",
            "use two ports",
            at="/admin",
        )
    if not 1 <= settings.workers <= MAX_WORKERS:
        yield Problem(
            f"`{settings.workers}` workers: from 1 to {MAX_WORKERS} can be had", at="/workers"
        )
    if settings.workers > 1 and any(server.command for server in settings.servers):
        yield Problem(
            "a server that speaks stdio lives in one process, and so do its sessions",
            "leave `--workers` at 1, or serve it over HTTP and name it with `--upstream`",
            at="/workers",
        )
    for index, url in enumerate(settings.authorization_servers):
        if (fault := url_fault(url)) is not None:
            yield Problem(
                f"`{url}` {fault}", "an issuer's URL", at=f"/authorization_servers/{index}"
            )
    if settings.public_url is not None and (fault := url_fault(settings.public_url)) is not None:
        yield Problem(
            f"`{settings.public_url}` {fault}", "such as https://gateway.example", at="/public_url"
        )
    if settings.tls is not None:
        try:
            context_of(settings.tls)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            yield Problem(f"the certificate cannot be used: {reason}", code="unreadable", at="/tls")
    if settings.otel and not _has_otel():
        yield Problem(
            "spans cannot be exported: the OpenTelemetry SDK is not installed",
            "`pip install 'interlock[otel]'`",
            at="/otel",
        )
    if settings.grace_s < 0:
        yield Problem(f"a grace of `{settings.grace_s}` seconds is negative", at="/grace_s")


def _check_grants(settings: Settings) -> Iterator[Problem]:
    servers = [server.name for server in settings.servers]
    names = [grant.name for grant in settings.grants]
    owners: dict[bytes, str] = {}
    for index, grant in enumerate(settings.grants):
        at = f"/grants/{index}"
        if NAME.fullmatch(grant.name) is None:
            yield Problem(f"`{grant.name}` cannot be a grant's name", NAME_HELP, at=f"{at}/name")
        if grant.name in names[:index]:
            yield Problem(
                f"there are two grants `{grant.name}`", "names tell them apart", at=f"{at}/name"
            )
        for token in grant.tokens:
            other = owners.setdefault(token.sha256, grant.name)
            if other != grant.name:
                yield Problem(
                    f"`{other}` and `{grant.name}` have the same token",
                    "a token tells one grant",
                    code="same-token",
                    at=at,
                )
        if grant.certificate is not None and (
            settings.tls is None or settings.tls.client_ca is None
        ):
            yield Problem(
                f"`{grant.name}` is known by a certificate that no client is asked for",
                "`tls` needs a `client_ca`",
                at=f"{at}/certificate",
            )
        if grant.jwt is not None:
            yield from _check_jwt(grant.jwt, f"{at}/jwt")
        for server in grant.servers or ():
            if server not in servers:
                yield Problem(
                    f"there is no server `{server}`",
                    f"the servers are {', '.join(f'`{name}`' for name in servers)}",
                    code="unknown-server",
                    at=f"{at}/servers",
                )
    if settings.anonymous is not None and settings.anonymous not in names:
        yield Problem(
            f"there is no grant `{settings.anonymous}`", code="unknown-grant", at="/anonymous"
        )


def _has_otel() -> bool:
    names = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")
    try:
        return all(importlib.util.find_spec(name) is not None for name in names)
    except ModuleNotFoundError:
        return False


def _check_jwt(jwt: JwtSettings, at: str) -> Iterator[Problem]:
    places = {"jwks_url": jwt.jwks_url}
    if jwt.jwks_file is None and jwt.jwks_url is None:
        places = {"issuer": jwt.issuer}
    for key, url in places.items():
        if url is None:
            continue
        if not _is_private(url):
            yield Problem(
                f"keys cannot be had from `{url}`",
                "an https URL, or name a `jwks_file` or `jwks_url`",
                at=f"{at}/{key}",
            )
    for key, path in (("jwks_file", jwt.jwks_file), ("ca_file", jwt.ca_file)):
        if path is not None and not path.is_file():
            yield Problem(f"there is no file `{path}`", code="unreadable", at=f"{at}/{key}")


def _is_private(url: str) -> bool:
    """Whether nobody on the way can read or change what is sent there."""
    parts = urlsplit(url) if url_fault(url) is None else None
    return parts is not None and (
        parts.scheme == "https" or Address(parts.hostname or "", 0).loopback
    )


def _check_log(log: LogSettings) -> Iterator[Problem]:
    if not log.path:
        yield Problem(
            "the decision log has no path",
            "give a file, `-` for standard output, or `none`",
            at="/log/path",
        )
    if log.on_overflow not in ("deny", "drop"):
        yield Problem(
            f"`{log.on_overflow}` is not what a full log can do",
            "say `deny` or `drop`",
            at="/log/on_overflow",
        )
    if not MIN_LOG_BUFFER_BYTES <= log.buffer_bytes <= MAX_LOG_BUFFER_BYTES:
        yield Problem(
            f"a log's buffer of `{log.buffer_bytes}` bytes",
            f"from {MIN_LOG_BUFFER_BYTES} to {MAX_LOG_BUFFER_BYTES} can be had",
            at="/log/buffer_bytes",
        )
    if log.rotate_bytes is not None and log.rotate_bytes < MIN_LOG_FILE_BYTES:
        yield Problem(
            f"log files of `{log.rotate_bytes}` bytes are too short to be worth one",
            f"at least {MIN_LOG_FILE_BYTES}",
            at="/log/rotate_bytes",
        )
    if log.rotate_s is not None and log.rotate_s < 1:
        yield Problem(f"log files of `{log.rotate_s}` seconds", "at least 1", at="/log/rotate_s")
    if log.keep is not None and log.keep < 0:
        yield Problem(f"`{log.keep}` log files cannot be kept", at="/log/keep")


def _check_approvals(settings: Settings) -> Iterator[Problem]:
    approvals = settings.approvals
    if approvals is None:
        return
    if approvals.path == settings.state:
        yield Problem(
            f"`{approvals.path}` cannot be the limits' file and that of the approvals",
            "use two files",
            at="/approvals/path",
        )
    webhook = approvals.webhook
    if webhook is None:
        return
    if not _is_private(webhook.url):
        # It is not quoted: receivers' URLs mostly have a secret in them.
        yield Problem(
            "requests for approval cannot be told in the clear beyond this machine",
            "an https URL",
            at="/approvals/webhook/url",
        )
    if webhook.ca_file is not None and not webhook.ca_file.is_file():
        yield Problem(
            f"there is no file `{webhook.ca_file}`",
            code="unreadable",
            at="/approvals/webhook/ca_file",
        )


def _check_server(server: ServerSettings) -> Iterator[Problem]:
    at = f"/servers/{server.name}"
    if NAME.fullmatch(server.name) is None:
        yield Problem(f"`{server.name}` cannot be a server's name", NAME_HELP, at=at)
    if (server.url is None) == (server.command is None):
        yield Problem(
            f"server `{server.name}` needs a URL or a command, and not both",
            "give `--upstream URL`, or the command after `--`",
            at=at,
        )
    if server.url is not None:
        fault = url_fault(server.url)
        if fault is not None:
            yield Problem(f"the URL of server `{server.name}` {fault}", URL_HELP, at=f"{at}/url")
    for name, value in server.headers.items():
        if _HEADER_NAME.fullmatch(name) is None or name.lower() in _OURS:
            yield Problem(
                f"`{name}` cannot be a header that a server is sent", at=f"{at}/headers/{name}"
            )
        elif _HEADER_VALUE.fullmatch(value) is None:
            # The value is mostly a secret.
            yield Problem(
                f"the value of `{name}` is not visible ASCII on one line",
                at=f"{at}/headers/{name}",
            )
    if server.command is not None and (
        not server.command or shutil.which(server.command[0]) is None
    ):
        yield Problem(
            # Its words may be secrets.
            f"the command of server `{server.name}` is not to be found",
            "check the PATH",
            at=f"{at}/command",
        )


def url_fault(url: str) -> str | None:
    """What is wrong with a server's URL, as a predicate that does not quote it."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "is not an http or https URL"
    if parts.username is not None or parts.password is not None or parts.fragment:
        return "has credentials or a fragment in it"
    return None


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
