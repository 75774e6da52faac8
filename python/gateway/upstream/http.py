"""A server that is reached over HTTP: one request out, its answer back, as an ASGI application.

INVARIANT: a request is written at most once. Only connections that were found dead before a byte
was written are replaced; whatever fails later is reported as `sent`, because the server may have
acted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.upstream.dial import Address, Dialer
from gateway.upstream.pool import Pool, PoolBounds

if TYPE_CHECKING:
    from gateway.asgi import Headers, Receive, Scope, Send
    from gateway.settings import ServerSettings


class HttpUpstream:
    """Relays requests to one MCP server over HTTP/1.1, with or without TLS.

    Raises:
        SettingsError: its URL, CA file or proxy cannot be used.
    """

    def __init__(self, settings: ServerSettings) -> None:
        if settings.url is None:
            raise ValueError("a server with a URL is needed")
        address = Address.parse(settings.url)
        dialer = Dialer(address, ca_file=settings.ca_file, timeout_s=settings.connect_timeout_s)
        self._target = dialer.target
        self._first_byte_timeout_s = settings.first_byte_timeout_s
        self._idle_timeout_s = settings.idle_timeout_s
        own = [(name.lower().encode(), value.encode()) for name, value in settings.headers.items()]
        self._own_headers: Headers = [
            (b"host", address.authority),
            (b"accept-encoding", b"identity"),
            *dialer.headers,
            *own,
        ]
        self._own_names = frozenset(name for name, _ in self._own_headers)
        self._pool = Pool(dialer.dial, PoolBounds(wait_s=settings.connect_timeout_s))

    async def start(self) -> None:
        """Nothing is opened before the first request."""

    def drain(self) -> None:
        """Its streams are the server's to end; they get the grace that requests get."""

    async def aclose(self, grace_s: float) -> None:
        """Close connections; those in use get `grace_s` seconds."""
        await self._pool.aclose(grace_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Relay one request.

        Raises:
            UpstreamError: no answer, or (after the start) not the whole of it.
        """
        body: bytes = (await receive())["body"]
        headers = self._headers(scope, body)
        connection = await self._pool.acquire()
        try:
            connection.request(scope["method"].encode(), self._target, headers, body)
            status, fields = await connection.response(self._first_byte_timeout_s)
            await send({"type": "http.response.start", "status": status, "headers": fields})
            more = True
            while more:
                piece, more = await connection.read(self._idle_timeout_s)
                if more:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        except BaseException:
            self._pool.discard(connection)
            raise
        self._pool.release(connection)
        await send({"type": "http.response.body", "body": piece, "more_body": False})

    def _headers(self, scope: Scope, body: bytes) -> Headers:
        given: Headers = scope["headers"]
        headers = [*self._own_headers, *(pair for pair in given if pair[0] not in self._own_names)]
        if scope["method"] == "POST":
            headers.append((b"content-length", str(len(body)).encode()))
        return headers
