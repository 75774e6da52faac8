"""The fast path: one client's connection, each arrival of bytes one call into the core.

INVARIANT: one message is served at a time, in the order they came, and each is answered once. What
the core does not take for plain is handed to the ASGI application, or with the connection to
hypercorn, and never guessed at.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from gateway._core import Exchange, Foreign, HandedOver, Intake
from gateway.denial import refuse
from gateway.downstream.handed import HandedRequest
from gateway.downstream.http import DECIDED, Decided
from gateway.downstream.passage import Passage
from gateway.downstream.pressure import reset, restrain
from gateway.downstream.respond import Asked
from gateway.tls import PEER, peer_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway._core import Failed
    from gateway.asgi import ASGIApp, Scope
    from gateway.denial import Answer
    from gateway.downstream.port import Port
    from gateway.identity import Identity
    from gateway.tls import Peer

    Found = bytes | Exchange | HandedOver | Foreign | Failed

TICK_S = 0.25
"""How often deadlines are looked at, and so how late one may be noticed."""
HEAD_TIMEOUT_S = 5.0
"""How long a request's head may take from its first byte to its last."""
KEEP_ALIVE_S = 90.0
"""Well over the 5 s after which client pools drop an idle connection."""
WAITING_BYTES = 64 * 1024
"""What a client may send behind a request that is being served; one that sends more is gone."""
FLUSH_S = 30.0
"""How long a client may take for the last bytes of a connection that is closed."""


class Wire(asyncio.Protocol):
    """A connection. Its bytes go to the core, and what the core says is done."""

    __slots__ = (
        "_active",
        "_behind",
        "_closing",
        "_handed",
        "_intake",
        "_lost",
        "_passage",
        "_port",
        "_receive",
        "_since",
        "_stage",
        "_stalled",
        "_task",
        "_transport",
        "_waiter",
        "_write",
        "busy",
        "held",
        "peer",
        "watched",
    )

    def __init__(self, port: Port) -> None:
        self._port = port
        self._intake = Intake(port.gate)
        self._receive = self._intake.receive
        self._passage = Passage(self, port)
        self.peer: Peer | None = None
        """The certificate that the client has shown."""
        self._transport: asyncio.Transport
        self._write: Callable[[bytes], None]
        self._task: asyncio.Task[None] | None = None
        self._handed: HandedRequest | None = None
        self._behind = bytearray()
        """What came while a message was served; the core gets it once it has no whole message
        left, so that what waits is bounded however many messages end meanwhile."""
        self.busy = False
        """Whether a message is being served."""
        self._stalled = 0.0
        """When the client stopped taking bytes; 0 while it takes them."""
        self._closing = False
        self._lost = False
        self.held = False
        """Whether what comes has to wait: any of the three above."""
        self.watched = False
        """Whether something is to be done when the message is served but to wait for the next."""
        self._active = True
        """Whether anything was served since the last tick."""
        self._stage = "idle"
        self._since = 0.0
        """When the last tick saw the wait begin for what `_stage` says."""
        self._waiter: asyncio.Future[None] | None = None

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._write = self._passage.send = self._transport.write
        restrain(self._transport)
        certificate = transport.get_extra_info("peercert")
        if certificate:
            self.peer = peer_of(certificate)
            self.recognise(self._port.door.identity)
        self._port.enter(self)

    def data_received(self, data: bytes) -> None:
        if self.held:
            self._keep(data)
            return
        found = self._receive(data)
        if type(found) is Exchange:
            self._active = self.held = self.busy = True
            self._passage.begin(found)
        elif type(found) is bytes:
            self._active = True
            self._write(found)
        else:
            self._act_on(found)

    def eof_received(self) -> None:
        """A client that ends its side is taken for one that left: nothing tells the two apart
        before an answer is written."""
        self._leave()

    def connection_lost(self, error: Exception | None) -> None:
        self._leave()
        self._lost = True
        if self._task is None:
            self._port.leave(self)

    def pause_writing(self) -> None:
        self._stalled = self._port.now + TICK_S
        self.held = self.watched = True
        self._passage.pause()

    def resume_writing(self) -> None:
        self._stalled = 0.0
        self._passage.resume()
        self._let_write()
        if not self.busy:
            self.served()

    # What serves a message calls.

    def write(self, data: bytes) -> None:
        """Send, or nothing if the client has left."""
        if not self._closing:
            self._write(data)

    async def writable(self) -> None:
        """Until the client has taken most of what was written, or left."""
        if self._stalled and not self._closing:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def served(self) -> None:
        """The message was answered, and what came behind it may be looked at."""
        self.busy = False
        if not self.watched:
            self.held = False
        elif self._port.load.draining:
            self.close()
        elif not self._stalled and not self._closing:
            self.held = self.watched = False
            self._act_on(self._next())

    def go_on(self, app: ASGIApp) -> None:
        """Let an application answer the message that was forwarded, or, if the client has left,
        see the server's work to its end."""
        scope: Scope = {"type": "http", "method": "POST", "headers": []}
        if self.peer is not None:
            scope["extensions"] = {PEER: self.peer}
        handed = HandedRequest(self, scope, None)
        self._run(app, handed)
        if self._closing:
            handed.leave()

    def break_off(self) -> None:
        """An answer was begun and cannot be ended, or nobody takes it."""
        self._closing = self.held = self.watched = True
        self._transport.abort()

    @property
    def retires(self) -> bool:
        """Whether an answer that begins now is the connection's last."""
        return self._port.load.draining

    # What the port calls.

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return not self.busy and not self._intake.pending

    @property
    def reads(self) -> bool:
        """Whether a body is incomplete that came so far."""
        return self._intake.stage == "body"

    def retire(self) -> None:
        """Say to the client that this answer is the last."""
        self.watched = True
        self._passage.retire()

    def close(self) -> None:
        """Close once everything is written."""
        self._closing = self.held = self.watched = True
        self._since = self._port.now + TICK_S
        self._transport.close()

    def cut(self) -> None:
        """Answer that the gateway is going, and close."""
        if self._task is not None:
            self._task.cancel()
        else:
            self._passage.cut()
            self.close()

    def recognise(self, identity: Identity) -> None:
        """Say to the core whose the connection is, if the client has shown a certificate."""
        if self.peer is not None and identity.certifies:
            self._intake.set_peer(identity.certified(self.peer))

    def cut_strangers(self, identity: Identity) -> None:
        """End the call that is under way if its credentials are none any more."""
        if self._passage.active and not self._passage.is_known_to(identity):
            self._passage.cut("unauthenticated")
            self.close()

    def check(self, now: float) -> None:
        """Look at deadlines."""
        if self._stalled and now > self._stalled + self._port.bounds.relay.write_stall_s:
            self._leave()
            reset(self._transport)
        elif self._passage.active:
            self._passage.check(now)
        elif self._closing and self._task is None:
            if now > self._since + FLUSH_S:
                reset(self._transport)
        elif not self.busy:
            self._check_client(now)

    # Inside.

    def _keep(self, data: bytes) -> None:
        """Keep what came behind a message that is being served."""
        if not self._closing:
            self.watched = True
            self._behind += data
            if len(self._behind) > WAITING_BYTES:
                self._transport.abort()

    def _next(self) -> Found | tuple[Found] | None:
        """What the core says of what waits."""
        found = self._receive(b"")
        if found is None and self._behind:
            behind, self._behind = bytes(self._behind), bytearray()
            found = self._receive(behind)
        return found

    def _act_on(self, found: Found | tuple[Found] | None) -> None:
        """Do what the core says, message by message, until one has to be waited for."""
        while found is not None:
            self._active = True
            more = type(found) is tuple or len(self._behind) > 0
            self._do(found[0] if isinstance(found, tuple) else found)
            if not more:
                return
            if self.held:
                self.watched = True
                return
            found = self._next()
        if self.reads and not self._port.may_read(self):
            self._take_over(self._intake.take_raw())

    def _do(self, found: Found) -> None:
        """Do what the core says of one message."""
        if isinstance(found, bytes):
            self._write(found)
        elif isinstance(found, Exchange):
            self.held = self.busy = True
            self._passage.begin(found)
        elif isinstance(found, HandedOver):
            self.held = self.busy = True
            self._run(self._port.door, HandedRequest(self, self._scope(found), found.body))
        elif isinstance(found, Foreign):
            self._take_over(found.raw + self._behind)
        else:
            self._write(found.answer)
            self.close()

    def _take_over(self, raw: bytes) -> None:
        """Leave the connection to hypercorn, with what has come on it."""
        self._closing = self.held = True
        self._port.leave(self)
        self._port.take_over(self._transport, raw)

    def _leave(self) -> None:
        """The client is gone."""
        if not self._closing:
            self._since = self._port.now + TICK_S
        self._closing = self.held = self.watched = True
        self._let_write()
        self._passage.leave()
        if self._handed is not None:
            self._handed.leave()

    def _check_client(self, now: float) -> None:
        stage = self._intake.stage
        if self._active or stage != self._stage:
            self._stage, self._since, self._active = stage, now, False
        waited_s = now - self._since
        if stage == "idle":
            if waited_s > KEEP_ALIVE_S:
                self.close()
        elif stage == "head":
            if waited_s > HEAD_TIMEOUT_S:
                self._refuse(refuse("malformed-request", "the request's head did not come in time"))
        elif waited_s > self._port.bounds.body.allowance_s(self._intake.received):
            self._port.door.record("request-timeout", Asked())
            self._refuse(refuse("request-timeout"))

    def _refuse(self, answer: Answer) -> None:
        _, headers, body = answer
        fields = b"".join(b"%b: %b\r\n" % field for field in headers)
        head = b"HTTP/1.1 408 \r\n%bcontent-length: %d\r\nconnection: close\r\n\r\n"
        self.write(head % (fields, len(body)) + body)
        self.close()

    def _run(self, app: ASGIApp, handed: HandedRequest) -> None:
        self._port.enter(self)  # anew, if the client left before
        self._handed = handed
        self._task = asyncio.get_running_loop().create_task(self._serve(app, handed))

    async def _serve(self, app: ASGIApp, handed: HandedRequest) -> None:
        try:
            await handed.serve(app)
        finally:
            self._task = self._handed = None
            if not handed.whole:
                self.break_off()
            elif handed.closes:
                self.close()
            else:
                self.served()
            if self._lost:
                self._port.leave(self)

    def _scope(self, request: HandedOver) -> Scope:
        path, _, query = request.target.partition(b"?")
        extensions: dict[str, object] = {} if self.peer is None else {PEER: self.peer}
        if request.decision is not None and request.caller is not None:
            service = self._port.services[request.tag]
            extensions[DECIDED] = Decided(request.decision, request.caller, service, request.token)
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "scheme": self._port.scheme,
            "method": request.method.decode("latin-1"),
            "path": path.decode("latin-1"),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": request.headers,
            "client": self._transport.get_extra_info("peername"),
            "server": self._port.address,
            "extensions": extensions,
        }

    def _let_write(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        self._waiter = None
