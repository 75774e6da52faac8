"""One server's answer on its way to the client.

INVARIANT: a piece leaves when it comes, and its bytes are the server's, unless the policy hides
something in it; every piece is taken from the server only when the client has taken the one before.
An answer that cannot be passed on whole never ends as if it were. What the policy comes to hide
while a stream is open leaves on it no more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from gateway.denial import Refused, refuse
from gateway.downstream.answers import (
    ACCEPTED,
    AnswerHead,
    Kind,
    asks,
    check_document,
    invalid,
    read_head,
)
from gateway.downstream.body import ClientGone
from gateway.downstream.decoding import Decoder
from gateway.downstream.headers import for_client
from gateway.downstream.observer import Observer
from gateway.listing import MAX_DOCUMENT_BYTES, Filter, filter_event, filter_events
from gateway.mcp import SESSION_ID, Exchange
from gateway.sse import EventCutter, EventTooLong

if TYPE_CHECKING:
    from gateway.asgi import Headers, Message, Send
    from gateway.sessions import Sessions
    from gateway.sse import Event

SHORT_BYTES = 64 * 1024
"""A JSON answer up to this long is read before it leaves, so that one that breaks off, or answers
another request, becomes an error that the client can tell from an answer."""
_BLANK = b"\n\n"


class _Manner(Enum):
    """How a body is passed on."""

    PLAIN = auto()
    """As it comes."""
    WHOLE = auto()
    """Held until it is complete, as long as it is short or has to be read."""
    EVENTS = auto()
    """As it comes, read event by event; filtered ones leave event by event too."""


@dataclass(frozen=True, slots=True)
class RelayBounds:
    """What a client may make us wait for, and a server make us hold."""

    write_stall_s: float = 30.0
    """How long a client may take no byte before it counts as gone."""
    document_bytes: int = MAX_DOCUMENT_BYTES
    unheard_bytes: int = 4 << 20
    """How much of an answer is still read whose client has left. It may ask for what has to be
    remembered; but a server that never ends would keep the event loop busy."""


class ClientStalled(Exception):
    """The client takes no more bytes, so that what was begun cannot be ended."""


class Relay:
    """Receives an upstream's ASGI messages and sends what of them the client may have.

    Args:
        exchange: what is being answered.
        sessions: where ids are remembered that the answer gives out.
        filters: gives the filter of lists that is in force, or None where nothing is hidden; asked
            again for each piece, since a reload may come to hide something.
        extra: header fields of our own for the answer.
        send: the client's.
        outlives: whether the server's work goes on for a client that stopped reading.
    """

    def __init__(
        self,
        exchange: Exchange,
        sessions: Sessions,
        filters: Callable[[], Filter | None],
        extra: Headers,
        send: Send,
        *,
        outlives: bool,
        bounds: RelayBounds = RelayBounds(),
    ) -> None:
        self.status = 0
        """The server's status; 0 until it came."""
        self.started = False
        """Whether the client has the head of the answer."""
        self._exchange = exchange
        self._sessions = sessions
        self._filters = filters
        self._keep = filters()
        self._extra = extra
        self._send = send
        self._bounds = bounds
        self._observer = Observer(exchange, sessions)
        self._manner = _Manner.PLAIN
        self._head: Message | None = None
        self._held = bytearray()
        self._hold_bytes = bounds.document_bytes
        self._must_read = False
        self._in_utf8 = True
        self._decoder: Decoder | None = None
        self._cutter = EventCutter(lossy=self._keep is None)
        self._begun = 0
        """Bytes that the client has of the event that was passing when filtering began."""
        self._outlives = outlives
        self.discards = False
        """Whether nothing is sent any more."""
        self._unheard_bytes = 0

    def discard(self) -> None:
        """Send nothing more: the client is gone. What passes is still remembered."""
        self.discards = True

    async def send(self, message: Message) -> None:
        """The `send` of the upstream.

        Raises:
            UpstreamError: the answer cannot be passed on.
            ClientGone: nobody waits for it, and it does not end.
            Refused: it can, but not remembered.
            ClientStalled: nobody takes it.
        """
        if message["type"] == "http.response.start":
            await self._start(message)
            return
        more: bool = message.get("more_body", False)
        body: bytes = message.get("body", b"") if self.status != ACCEPTED else b""
        if self.discards:
            self._unheard_bytes += len(body)
            if self._unheard_bytes > self._bounds.unheard_bytes:
                raise ClientGone
        if self._decoder is None:
            await self._piece(body, more)
            return
        for piece in self._decoder.feed(body):
            await self._piece(piece, True)
        if not more:
            self._decoder.finish()
            await self._piece(b"", False)

    def closing_event(self, body: bytes) -> bytes | None:
        """The bytes that end a broken event stream with a proper answer; None where they cannot.

        Args:
            body: the JSON-RPC answer.
        """
        answerable = self._manner is _Manner.EVENTS and not self._observer.answered
        # Of a filtered stream only whole events have left, whatever is held, once what was passing
        # when filtering began has left too.
        between = not self._begun and (self._keep is not None or self._cutter.between_events)
        if not self.started or not answerable or not between:
            return None
        return b"data: " + body + _BLANK

    async def _start(self, message: Message) -> None:
        self.status = message["status"]
        head = read_head(self.status, message["headers"], self._exchange)
        if head.coding is not None:
            self._decoder = Decoder(head.coding)
        self._in_utf8 = head.in_utf8
        self._renew_filter()
        self._choose_manner(head)
        fields = [*for_client(head.headers), *self._session(head), *self._extra]
        plain = self._decoder is None and self._manner is _Manner.PLAIN
        if head.length is not None and plain and head.status != ACCEPTED:
            fields.append((b"content-length", head.length))
        self._head = {"type": "http.response.start", "status": head.status, "headers": fields}
        if self._manner is _Manner.EVENTS:
            await self._forward(b"", True)

    def _choose_manner(self, head: AnswerHead) -> None:
        if self._keep is not None:
            self._check_charset()
        if head.kind is Kind.EVENTS:
            self._manner = _Manner.EVENTS
        elif self._keep is not None:
            self._manner = _Manner.WHOLE
            self._must_read = True
        elif head.kind is Kind.JSON and head.succeeded and asks(self._exchange):
            self._manner = _Manner.WHOLE
            self._must_read = self._observer.initializes
            if not self._observer.reads_documents:
                self._hold_bytes = min(SHORT_BYTES, self._hold_bytes)

    def _check_charset(self) -> None:
        if not self._in_utf8:
            raise invalid("an answer that is not in UTF-8 cannot be filtered")

    def _renew_filter(self) -> None:
        """Filter from here on if a reload has come to hide something.

        A filter stays, since one that has nothing to hide changes nothing. A document that has
        begun to leave goes on as it is: the client reads it whole or not at all.
        """
        if self._keep is not None or (keep := self._filters()) is None:
            return
        self._keep = keep
        if self._manner is _Manner.WHOLE:
            self._check_charset()
            self._must_read = True
            self._hold_bytes = self._bounds.document_bytes
        elif self._manner is _Manner.EVENTS:
            self._begun = len(self._cutter.pending)
            self._check_charset()
        try:
            self._cutter.be_strict()
        except EventTooLong as error:
            raise invalid(str(error)) from error

    def _session(self, head: AnswerHead) -> Headers:
        """The session id that this answer may carry: the one it opens, or the one it belongs to.

        Clients adopt an id from any answer, so no other may pass.
        """
        if head.session is None or self._exchange.modern:
            return []
        session = head.session.decode("ascii")
        if session != self._exchange.session:
            if not self._observer.initializes or not head.succeeded:
                return []
            if not self._sessions.open(session, self._exchange.grant):
                raise Refused(refuse("table-full"))
            self._observer.session = session
        return [(SESSION_ID, head.session)]

    async def _piece(self, body: bytes, more: bool) -> None:
        self._renew_filter()
        if self._manner is _Manner.WHOLE:
            await self._hold(body, more)
        elif self._manner is _Manner.EVENTS:
            await self._forward(self._read_events(body), more)
        elif body or not more:
            await self._forward(body, more)

    async def _hold(self, body: bytes, more: bool) -> None:
        self._held += body
        if len(self._held) > self._hold_bytes:
            if self._must_read:
                raise invalid("the answer is too long to be read")
            self._manner = _Manner.PLAIN
            document, self._held = bytes(self._held), bytearray()
            await self._forward(document, more)
            return
        if more:
            return
        document = bytes(self._held)
        if 200 <= self.status < 300 and self.status != ACCEPTED:
            check_document(document, self._exchange)
        self._observer.see(document)
        if self._keep is not None and document.strip():
            document = self._filter_document(document, self._keep)
        if self._head is not None and self.status != ACCEPTED:
            self._head["headers"].append((b"content-length", str(len(document)).encode()))
        await self._forward(document, False)

    def _filter_document(self, document: bytes, keep: Filter) -> bytes:
        try:
            return keep(document)
        except ValueError as error:
            if self.status >= 400:
                return b""  # the status says enough, and what it says cannot be checked
            raise invalid(f"an answer cannot be filtered: {error}") from error

    def _read_events(self, body: bytes) -> bytes:
        """What leaves of this piece. A filtered stream leaves event by event, and so without its
        end if that is no whole event: no client may be asked to guess at it."""
        try:
            events = self._cutter.feed(body)
            leaving = body if self._keep is None else self._filter_events(events, self._keep)
        except EventTooLong as error:
            raise invalid(str(error)) from error
        except ValueError as error:
            raise invalid(f"an event cannot be filtered: {error}") from error
        for event in events:
            if data := event.data:
                self._observer.see(data)
        return leaving

    def _filter_events(self, events: list[Event], keep: Filter) -> bytes:
        if not self._begun or not events:
            return filter_events(events, keep)
        passing, *later = events
        if filter_event(passing, keep) is not passing:
            raise invalid("an event of which the client has a part is now hidden")
        behind = filter_events(later, keep)
        begun, self._begun = self._begun, 0
        return passing.raw[begun:] + behind

    async def _forward(self, body: bytes, more: bool) -> None:
        if self.discards:
            return
        try:
            async with asyncio.timeout(self._bounds.write_stall_s):
                if self._head is not None:
                    head, self._head = self._head, None
                    self.started = True
                    await self._send(head)
                if body or not more:
                    await self._send(
                        {"type": "http.response.body", "body": body, "more_body": more}
                    )
        except OSError as error:  # a timeout is one
            self.discards = True
            if not self._outlives:
                raise ClientStalled from error
