"""An allowed call on the fast path: out to its server, and the answer back, by callback.

INVARIANT: a call is written to a server at most once; its answer reaches this client and no other;
and it ends exactly once: answered, broken off, or, for a client that left, read to its end.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

from gateway._core import Exchange
from gateway.denial import FAULT_CODES, WORDINGS
from gateway.downstream.answers import check_document
from gateway.downstream.http import Decided
from gateway.downstream.observer import Observer
from gateway.enforcement import PASSING
from gateway.errors import UpstreamError
from gateway.identity import Known
from gateway.mcp import Exchange as Asked

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.asgi import ASGIApp
    from gateway.downstream.port import Port
    from gateway.downstream.visit import Lender, Loan, Service
    from gateway.identity import Identity
    from gateway.tls import Peer

_log = logging.getLogger("interlock.wire")

_DONE, _CLOSED, _ODD, _FAULT, _LOOK = (
    Exchange.DONE,
    Exchange.CLOSED,
    Exchange.ODD,
    Exchange.FAULT,
    Exchange.LOOK,
)

_HEAD = b"HTTP/"


class Client(Protocol):
    """The connection that a call came on."""

    busy: bool
    """Whether a message is being served."""
    held: bool
    """Whether what comes has to wait."""
    watched: bool
    """Whether `served` has to be called, or the other two to be taken back, that is enough."""

    peer: Peer | None
    """The certificate that it was opened with."""

    def write(self, data: bytes) -> None: ...
    def served(self) -> None: ...
    def break_off(self) -> None: ...
    def go_on(self, app: ASGIApp) -> None: ...


class Passage:
    """The calls of one connection, one after the other."""

    __slots__ = (
        "_due",
        "_exchange",
        "_left",
        "_lender",
        "_loan",
        "_observer",
        "_opening",
        "_paused",
        "_port",
        "_service",
        "_unheard_bytes",
        "_wire",
        "active",
        "send",
    )

    def __init__(self, wire: Client, port: Port) -> None:
        self.active = False
        """Whether a call is under way."""
        self.send: Callable[[bytes], None]
        """Writes to the client, as long as it has not left."""
        self._wire = wire
        self._port = port
        self._exchange: Exchange
        self._service: Service
        self._lender: Lender
        self._loan: Loan | None = None
        self._opening: asyncio.Task[None] | None = None
        self._observer: Observer | None = None
        self._paused = False
        self._left = False
        """Whether the client is gone, and the answer nobody's."""
        self._unheard_bytes = 0
        """How much has come since then."""
        self._due = 0.0
        """When the server, or a call that nobody waits for, has taken too long."""

    def begin(self, exchange: Exchange) -> None:
        """Send a call on its way."""
        port = self._port
        tag = exchange.tag
        service = self._service = port.services[tag]
        lender = self._lender = port.lenders[tag]
        self._exchange = exchange
        self.active = True
        service.traffic.in_flight += 1
        load = port.load
        load.in_flight += 1
        if load.in_flight >= load.max_in_flight or load.draining:
            load.fill()
            code = load.unavailable(exchange.kind)
            if code is not None:
                exchange.give_back()
                self._break(code, begun=False)
                self._finish(reusable=False)
                return
        loan = lender.borrow(self)
        if loan is None:
            self._opening = asyncio.get_running_loop().create_task(self._open())
        else:
            self._loan = loan
            self._due = port.now + lender.first_byte_timeout_s
            loan.write(exchange.request)

    # What the server's connection calls.

    def answered(self, data: bytes) -> None:
        """A piece of the answer came."""
        try:
            state, out = self._exchange.feed(data)
        except BaseException as defect:
            self._give_up(defect)
            return
        loan = self._loan
        if state != _DONE or out is None or loan is None or self._left:
            self._take(state, out)
            if self._left:
                self._discard(len(data))
            return
        # What `_take`, `_finish` and `leave` do of an answer that is whole, with half the calls.
        self.send(out)
        self._lender.take_back(loan)
        self._loan = self._observer = None
        self.active = False
        del self._exchange
        load = self._port.load
        load.in_flight -= 1
        if load.full:
            load.ease()
        self._service.traffic.in_flight -= 1
        wire = self._wire
        if wire.watched:
            wire.served()
        else:
            wire.held = wire.busy = False

    def ended(self) -> None:
        """The server closed its side."""
        try:
            state, out = self._exchange.end()
        except BaseException as defect:
            self._give_up(defect)
            return
        self._take(state, out)

    # What the client's connection calls.

    def pause(self) -> None:
        """The client takes no more for now."""
        self._paused = True
        if self._loan is not None:
            self._loan.pause()

    def resume(self) -> None:
        """It takes again, and the server's silence counts from here."""
        self._paused = False
        if self._loan is not None:
            self._loan.resume()
            if not self._left:
                self._due = max(self._due, self._port.now + self._lender.idle_timeout_s)

    def leave(self) -> None:
        """The client is gone. To leave is to cancel where the message was stateless, and is not
        where it was not (MCP, "Cancellation")."""
        if not self.active or self._left:
            return
        if self._exchange.modern:
            self.abandon()
            return
        self._left = True
        self._unheard_bytes = 0
        self._due = self._port.now + self._port.bounds.linger_s
        self._port.orphan(self)
        self.resume()

    def retire(self) -> None:
        """Let the answer, if it has not begun, be the connection's last."""
        if self.active:
            self._exchange.close()

    def is_known_to(self, identity: Identity) -> bool:
        """Whether the call would still be known as the same grant's."""
        exchange = self._exchange
        peer = self._wire.peer if exchange.token is None and identity.certifies else None
        return identity.holds(Known(exchange.caller.grant, exchange.token, peer))

    def cut(self, code: str = "draining") -> None:
        """The gateway is going, or `code` says why else nothing more is served."""
        if self.active:
            self._exchange.close()
            self._break(code, begun=self._exchange.started)
            self._finish(reusable=False)

    def abandon(self) -> None:
        """End the call; what the server makes of it is unknown."""
        if self.active:
            self._left = True
            self._finish(reusable=False)

    def check(self, now: float) -> None:
        """Look at the deadline."""
        if now <= self._due or self._paused or not self.active or self._opening is not None:
            return
        if self._left:
            self.abandon()
        else:
            self._fail(UpstreamError("timeout", "the server was silent for too long", sent=True))

    # Inside.

    async def _open(self) -> None:
        try:
            loan = await self._lender.open(self)
        except UpstreamError as error:
            self._opening = None
            if not error.sent:
                self._exchange.give_back()
            self._fail(error)
        except PASSING:
            raise
        except BaseException as defect:
            self._opening = None
            self._exchange.give_back()
            self._give_up(defect)
        else:
            self._opening = None
            self._loan = loan
            self._due = self._port.now + self._lender.first_byte_timeout_s
            loan.write(self._exchange.request)

    def _discard(self, size: int) -> None:
        """Count what nobody hears, and end a call that goes on and on."""
        self._unheard_bytes += size
        if self._unheard_bytes > self._port.bounds.relay.unheard_bytes:
            self.abandon()

    def _take(self, state: int, out: bytes | None) -> None:
        """Do what the core says of what came."""
        if state & _LOOK:
            state &= ~_LOOK
            try:
                self._look()
            except UpstreamError as error:
                self._fail(error, begun=False)
                return
            except BaseException as defect:
                # The head is in the bytes that were not to leave yet, or has left before.
                self._give_up(defect, begun=out is None or not out.startswith(_HEAD))
                return
        if out is not None and not self._left:
            self._wire.write(out)
        if state in (_DONE, _CLOSED):
            self._finish(reusable=state == _DONE)
        elif state == _ODD:
            self._go_on_slowly()
        elif state == _FAULT:
            reason, why = self._exchange.fault or ("invalid", "")
            self._fail(UpstreamError(reason, why, sent=True))
        elif not self._left:
            self._due = self._port.now + self._lender.idle_timeout_s

    def _look(self) -> None:
        """Remember what must be before it leaves, and judge what the core would not.

        Raises:
            UpstreamError: it is not the answer to this call.
        """
        exchange, service = self._exchange, self._service
        decision = exchange.decision
        caller = exchange.caller
        asked = Asked(
            grant=caller.grant,
            server=caller.server,
            decision=decision,
            session=exchange.session,
            modern=exchange.modern,
        )
        if self._observer is None:
            self._observer = Observer(asked, service.sessions)
        for message in exchange.seen:
            self._observer.see(message)
        document = exchange.document
        if document is not None:
            check_document(document, asked)
            self._observer.see(document)

    def _go_on_slowly(self) -> None:
        """Let the ASGI door's relay read the answer from its beginning."""
        loan, exchange = self._loan, self._exchange
        assert loan is not None
        serve = self._lender.reread(loan, exchange.raw)
        decided = Decided(exchange.decision, exchange.caller, self._service, exchange.token)
        app = self._port.door.resuming(
            decided, exchange.session, modern=exchange.modern, serve=serve
        )
        self._loan = None
        self._reset()
        self._wire.go_on(app)

    def _fail(self, error: UpstreamError, *, begun: bool | None = None) -> None:
        """Say that the server failed, in the way that is left.

        Args:
            begun: whether something of the answer has left; as the exchange says if None.
        """
        self._service.traffic.errors[error.reason] += 1
        _log.warning("server `%s`: %s", self._service.name, error)
        begun = self._exchange.started if begun is None else begun
        self._break(FAULT_CODES[error.reason], begun=begun)
        self._finish(reusable=False)

    def _give_up(self, defect: BaseException, *, begun: bool | None = None) -> None:
        """End a call over a failure of our own; a panic of the core is no `Exception`.

        Args:
            begun: as for `_fail`; an answer that was begun is not ended, since nothing is known of
                where it stands.

        Raises:
            BaseException: the one that was given, if it ends work on purpose.
        """
        _log.error("a request failed", exc_info=defect)
        begun = self._exchange.started if begun is None else begun
        if not begun:
            self._break("internal-error", begun=False)
        elif not self._left:
            self._wire.break_off()
        self._finish(reusable=False)
        if isinstance(defect, PASSING):
            raise defect

    def _break(self, code: str, *, begun: bool) -> None:
        """Answer with a fault, as far as an answer is still possible."""
        if self._left:
            return
        wording = WORDINGS[code]
        exchange = self._exchange
        if begun:
            out = exchange.last_event(code, wording.message, status=wording.status)
        else:
            out = exchange.refusal(code, wording.message, status=wording.status)
        if out is None:
            self._wire.break_off()
        else:
            self._wire.write(out)

    def _finish(self, *, reusable: bool) -> None:
        """End the call."""
        self._exchange.finish()
        loan, self._loan = self._loan, None
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        elif loan is not None and reusable:
            self._lender.take_back(loan)
        elif loan is not None:
            self._lender.discard(loan)
        left = self._left
        self._reset()
        if not left:
            self._wire.served()

    def _reset(self) -> None:
        self.active = False
        self._observer = None
        del self._exchange
        self._port.load.leave(self._service.traffic)
        if self._left:
            self._left = False
            self._port.bury(self)
