"""A request that the fast path hands over, served by the ASGI application on the same connection.

INVARIANT: an answer that was begun ends whole, or its connection ends in disorder; no client can
take the one for the other (RFC 9112, section 8).
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

from gateway.downstream.body import ClientGone
from gateway.downstream.relay import ClientStalled
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from gateway.asgi import ASGIApp, Headers, Message, Scope

_log = logging.getLogger("interlock.wire")

_LAST_CHUNK = b"0\r\n\r\n"
_BODILESS = (204, 304)


class Line(Protocol):
    """The client's connection, as an application that answers on it needs it."""

    def write(self, data: bytes) -> None:
        """Send, or nothing if the client has left."""

    async def writable(self) -> None:
        """Until the client has taken most of what was written."""

    @property
    def retires(self) -> bool:
        """Whether an answer that begins now is the connection's last."""


class HandedRequest:
    """One request and the answer that an application makes of it.

    Args:
        body: whole; None if the application has it already.
    """

    def __init__(self, line: Line, scope: Scope, body: bytes | None) -> None:
        self.whole = False
        """Whether the answer has ended as it should."""
        self.closes = False
        """Whether the connection must end after this answer."""
        self._line = line
        self._scope = scope
        self._body = body
        self._left = asyncio.Event()
        self._chunked = False
        self._bodiless = scope["method"] == "HEAD"
        self._asks_to_close = _closes(scope["headers"])

    async def serve(self, app: ASGIApp) -> None:
        """Have it answered."""
        try:
            await app(self._scope, self._receive, self._send)
        except (GatewayError, ClientGone, ClientStalled):
            return
        except Exception:
            _log.exception("a request failed")

    def leave(self) -> None:
        """The client is gone."""
        self._left.set()

    async def _receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            # At once: who asked for a stream waits for its head, and an answer that breaks off
            # before its first byte has one all the same.
            self._line.write(self._head(message["status"], message["headers"]))
            return
        more: bool = message.get("more_body", False)
        out = self._framed(message.get("body", b""), more)
        if out:
            self._line.write(out)
        self.whole = not more
        await self._line.writable()

    def _head(self, status: int, headers: Headers) -> bytes:
        self._bodiless = self._bodiless or status in _BODILESS
        self._chunked = not self._bodiless and not any(
            name == b"content-length" for name, _ in headers
        )
        says_so = _closes(headers)
        self.closes = says_so or self._asks_to_close or self._line.retires
        lines = [b"HTTP/1.1 %d \r\n" % status]
        lines += [b"%b: %b\r\n" % field for field in headers]
        if self.closes and not says_so:
            lines.append(b"connection: close\r\n")
        if self._chunked:
            lines.append(b"transfer-encoding: chunked\r\n")
        lines.append(b"\r\n")
        return b"".join(lines)

    def _framed(self, body: bytes, more: bool) -> bytes:
        if self._bodiless:
            return b""
        if not self._chunked:
            return body
        chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
        return chunk if more else chunk + _LAST_CHUNK


def _closes(headers: Headers) -> bool:
    return any(name == b"connection" and value.lower() == b"close" for name, value in headers)
