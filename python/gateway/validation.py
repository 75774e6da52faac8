"""What of the settings cannot be served, found before any port opens.

INVARIANT: `check` reports every problem at once, and what it lets through can be served: what fails
later is the machine's doing (a port in use, a full disk), not the settings'.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Iterator
from urllib.parse import urlsplit

from gateway.errors import Problem, SettingsError
from gateway.settings import (
    MAX_WORKERS,
    NAME,
    NAME_HELP,
    Address,
    JwtSettings,
    LogSettings,
    ServerSettings,
    Settings,
)
from gateway.tls import context_of

MIN_LOG_BUFFER_BYTES = 64 << 10
MAX_LOG_BUFFER_BYTES = 1 << 30
MIN_LOG_FILE_BYTES = 64 << 10

URL_HELP = "for example http://127.0.0.1:8000/mcp"
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?")
_OURS = frozenset({"connection", "content-length", "content-type", "host", "transfer-encoding"})
"""Fields by which a message is framed or routed."""


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
