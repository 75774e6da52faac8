"""What a request must be before anything of its body is read: the checks on its head.

INVARIANT: a head passes only if it can be read in one way. Where the framing or an identity could
be taken for another, the request is refused, whatever a server behind might have made of it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import TYPE_CHECKING

from gateway.denial import Refused, refuse
from gateway.downstream.headers import named_by_connection
from gateway.mcp import PROTOCOL_VERSION

if TYPE_CHECKING:
    from gateway.asgi import Headers, Scope
    from gateway.settings import Settings

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_DEFAULT_PORTS = {"http": 80, "https": 443}

_SINGLE = frozenset(
    {
        b"authorization",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"host",
        b"last-event-id",
        b"origin",
        b"transfer-encoding",
    }
)
_ALLOW = [(b"allow", b"POST, GET, DELETE")]


class HostRule:
    """Which Host and Origin values are this listener's own (the guard against DNS rebinding).

    Args:
        listen_host: the address listened on. Off loopback, any Host passes unless some are listed.
        hosts: further Host values, `name` for any port or `name:port`.
        origins: further Origin values, compared as they are.
    """

    def __init__(self, listen_host: str, hosts: tuple[str, ...], origins: tuple[str, ...]) -> None:
        own = f"[{listen_host}]" if ":" in listen_host else listen_host
        self._names = {*LOOPBACK_NAMES, own.lower()}
        self._any_host = not is_loopback(listen_host) and not hosts
        self._hosts = frozenset(host.lower() for host in hosts)
        self._origins = frozenset(origin.lower() for origin in origins)

    def allows_host(self, value: str, port: int, scheme: str) -> bool:
        """Whether a Host header names this listener.

        Args:
            port: the port that the connection came in on.
            scheme: `http` or `https`, for the port that may be left out.
        """
        if self._any_host:
            return True
        host = value.lower()
        name, named_port = _split_port(host)
        if host in self._hosts or name in self._hosts:
            return True
        return name in self._names and (named_port or _DEFAULT_PORTS[scheme]) == port

    def spellings(self, port: int) -> list[bytes] | None:
        """Host values, over http, that pass as they stand; None where any does."""
        if self._any_host:
            return None
        own = [f"{name}:{port}" for name in self._names]
        return [host.encode() for host in (*own, *self._hosts) if ":" in host]

    def allows_origin(self, value: str, port: int) -> bool:
        """Whether an Origin header is one of ours; `null` and other sites are not."""
        origin = value.lower()
        if origin in self._origins:
            return True
        scheme, separator, host = origin.partition("://")
        if not separator or scheme not in _DEFAULT_PORTS:
            return False
        name, named_port = _split_port(host)
        return name in self._names and (named_port or _DEFAULT_PORTS[scheme]) == port


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _split_port(host: str) -> tuple[str, int | None]:
    """`name:port` in two; what is no port number stays in the name, and so matches nothing."""
    name, separator, port = host.rpartition(":")
    if not separator or not port.isascii() or not port.isdecimal() or port.startswith("0"):
        return host, None
    return name, int(port[:6])


class Admission:
    """The checks on a request's head, for every path and method of the data port."""

    def __init__(self, settings: Settings) -> None:
        self._listen_port = settings.listen.port
        self._hosts = HostRule(
            settings.listen.host, settings.allowed_hosts, settings.allowed_origins
        )
        self._max_body_bytes = settings.max_body_bytes

    def hosts(self, port: int) -> list[bytes] | None:
        """Host values that surely pass on this port; None where any does."""
        return self._hosts.spellings(port)

    def admit(self, scope: Scope) -> dict[bytes, bytes]:
        """Check what every request must satisfy; its header fields by name, the last of each.

        Raises:
            Refused: with the status that HTTP has for it.
        """
        http_version: str = scope["http_version"]
        scheme: str = scope.get("scheme", "http")
        if http_version not in ("1.1", "1.0") and (
            scheme != "https" or http_version not in ("2", "3")
        ):
            # HTTP/2 in clear text is only reached by upgrade, which servers in front may not see
            # through.
            raise _malformed("this version of HTTP is not served here", close=True)
        fields = _fields(scope["headers"])
        _check_framing(fields, http_version)
        server = scope.get("server")
        port: int = (server[1] if server else None) or self._listen_port
        if any(name.startswith(b"mcp-") for name in named_by_connection(scope["headers"])):
            # Dropping it, as HTTP asks, would let head and body disagree further on.
            raise _malformed("Connection names a header of the protocol", close=True)
        host = fields.get(b"host", b"").decode("latin-1")
        if not host:
            raise _malformed("a Host header is needed", close=True)
        if not self._hosts.allows_host(host, port, scheme):
            raise _refused("host-not-allowed", fields)
        origin = fields.get(b"origin")
        if origin is not None and not self._hosts.allows_origin(origin.decode("latin-1"), port):
            raise _refused("origin-not-allowed", fields)
        return fields

    def admit_message(self, fields: Mapping[bytes, bytes]) -> None:
        """Check the head of a POST.

        Raises:
            Refused: 406, 413 or 415.
        """
        if not _is_json(fields.get(b"content-type")) or b"content-encoding" in fields:
            raise _refused("unsupported-media-type", fields)
        if not accepts(fields, b"application/json") and not accepts(fields, b"text/event-stream"):
            raise _refused("not-acceptable", fields)
        if int(fields.get(b"content-length", b"0")) > self._max_body_bytes:
            raise _refused("body-too-large", fields, close=True)

    def admit_stream(self, fields: Mapping[bytes, bytes]) -> None:
        """Check the head of a GET.

        Raises:
            Refused: 400 or 406.
        """
        _check_bodiless(fields)
        if not accepts(fields, b"text/event-stream"):
            raise _refused("not-acceptable", fields)

    def admit_deletion(self, fields: Mapping[bytes, bytes]) -> None:
        """Check the head of a DELETE.

        Raises:
            Refused: 400.
        """
        _check_bodiless(fields)


def method_not_allowed(fields: Mapping[bytes, bytes]) -> Refused:
    """The refusal of any method but POST, GET and DELETE."""
    return Refused(
        refuse("method-not-allowed", version=fields.get(PROTOCOL_VERSION), headers=_ALLOW)
    )


def accepts(fields: Mapping[bytes, bytes], media_type: bytes) -> bool:
    """Whether the Accept header takes a media type; one that is absent takes all, as HTTP has
    it."""
    accept = fields.get(b"accept")
    if accept is None or not accept.strip():
        return True
    ranges = {media_type, media_type.partition(b"/")[0] + b"/*", b"*/*"}
    for element in accept.lower().split(b","):
        name, *parameters = (part.strip() for part in element.split(b";"))
        refused = any(_is_zero_quality(parameter) for parameter in parameters)
        if name in ranges and not refused:
            return True
    return False


def _is_zero_quality(parameter: bytes) -> bool:
    return parameter.startswith(b"q=") and not parameter[2:].strip(b"0.")


def _fields(headers: Headers) -> dict[bytes, bytes]:
    """Header fields by name, refusing two of what may be there once; Accept is joined.

    A second `Mcp-*` field is refused whatever its name: readers differ in which of the two they
    take.
    """
    fields: dict[bytes, bytes] = {}
    for name, value in headers:
        if name not in fields:
            fields[name] = value
        elif name in _SINGLE or name.startswith(b"mcp-"):
            raise _malformed("a header that may be there once is there twice", close=True)
        elif name == b"accept":
            fields[name] = fields[name] + b"," + value
    return fields


def _check_framing(fields: Mapping[bytes, bytes], http_version: str) -> None:
    """Refuse a body whose length two readers could see differently."""
    length = fields.get(b"content-length")
    if length is not None and not (length.isdigit() and len(length) <= 18):
        raise _malformed("the Content-Length is not a number", close=True)
    coding = fields.get(b"transfer-encoding")
    if coding is None:
        return
    if length is not None:
        raise _malformed("Content-Length and Transfer-Encoding are both given", close=True)
    if http_version != "1.1" or coding.strip().lower() != b"chunked":
        raise _malformed("this Transfer-Encoding is not served", close=True)


def _check_bodiless(fields: Mapping[bytes, bytes]) -> None:
    if b"transfer-encoding" in fields or int(fields.get(b"content-length", b"0")) > 0:
        raise _malformed("this method takes no body", close=True)


def _is_json(content_type: bytes | None) -> bool:
    if content_type is None:
        return False
    name, *parameters = (part.strip().lower() for part in content_type.split(b";"))
    charsets = (b"charset=utf-8", b'charset="utf-8"')
    return name == b"application/json" and all(parameter in charsets for parameter in parameters)


def _malformed(detail: str, *, close: bool = False) -> Refused:
    return Refused(refuse("malformed-request", detail), close=close)


def _refused(code: str, fields: Mapping[bytes, bytes], *, close: bool = False) -> Refused:
    return Refused(refuse(code, version=fields.get(PROTOCOL_VERSION)), close=close)
