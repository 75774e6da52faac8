"""A server that is reached over HTTP: one request out, its answer back, as an ASGI application.

INVARIANT: a request is written at most once. Only connections that were found dead before a byte
was written are replaced; whatever fails later is reported as `sent`, because the server may have
acted.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.errors import UpstreamError
from gateway.mcp import EXTENSION, LISTEN, listen_result
from gateway.upstream.connection import Connection, HungUp
from gateway.upstream.dial import Address, Dialer
from gateway.upstream.pool import Pool, PoolBounds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gateway.asgi import Headers, Receive, Scope, Send
    from gateway.mcp import Exchange
    from gateway.settings import ServerSettings
    from gateway.upstream.connection import Borrower

_BETWEEN_EVENTS = re.compile(rb"\A\Z|(?:\r\n|\n|\r(?!\n)){2}\Z")
_LONGEST_BLANK = 4


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
        self.first_byte_timeout_s = settings.first_byte_timeout_s
        self.idle_timeout_s = settings.idle_timeout_s
        self._needed = {
            b"host": address.authority,
            b"accept-encoding": b"identity",
            **dict(dialer.headers),
        }
        self.send_headers(settings.headers)
        self._listening: set[Connection] = set()
        self._pool = Pool(dialer.dial, PoolBounds(wait_s=settings.connect_timeout_s))
        # Without a call of ours between.
        self.borrow = self._pool.borrow
        self.take_back = self._pool.take_back
        self.discard = self._pool.discard

    def send_headers(self, headers: Mapping[str, str]) -> None:
        """Send these of the settings' own with every request from now on."""
        given = {name.lower().encode(): value.encode() for name, value in headers.items()}
        self._own = {**self._needed, **given}

    async def start(self) -> None:
        """Nothing is opened before the first request."""

    def drain(self) -> None:
        """End the streams that would never end by themselves."""
        for connection in list(self._listening):
            connection.hang_up()

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
        except BaseException:
            self._pool.discard(connection)
            raise
        await self._relay(connection, send, _last_words(scope))

    async def _relay(self, connection: Connection, send: Send, last_words: bytes | None) -> None:
        """Pass on the answer to the request that was written.

        Args:
            last_words: ends a stream that is hung up on; None where none is.
        """
        if last_words is not None:
            self._listening.add(connection)
        relayed = b""
        try:
            status, fields = await connection.response(self.first_byte_timeout_s)
            await send({"type": "http.response.start", "status": status, "headers": fields})
            more = True
            while more:
                piece, more = await connection.read(self.idle_timeout_s)
                if more:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                    relayed = (relayed + piece)[-_LONGEST_BLANK:]
        except HungUp:
            self._pool.discard(connection)
            if last_words is None or not _BETWEEN_EVENTS.search(relayed):
                raise UpstreamError("reset", "ended to drain", sent=True) from None
            piece = last_words
        except BaseException:
            self._pool.discard(connection)
            raise
        else:
            self._pool.release(connection)
        finally:
            self._listening.discard(connection)
        await send({"type": "http.response.body", "body": piece, "more_body": False})

    # What the fast path borrows.

    @property
    def head(self) -> bytes:
        """A message's request line and our own fields, as bytes for the wire."""
        lines = [b"POST %b HTTP/1.1\r\n" % self._target]
        return b"".join([*lines, *(b"%b: %b\r\n" % field for field in self._own.items())])

    @property
    def own_names(self) -> list[bytes]:
        """Names of these fields; a client's of the same name do not pass."""
        return list(self._own)

    async def open(self, borrower: Borrower) -> Connection:
        """A connection for one exchange, opened if none comes free.

        Raises:
            UpstreamError: nothing was sent.
        """
        connection = await self._pool.acquire()
        if connection.ended:  # while it waited to be taken up, so that nobody would hear of it
            self._pool.discard(connection)
            raise UpstreamError("reset", "the connection was closed", sent=False)
        connection.borrower = borrower
        return connection

    def reread(self, connection: Connection, raw: bytes) -> Callable[[Send], Awaitable[None]]:
        """End a loan whose borrower wrote a request and cannot read the answer.

        Args:
            raw: what has come of it.

        Returns:
            Passes the answer on as `__call__` does, from its beginning.
        """
        connection.reread(raw)
        return lambda send: self._relay(connection, send, None)

    def _headers(self, scope: Scope, body: bytes) -> Headers:
        given: Headers = scope["headers"]
        headers = [*self._own.items(), *(pair for pair in given if pair[0] not in self._own)]
        if scope["method"] == "POST":
            headers.append((b"content-length", str(len(body)).encode()))
        return headers


def _last_words(scope: Scope) -> bytes | None:
    """What ends a stream that lasts until someone ends it, so that its client takes it for an end
    and not for a loss; None for a request that will be answered."""
    exchange: Exchange = scope["extensions"][EXTENSION]
    if exchange.decision is None:
        return b"" if scope["method"] == "GET" else None
    if exchange.decision.method != LISTEN or exchange.decision.request_id is None:
        return None
    return b"data: " + listen_result(exchange.decision.request_id) + b"\n\n"
