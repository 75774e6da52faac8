"""How what a configuration says becomes `Settings`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.approvals.settings import ApprovalSettings, WebhookSettings
from gateway.settings import (
    CertificateSettings,
    GrantSettings,
    JwtSettings,
    LogSettings,
    ServerSettings,
    Settings,
    TlsSettings,
    TokenSettings,
    default_run_state,
)

if TYPE_CHECKING:
    from gateway.config.reading import Reading

_SAME = {
    **dict.fromkeys(("listen", "slots", "workers", "grace_s", "shadow", "denials"), ""),
    **dict.fromkeys(("authorization_servers", "public_url"), ""),
    **dict.fromkeys(("allow_anonymous", "max_body_bytes", "max_in_flight", "fast_path"), ""),
    "otel": "",
    "allow_host": "allowed_hosts",
    "allow_origin": "allowed_origins",
    "admin_token_sha256": "admin_token",
}
"""Keys whose values are taken as they are, and the settings they are."""
_SERVER_SAME = {
    **dict.fromkeys(("url", "command", "env", "headers", "connect_timeout_s"), ""),
    **dict.fromkeys(("idle_timeout_s", "max_children", "session_idle_s", "pin"), ""),
    "timeout_s": "first_byte_timeout_s",
}


def settings(
    read: Mapping[str, Any],
    more_grants: Sequence[GrantSettings],
    reading: Reading,
    given: Mapping[str, Any],
) -> Settings:
    """What a configuration says, as far as it could be read.

    Args:
        more_grants: from the grants file.
        given: by the command line and the environment, named as in the file; beats it.
    """
    said = {**read, **given}
    made = {name or key: said[key] for key, name in _SAME.items() if key in said}
    if "admin" in said:
        made["admin"] = None if said["admin"] == "none" else said["admin"]
    made["log"] = _log(read.get("log", {}), reading, given)
    if "tls" in said:
        tls = said["tls"]
        files = {
            key: reading.file(tls[key]) for key in ("certificate", "key", "client_ca") if key in tls
        }
        if "certificate" in files and "key" in files:
            made["tls"] = TlsSettings(**{**tls, **files})
    made["approvals"] = _approvals(read.get("approvals"), reading, given)
    if "grants" in said or "grants_file" in said or "anonymous" in said:
        made["anonymous"] = said.get("anonymous")
    if "grants" in said or "grants_file" in said:
        made["grants"] = (*grants(said.get("grants", ()), reading), *more_grants)
    servers = said.get("servers", {}).items()
    found = Settings(servers=tuple(_server(name, one, reading) for name, one in servers), **made)
    match said.get("state"):
        case None:
            return replace(found, state=default_run_state(found.listen))
        case "memory":
            return replace(found, state=None)
        case path:
            return replace(found, state=_path(path, reading))


def grants(read: Sequence[Mapping[str, Any]], reading: Reading) -> tuple[GrantSettings, ...]:
    """The grants that a document names."""
    return tuple(_grant(one, reading) for one in read)


def _path(text: str, reading: Reading) -> Path:
    return reading.path.parent / text


def _log(read: Mapping[str, Any], reading: Reading, given: Mapping[str, Any]) -> LogSettings:
    """The log: on standard output unless somebody says otherwise."""
    over = {key: given[name] for name, key in _LOG_GIVEN.items() if name in given}
    found = LogSettings(**{"path": "-", **read, **over})
    if found.path in ("-", "none"):
        return found
    return replace(found, path=str(_path(found.path, reading)))


_LOG_GIVEN = {"log_path": "path", "log_overflow": "on_overflow"}
"""What is given beside the file, and how it is called in its `log`."""


def _approvals(
    read: Mapping[str, Any] | None, reading: Reading, given: Mapping[str, Any]
) -> ApprovalSettings | None:
    """The store of approvals: none unless somebody names its file."""
    said = dict(read or {})
    if _APPROVALS_GIVEN in given:
        said["path"] = given[_APPROVALS_GIVEN]
    if "path" not in said:
        return None
    webhook = said.pop("webhook", {})
    if "url" in webhook and "secret" in webhook:
        if "ca_file" in webhook:
            webhook = {**webhook, "ca_file": _path(webhook["ca_file"], reading)}
        said["webhook"] = WebhookSettings(**webhook)
    return ApprovalSettings(**{**said, "path": _path(said["path"], reading)})


_APPROVALS_GIVEN = "approvals_path"


def _server(name: str, read: Mapping[str, Any], reading: Reading) -> ServerSettings:
    made = {name or key: read[key] for key, name in _SERVER_SAME.items() if key in read}
    for key in ("policy", "ca_file", "lock"):
        if key in read:
            made[key] = _path(read[key], reading)
    return ServerSettings(name=name, **made)


def _grant(read: Mapping[str, Any], reading: Reading) -> GrantSettings:
    servers = read.get("servers")
    if servers is not None:
        servers = {
            server: None if policy is None else _path(policy, reading)
            for server, policy in servers.items()
        }
    tokens = [
        (one["sha256"], one.get("expires")) for one in read.get("tokens", ()) if "sha256" in one
    ]
    if "token_sha256" in read:
        tokens.append((read["token_sha256"], read.get("expires")))
    return GrantSettings(
        name=read.get("name", ""),
        servers=servers,
        jwt=_jwt(read["jwt"], reading) if "jwt" in read else None,
        certificate=CertificateSettings(**read["certificate"]) if "certificate" in read else None,
        tokens=tuple(TokenSettings(sha256=token, until=until) for token, until in tokens),
    )


def _jwt(read: Mapping[str, Any], reading: Reading) -> JwtSettings:
    made = {"issuer": "", "audience": (), **read}
    for key in ("jwks_file", "ca_file"):
        if key in read:
            made[key] = _path(read[key], reading)
    return JwtSettings(**made)
