"""How a server is reached: its address, TLS, and the proxy of the environment.

INVARIANT: everything that can be wrong with an address is found when it is parsed, before a port
opens; certificates are always checked.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from gateway.errors import Problem, SettingsError, UpstreamError
from gateway.upstream.connection import Connection

if TYPE_CHECKING:
    from gateway.asgi import Headers

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed `http` or `https` URL."""

    secure: bool
    host: str
    port: int
    authority: bytes
    """As it belongs into `Host`: the port only where it is not the scheme's own."""
    target: bytes
    """Path and query."""

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read a server's URL.

        Raises:
            SettingsError: it is not one, or holds credentials, which belong into headers.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
            host = host.encode("idna").decode("ascii") if host and not host.isascii() else host
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            raw_target = target.encode("ascii")
        except ValueError as error:
            raise _unusable(url, str(error)) from error
        if parts.scheme not in _PORTS or not host:
            raise _unusable(url, "an http or https URL with a host is needed")
        if parts.username is not None or parts.password is not None:
            raise _unusable(url.replace(parts.netloc, "…"), "credentials do not belong into a URL")
        if not all(0x20 < byte < 0x7F for byte in raw_target):
            raise _unusable(url, "blanks and control characters must be percent-encoded")
        literal = f"[{host}]" if ":" in host else host
        own_port = port is None or port == _PORTS[parts.scheme]
        return cls(
            secure=parts.scheme == "https",
            host=host,
            port=port or _PORTS[parts.scheme],
            authority=(literal if own_port else f"{literal}:{port}").encode(),
            target=raw_target,
        )


def _unusable(url: str, why: str) -> SettingsError:
    return SettingsError([Problem(f"upstream `{url}` cannot be used: {why}")])


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy between us and a server."""

    host: str
    port: int
    headers: Headers
    """Its own credentials, if its URL has any."""

    @classmethod
    def for_address(cls, address: Address) -> Proxy | None:
        """The proxy that HTTP_PROXY, HTTPS_PROXY and NO_PROXY name for an address; never for
        loopback.

        Raises:
            SettingsError: the variable does not hold an `http` URL.
        """
        scheme = "https" if address.secure else "http"
        if f"{scheme}_proxy" not in map(str.lower, os.environ) or is_loopback(address.host):
            return None
        # An HTTP client and a mail parser come with it: only where a proxy is in sight.
        from urllib.request import getproxies, proxy_bypass

        url = getproxies().get(scheme)
        if not url or proxy_bypass(f"{address.host}:{address.port}"):
            return None
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme != "http" or not parts.hostname:
            raise SettingsError(
                [
                    Problem(
                        f"{scheme.upper()}_PROXY is not an http URL",
                        "proxies over TLS are not served",
                    )
                ]
            )
        headers: Headers = []
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers.append((b"proxy-authorization", b"Basic " + base64.b64encode(pair.encode())))
        return cls(parts.hostname, parts.port or 80, headers)


def is_loopback(host: str) -> bool:
    """Whether a host can only be this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Dialer:
    """Opens connections to one server.

    Args:
        address: the server.
        ca_file: certificates to trust instead of the system's.
        timeout_s: for everything until a request can be written.

    Raises:
        SettingsError: `ca_file` or the environment's proxy cannot be used.
    """

    def __init__(self, address: Address, *, ca_file: Path | None, timeout_s: float) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._proxy = Proxy.for_address(address)
        self._tls: ssl.SSLContext | None = None
        if address.secure:
            try:
                self._tls = ssl.create_default_context(cafile=ca_file)
            except OSError as error:
                raise SettingsError(
                    [Problem(f"cannot read CA file `{ca_file}`: {error}")]
                ) from error
            self._tls.set_alpn_protocols(["http/1.1"])

    @property
    def target(self) -> bytes:
        """The request target: a whole URL where a proxy has to route by it."""
        if self._proxy is not None and self._tls is None:
            return b"http://" + self._address.authority + self._address.target
        return self._address.target

    @property
    def headers(self) -> Headers:
        """Fields that each request needs on this way."""
        return self._proxy.headers if self._proxy is not None and self._tls is None else []

    async def dial(self) -> Connection:
        """A connection that a request can be written to.

        Raises:
            UpstreamError: with `sent` false; the reason is `connect` or `tls`.
        """
        connection = Connection()
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._open(connection)
        except ssl.SSLError as error:
            connection.abort()
            raise UpstreamError(
                "tls", f"TLS failed: {error.reason or error}", sent=False
            ) from error
        except TimeoutError as error:
            connection.abort()
            raise UpstreamError("connect", "connecting took too long", sent=False) from error
        except OSError as error:
            connection.abort()
            raise UpstreamError("connect", f"cannot connect: {error}", sent=False) from error
        except UpstreamError as error:
            connection.abort()
            raise UpstreamError("connect", str(error), sent=False) from error
        except BaseException:
            connection.abort()
            raise
        return connection

    async def _open(self, connection: Connection) -> None:
        address, proxy = self._address, self._proxy
        loop = asyncio.get_running_loop()
        if proxy is None:
            await loop.create_connection(
                lambda: connection,
                address.host,
                address.port,
                ssl=self._tls,
                server_hostname=address.host if self._tls is not None else None,
            )
            return
        await loop.create_connection(lambda: connection, proxy.host, proxy.port)
        if self._tls is not None:
            host = f"[{address.host}]" if ":" in address.host else address.host
            authority = f"{host}:{address.port}".encode()
            await connection.tunnel(authority, proxy.headers, self._timeout_s)
            await connection.secure(self._tls, address.host)
