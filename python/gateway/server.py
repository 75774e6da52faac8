"""Applications on sockets that are ours, for as long as we say.

This module owns what hypercorn's own runner does not offer: two applications in one process, and a
drain that loses no answer. What a connection is, `gateway.connection` says.

INVARIANT: a listener that drains never closes a connection in the middle of an exchange before the
grace is over, and never waits longer than the grace.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import select
import socket
import ssl
from typing import TYPE_CHECKING, Any, cast

from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.typing import LifespanState
from hypercorn.utils import wrap_app

from gateway.connection import Connection, Reader, config, knows_hypercorn, without_websockets
from gateway.downstream.pressure import restrain_kernel
from gateway.errors import Problem, StartError
from gateway.tls import HANDSHAKE_S

if TYPE_CHECKING:
    from hypercorn.typing import ASGIFramework

    from gateway.asgi import ASGIApp
    from gateway.downstream.port import Port
    from gateway.settings import Address

_log = logging.getLogger("interlock.server")

FILES_A_LISTENER = 1 / 3
"""Of the files that the process may open: a request may need one for its server as well, and the
operators' port must stay within reach whatever comes in at the other."""
LINGER_S = 1.0
"""How long a drain leaves idle connections open, for requests that were under way when it began."""
BACKLOG = 1024
QUEUE_S = 0.1
"""How long a drain goes on accepting, at most, until nobody is left who has connected."""
_READ_AHEAD_BYTES = 64 * 1024


def bind(address: Address, *, shared: bool = False) -> socket.socket:
    """Bind, without listening yet.

    Args:
        shared: other sockets of this user may listen on the same port (SO_REUSEPORT).

    Raises:
        StartError: the address is in use or not this machine's.
    """
    try:
        family, _, _, _, place = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            restrain_kernel(sock)
            if shared:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind(place)
        except OSError:
            sock.close()
            raise
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise StartError(
            Problem(f"cannot listen on `{address}`: {reason}", "port 0 picks a free one")
        ) from error
    sock.setblocking(False)
    return sock


class Listener:
    """One listening socket, the application behind it, and its connections.

    Args:
        fast: serves plain HTTP/1.1 without the application, as far as it can; not used with a
            hypercorn that this module was not written for.
        tls: what to agree to with clients; None serves in the clear.
        most: connections at once; a share of the files that may be open in any case.

    Attributes:
        port: the port that was bound.
    """

    def __init__(
        self,
        app: ASGIApp,
        sock: socket.socket,
        *,
        fast: Port | None = None,
        tls: ssl.SSLContext | None = None,
        most: int | None = None,
    ) -> None:
        self._tls = tls
        self._app = wrap_app(cast("ASGIFramework", without_websockets(app)), 0, "asgi")
        self._sock = sock
        self.port = int(sock.getsockname()[1])
        self._config = config()
        self._context = WorkerContext(None)
        self._connections: set[asyncio.Task[None]] = set()
        share = _share_of_files()
        self._max_connections = share if most is None else min(most, share)
        self._turned_away = 0
        self._server: asyncio.Server | None = None
        self._fast = fast if fast is not None and knows_hypercorn() else None

    async def start(self) -> None:
        """Begin to accept."""
        if self._fast is not None:
            self._fast.take_over = self._take_over
        self._server = await asyncio.get_running_loop().create_server(
            self._accept,
            sock=self._sock,
            # Of asyncio's own loop this is also how often it tries to accept at once, each time
            # with a line in the log and an alarm for the next time where no file is left.
            backlog=1,
            ssl=self._tls,
            ssl_handshake_timeout=None if self._tls is None else HANDSHAKE_S,
        )
        self._sock.listen(BACKLOG)

    async def drain(self, grace_s: float, *, hurry: asyncio.Event | None = None) -> None:
        """Accept nothing more, let what runs finish, and end what has not after the grace.

        Args:
            grace_s: seconds in all.
            hurry: set to end the grace early.
        """
        server, self._server = self._server, None
        if server is not None:
            await self._accept_who_waits()
            server.close()
        # Each answer carries `Connection: close` from here: hypercorn's way to retire a connection.
        self._config.keep_alive_max_requests = 0
        deadline = asyncio.get_running_loop().time() + grace_s
        hurry = hurry or asyncio.Event()
        if self._fast is not None:
            self._fast.drain()
        await self._wait(min(LINGER_S, grace_s), hurry)
        await self._context.terminated.set()  # closes idle connections, and busy ones once idle
        if self._fast is not None:
            self._fast.close_idle()
        await self._wait(deadline - asyncio.get_running_loop().time(), hurry)
        for connection in self._connections:
            connection.cancel()
        if self._fast is not None:
            self._fast.cut()
        await self._wait(LINGER_S, asyncio.Event())

    async def _accept_who_waits(self) -> None:
        """Accept whoever has connected, and may have asked: what is still queued at a socket when
        it is closed is reset by the kernel, without an answer."""
        queue = select.poll()
        queue.register(self._sock, select.POLLIN)
        loop = asyncio.get_running_loop()
        over = loop.time() + QUEUE_S
        empty = 0
        while loop.time() < over:
            # What is accepted in one turn of the loop may become a connection in the next only.
            empty = 0 if queue.poll(0) else empty + 1
            if empty == 2:
                return
            await asyncio.sleep(0)

    async def _wait(self, seconds: float, hurry: asyncio.Event) -> None:
        """Until no connection is left, `hurry` is set, or the time is over."""
        over = asyncio.ensure_future(self._all_gone())
        hurried = asyncio.ensure_future(hurry.wait())
        either: set[asyncio.Future[Any]] = {over, hurried}
        await asyncio.wait(either, timeout=max(seconds, 0), return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        hurried.cancel()

    async def _all_gone(self) -> None:
        while self._connections or (self._fast is not None and not self._fast.is_gone):
            if self._connections:
                await asyncio.wait(self._connections)
            if self._fast is not None:
                await self._fast.gone()

    def _accept(self) -> asyncio.Protocol:
        if len(self._connections) + self._fast_connections >= self._max_connections:
            if self._turned_away == 0:
                _log.warning(
                    "too many connections: new ones are closed, and only counted from here"
                )
            self._turned_away += 1
            return _TurnedAway()
        return self._slow() if self._fast is None else self._fast.wire()

    @property
    def _fast_connections(self) -> int:
        return 0 if self._fast is None else len(self._fast.wires)

    def _slow(self) -> asyncio.StreamReaderProtocol:
        """A protocol that lets hypercorn serve its connection."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_READ_AHEAD_BYTES, loop=loop)
        return Reader(reader, self._serve, loop=loop)

    def _take_over(self, transport: asyncio.Transport, raw: bytes) -> None:
        """Serve a connection by hypercorn from here on.

        Args:
            raw: what has come on it.
        """
        protocol = self._slow()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(raw)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        loop = asyncio.get_running_loop()
        state = LifespanState({})
        try:
            await Connection(self._app, loop, self._config, self._context, state, reader, writer)
        except asyncio.CancelledError:
            # Only `drain` cancels, and it does not want to hear of it.
            return


class _TurnedAway(asyncio.Protocol):
    """Closes the connection that it is given."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).abort()


def _share_of_files() -> int:
    """How many connections one listener may hold."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    bounded = min(most, 1 << 20) if most != resource.RLIM_INFINITY else 1 << 20
    return int(bounded * FILES_A_LISTENER)
