"""One HTTP/1.1 connection to a server: an asyncio protocol around h11.

INVARIANT: a connection is used again only after a whole answer, with nothing behind it. Bytes that
come while nothing was asked, and anything else unexpected, close it: an answer must never meet
another request.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from typing import TYPE_CHECKING, Protocol, cast

import h11

from gateway.errors import UpstreamError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.asgi import Headers

MAX_HEAD_BYTES = 64 * 1024
MAX_INFORMATIONAL = 8
"""1xx answers accepted before the final one."""
HIGH_WATER_BYTES = 16 * 1024
"""Received and not yet taken, at which reading pauses: little, since every client that takes
nothing of its answer holds so much."""
SIP_BYTES = 32 * 1024
"""What is read at once from a server that sends more than that at once. Event loops by themselves
would read up to 8 MB of it before anyone else has a turn."""
PIECE_BYTES = 64 * 1024
"""At most about this much of an answer's body is handed on at once."""


_WRITTEN = h11.Request(method="POST", target="/", headers=[("host", "-"), ("content-length", "0")])
"""Stands for a request that a borrower wrote: all that reading an answer needs to know of it."""


class HungUp(Exception):
    """The exchange was ended from our side."""


class Borrower(Protocol):
    """Who reads and writes a connection's bytes by itself, for one exchange."""

    def answered(self, data: bytes) -> None:
        """Bytes came."""

    def ended(self) -> None:
        """The server closed its side; called once at most."""


class Connection(asyncio.Protocol):
    """A client connection; one exchange at a time."""

    def __init__(self) -> None:
        self.idle_since = 0
        """Beat of the pool at which it was put aside."""
        self._codec = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.borrower: Borrower | None = None
        """To whom it is lent, with whatever comes on it."""
        self.write: Callable[[bytes], None]
        """For a borrower: writes a request. If the server has closed, the borrower hears it."""
        self.unsent: Callable[[], int]
        """How many bytes wait to be taken by the kernel."""
        self._busy = False
        self.ended = False
        """Whether one of its sides has closed it, as far as the event loop has heard."""
        self.paused = False
        """Whether nothing more is taken from the server for now."""
        self._hung_up = False
        self._unread = 0
        self._sips = False

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._speak_over(cast("asyncio.Transport", transport))

    def data_received(self, data: bytes) -> None:
        if len(data) > SIP_BYTES and self._transport is not None:
            self._sip(self._transport)
        borrower = self.borrower
        if borrower is not None:
            borrower.answered(data)
            return
        if not self._busy:
            self.abort()
            return
        self._codec.receive_data(data)
        self._unread += len(data)
        if self._unread > HIGH_WATER_BYTES and not self.paused and self._transport is not None:
            self.paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self._end()

    def connection_lost(self, error: Exception | None) -> None:
        self._end()

    def _sip(self, transport: asyncio.Transport) -> None:
        """Read less at once from here on."""
        if not self._sips:
            self._sips = True
            transport.set_protocol(_Sipping(self))
            self.take_turns()  # event loops look at the protocol's kind when they begin to read

    def take_turns(self) -> None:
        """Read no more in this turn of the event loop."""
        if self._transport is not None:
            self._transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._take_turn)

    def _take_turn(self) -> None:
        if self._transport is not None and not self.paused and not self._transport.is_closing():
            self._transport.resume_reading()

    # What the pool and the upstream call.

    @property
    def quiet(self) -> bool:
        """Whether nothing has come that nobody asked for, as far as can be known without writing.

        A readable socket that owes nothing is either closed by its peer or talking out of turn.
        """
        socket = self._transport.get_extra_info("socket") if self._transport else None
        if socket is None:
            return True
        poll = select.poll()
        poll.register(socket.fileno(), select.POLLIN)
        return not poll.poll(0)

    def request(self, method: bytes, target: bytes, headers: Headers, body: bytes) -> None:
        """Write one request; what it does not say of framing must be in `headers` already.

        Raises:
            UpstreamError: not one byte was written.
        """
        if self._transport is None or self.ended or self._transport.is_closing():
            raise UpstreamError("reset", "the connection was closed", sent=False)
        try:
            pieces = [self._codec.send(h11.Request(method=method, target=target, headers=headers))]
            if body:
                pieces.append(self._codec.send(h11.Data(data=body)))
            pieces.append(self._codec.send(h11.EndOfMessage()))
        except h11.LocalProtocolError as error:
            raise UpstreamError(
                "invalid", f"the request cannot be sent: {error}", sent=False
            ) from error
        self._busy = True
        self._sip(self._transport)
        self._transport.write(b"".join(piece for piece in pieces if piece))

    async def response(self, timeout_s: float) -> tuple[int, Headers]:
        """The final status and header fields, names in lower case; informational answers are passed
        over.

        Raises:
            UpstreamError: with `sent` true.
            HungUp: `hang_up` was called.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        informational = 0
        while True:
            event = self._next()
            if event is h11.NEED_DATA:
                await self._wait(deadline - loop.time())
            elif isinstance(event, h11.Response):
                return event.status_code, list(event.headers)
            elif isinstance(event, h11.InformationalResponse):
                informational += 1
                if informational > MAX_INFORMATIONAL:
                    raise UpstreamError("invalid", "too many informational answers", sent=True)
            else:
                raise UpstreamError("reset", "the server closed the connection", sent=True)

    async def read(self, timeout_s: float) -> tuple[bytes, bool]:
        """The next piece of the body as soon as there is any, and whether more follows.

        Args:
            timeout_s: how long the server may be silent.

        Raises:
            UpstreamError: with `sent` true.
            HungUp: `hang_up` was called, and nothing more has come.
        """
        pieces: list[bytes] = []
        size = 0
        while size < PIECE_BYTES:
            try:
                event = self._next()
            except UpstreamError:
                if pieces:
                    break  # h11 says it again on the next call
                raise
            if isinstance(event, h11.Data):
                pieces.append(bytes(event.data))
                size += len(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return b"".join(pieces), False
            elif pieces:
                break
            elif event is h11.NEED_DATA:
                await self._wait(timeout_s)
            else:
                raise UpstreamError("reset", "the server closed the connection", sent=True)
        return b"".join(pieces), True

    def finish(self) -> bool:
        """End the exchange; whether the connection may serve another one. Otherwise it is
        closed."""
        if self.borrower is not None:
            self.borrower = None
            self.resume()
            # A server that answers before it has read everything may never read the rest.
            return not self.ended and not self.unsent()
        codec = self._codec
        whole = codec.our_state is h11.DONE and codec.their_state is h11.DONE
        if not whole or codec.trailing_data != (b"", False) or self.ended:
            self.abort()
            return False
        codec.start_next_cycle()
        self._resume()
        self._busy = False
        return True

    def hang_up(self) -> None:
        """Let the exchange end with `HungUp` as soon as it has to wait for the server."""
        self._hung_up = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(HungUp())

    def abort(self) -> None:
        """Close at once, whatever is still unsent."""
        self.ended = True
        self.borrower = None
        if self._transport is not None:
            self._transport.abort()

    async def tunnel(self, authority: bytes, headers: Headers, timeout_s: float) -> None:
        """Ask the proxy at the other end for a tunnel (CONNECT); the codec is fresh afterwards.

        Raises:
            UpstreamError: it refused, or did not answer as HTTP says.
        """
        self.request(b"CONNECT", authority, [(b"host", authority), *headers], b"")
        status, _ = await self.response(timeout_s)
        if not 200 <= status < 300:
            raise UpstreamError("connect", f"the proxy answered CONNECT with {status}", sent=False)
        if self._codec.trailing_data[0]:
            raise UpstreamError("invalid", "bytes behind the proxy's answer", sent=False)
        self._codec = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._busy = False

    async def secure(self, context: ssl.SSLContext, host: str) -> None:
        """Speak TLS from here on, and check that the peer is `host`. Raises OSError."""
        assert self._transport is not None
        transport = await asyncio.get_running_loop().start_tls(
            self._transport, self, context, server_hostname=host
        )
        if transport is None:
            raise ConnectionResetError("closed during the TLS handshake")
        self._speak_over(transport)

    # What a borrower calls.

    def pause(self) -> None:
        """Take no more from the server for now."""
        if self._transport is not None and not self.paused and not self.ended:
            self.paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Take again."""
        if not self.ended:
            self._resume()

    def reread(self, raw: bytes) -> None:
        """Take the connection back from a borrower that has written a request, as if nothing of the
        answer had been read.

        Args:
            raw: what has come of it.
        """
        self.borrower = None
        self._busy = True
        self._codec.send(_WRITTEN)
        self._codec.send(h11.EndOfMessage())
        self._codec.receive_data(raw)
        if self.ended:
            self._codec.receive_data(b"")

    # Inside.

    def _speak_over(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.write = transport.write
        self.unsent = transport.get_write_buffer_size

    def _next(self) -> object:
        try:
            return self._codec.next_event()
        except h11.RemoteProtocolError as error:
            if self.ended:
                raise UpstreamError(
                    "reset", "the server broke off its answer", sent=True
                ) from error
            raise UpstreamError("invalid", f"not HTTP: {str(error)[:120]}", sent=True) from error

    async def _wait(self, timeout_s: float) -> None:
        """Until something came, or the peer left."""
        if self._hung_up:
            raise HungUp
        if self.ended:
            raise UpstreamError("reset", "the server closed the connection", sent=True)
        self._resume()
        loop = asyncio.get_running_loop()
        waiter = self._waiter = loop.create_future()
        timer = loop.call_later(timeout_s, _expire, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _resume(self) -> None:
        self._unread = 0
        if self.paused and self._transport is not None:
            self.paused = False
            self._transport.resume_reading()

    def _end(self) -> None:
        if self.ended:
            self._wake()
            return
        self.ended = True
        if self.borrower is not None:
            self.borrower.ended()
        elif self._busy:
            self._codec.receive_data(b"")
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


_BUFFER = memoryview(bytearray(SIP_BYTES))
"""Of all connections: an event loop hands over what it has read into it before it reads again."""


class _Sipping(asyncio.BufferedProtocol):
    """Reads for a connection from a server that sends much, a little each turn."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get_buffer(self, sizehint: int) -> memoryview:
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        if nbytes == SIP_BYTES:
            self._connection.take_turns()
        self._connection.data_received(bytes(_BUFFER[:nbytes]))

    def eof_received(self) -> None:
        self._connection.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        self._connection.connection_lost(error)


def _expire(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(
            UpstreamError("timeout", "the server was silent for too long", sent=True)
        )
