"""Hypercorn's HTTP/1.1 for one connection: hypercorn parses, frames and paces.

What is changed here is what it leaves open: a connection stays HTTP/1.1, is gone as soon as its
peer is, and no client can hold it for ever by sending nothing or taking nothing.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import h11
import hypercorn
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.config import Config
from hypercorn.events import Closed, RawData, Updated
from hypercorn.events import Event as HttpEvent
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr

from gateway.downstream.inbox import ClientLeft, Inbox, Pause
from gateway.downstream.pressure import reset, restrain
from gateway.tls import PEER, peer_of

if TYPE_CHECKING:
    from hypercorn.protocol import ProtocolWrapper

    from gateway.asgi import ASGIApp, Receive, Scope, Send
    from gateway.tls import Peer

_log = logging.getLogger("interlock.server")

KEEP_ALIVE_S = 90.0
"""Well over the 5 s after which client pools drop an idle connection: the side that closes first
must not be ours, because a connection closed under a request kills some clients whole."""
HEAD_TIMEOUT_S = 5.0
"""How long a request's head may take from its first byte to its last."""
MAX_HEAD_BYTES = 32 * 1024
"""Of a request's target and header fields."""
STALL_S = 30.0
"""How long a client may take no byte of what it is sent."""
FLUSH_S = 30.0
"""How long a client may take for the last bytes of a connection that is closed."""
FAREWELL_S = 1.0
"""How long a client may still send once it has its connection's last answer."""
_KNOWN_HYPERCORN = ("0.17.", "0.18.")
"""Versions whose connections can be taken over in the middle."""


class Reader(asyncio.StreamReaderProtocol):
    """Reads for hypercorn, and cuts off a client that takes nothing."""

    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._to = cast("asyncio.Transport", transport)
        restrain(self._to)
        super().connection_made(transport)

    def pause_writing(self) -> None:
        super().pause_writing()
        loop = asyncio.get_running_loop()
        self._stalled = loop.call_later(STALL_S, reset, self._to)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._cancel()

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._cancel()

    def _cancel(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None


class Connection(TCPServer):
    """A connection as hypercorn serves it, but HTTP/1.1 only, and gone as soon as its peer is."""

    _over = False
    _protocol: _Http1 | None = None

    async def run(self) -> None:
        sock = self.writer.get_extra_info("socket")
        self._reading = asyncio.current_task()
        self._read_all = asyncio.Event()
        try:
            if sock is None:  # as uvloop has it, once a peer has gone
                return
            # Out of the group, which would wrap what this raises then elsewhere.
            client = parse_socket_addr(sock.family, sock.getpeername())
            server = parse_socket_addr(sock.family, sock.getsockname())
            certificate = self.writer.get_extra_info("peercert")
            peer = peer_of(certificate) if certificate else None
            async with _Tasks(self.loop, peer) as task_group:
                self._task_group = task_group
                protocol = _Http1(
                    self.app,
                    self.config,
                    self.context,
                    task_group,
                    ConnectionState(self.state),
                    self.writer.get_extra_info("ssl_object") is not None,
                    client,
                    server,
                    self.protocol_send,
                )
                protocol.connection = _Codec(
                    h11.SERVER, max_incomplete_event_size=self.config.h11_max_incomplete_size
                )
                protocol.can_read = Pause(self.reader, protocol.receive, protocol.waiting)
                self._protocol = protocol
                self.protocol = cast("ProtocolWrapper", protocol)
                await self.idle_task.restart(task_group, self._idle_timeout)
                await self._read_data()
                # Hypercorn would hold the connection until the idle timer runs out.
                self._over = True
                self._read_all.set()
                protocol.stop_timer()
                await self.idle_task.stop()
        except OSError:
            pass
        finally:
            await self._close()

    async def _read_data(self) -> None:
        try:
            await super()._read_data()
        except ClientLeft:
            await self.protocol.handle(Closed())

    async def _close(self) -> None:
        # Hypercorn would wait for ever for a client that takes nothing.
        timer = self.loop.call_later(FLUSH_S, reset, self.writer.transport)
        try:
            if self._protocol is not None and self._protocol.still_receives:
                self._protocol.closing = True
                with suppress(OSError, RuntimeError, TimeoutError):
                    self.writer.write_eof()
                    async with asyncio.timeout(FAREWELL_S):
                        await self._let_finish()
            await super()._close()
        finally:
            timer.cancel()

    async def _let_finish(self) -> None:
        """Read on until the client ends too: a connection closed while it still sends is reset, and
        that can take the answer with it."""
        if asyncio.current_task() is not self._reading:
            await self._read_all.wait()
        while not self._read_all.is_set() and await self.reader.read(1 << 16):
            pass

    async def protocol_send(self, event: HttpEvent) -> None:
        if not (self._over and isinstance(event, Updated)):
            await super().protocol_send(event)


class _Tasks(TaskGroup):
    """Hypercorn's task group, with an inbox for each application that never holds up its
    connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop, peer: Peer | None) -> None:
        super().__init__(loop)
        self._peer = peer

    async def spawn_app(self, app: Any, config: Config, scope: Any, send: Any) -> Any:
        inbox = Inbox()
        if self._peer is not None:
            scope.setdefault("extensions", {})[PEER] = self._peer

        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start":
                inbox.close()
            await send(message)

        async def serve(scope: Any, receive: object, send: object, *how: Any) -> None:
            try:
                await app(scope, inbox.get, answer, *how)
            finally:
                inbox.close()

        await super().spawn_app(cast("Any", serve), config, scope, send)
        return inbox.put


class _Codec(h11.Connection):
    """h11's reader, for which nothing comes behind a connection's last request: that is to be
    ignored (RFC 9112, section 9.6), where h11 would refuse it in the place of the last answer."""

    def receive_data(self, data: bytes) -> None:
        if self.their_state is not h11.MUST_CLOSE:
            super().receive_data(data)

    def next_event(self) -> Any:
        return h11.NEED_DATA if self.their_state is h11.MUST_CLOSE else super().next_event()


class _Http1(H11Protocol):
    """Hypercorn's HTTP/1.1 without its ways to HTTP/2, and with a deadline for a request's head."""

    _timer: asyncio.TimerHandle | None = None
    closing = False
    """Whether nothing more is wanted of the client."""

    def receive(self, data: bytes) -> None:
        """Keep what came while a request is served, to be read after it."""
        self.connection.receive_data(data)

    def waiting(self) -> int:
        """How many bytes came behind the request that is served."""
        return len(self.connection.trailing_data[0])

    @property
    def still_receives(self) -> bool:
        """Whether more of a request that was answered may be on its way."""
        return self.connection.their_state in (h11.SEND_BODY, h11.ERROR)

    async def handle(self, event: HttpEvent) -> None:
        if self.closing and isinstance(event, RawData):
            return
        await super().handle(event)
        if self.connection.their_state is not h11.IDLE or not self.connection.trailing_data[0]:
            self.stop_timer()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            spawn = cast("TaskGroup", self.task_group).spawn
            self._timer = loop.call_later(HEAD_TIMEOUT_S, spawn, self._head_overdue)

    def stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _head_overdue(self) -> None:
        await self._send_error_response(408)
        await self.send(Closed())

    async def _check_protocol(self, event: h11.Request) -> None:
        """Take no offer of HTTP/2 over cleartext (an upgrade to h2c, or prior knowledge).

        What asks for it is served as the HTTP/1.1 it is, or refused by the application for its
        version.
        """

    async def _create_stream(self, request: h11.Request) -> None:
        # h11 bounds only a head that comes in pieces; one that comes at once may be larger.
        size = sum(len(name) + len(value) for name, value in request.headers)
        if size + len(request.target) > MAX_HEAD_BYTES:
            await self._send_error_response(431)
            await self.send(Closed())
        else:
            await super()._create_stream(request)

    async def _send_error_response(self, status_code: int) -> None:
        """Refuse what is not HTTP, in words that an MCP client can read."""
        body = (
            b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"%s",'
            b'"data":{"code":"malformed-request"}}}'
            % _BAD_HTTP.get(status_code, "the request is not valid HTTP/1.1").encode()
        )
        head = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        await self._send_h11_event(h11.Response(status_code=status_code, headers=head))
        await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())


_BAD_HTTP = {
    408: "the request's head did not come in time",
    431: "the request's head is too large",
}


def knows_hypercorn() -> bool:
    """Whether the version is one of those that this module was written for.

    By the name of its metadata's folder: `importlib.metadata` takes longer to load than the rest of
    the start.
    """
    folder = Path(hypercorn.__file__).parent.parent
    names = [f"hypercorn-{version}*.dist-info" for version in _KNOWN_HYPERCORN]
    known = any(True for name in names for _ in folder.glob(name))
    if not known:
        _log.warning("this version of hypercorn is not known: the fast path is off")
    return known


def config() -> Config:
    """What hypercorn is told of every connection."""
    config = Config()
    config.h11_max_incomplete_size = MAX_HEAD_BYTES
    config.include_date_header = False
    config.include_server_header = False
    config.keep_alive_max_requests = 1 << 62
    config.keep_alive_timeout = KEEP_ALIVE_S
    return config


def without_websockets(app: ASGIApp) -> ASGIApp:
    """Refuse WebSocket connections, which hypercorn would otherwise offer to the application."""

    async def http_only(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        else:
            await app(scope, receive, send)

    return http_only
