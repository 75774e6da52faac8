"""The door over HTTP: an ASGI application that admits, decides, refuses or passes on.

INVARIANT: nothing reaches a server but the very bytes of an allowed decision, or a bodiless GET or
DELETE of a session that the grant owns. Whatever fails on the way refuses.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from gateway.denial import FAULT_CODES, WORDINGS, Answer, Refused, refuse
from gateway.downstream.admission import Admission, method_not_allowed
from gateway.downstream.attend import attend
from gateway.downstream.body import BodyBounds, ClientGone, read_body
from gateway.downstream.challenge import Challenge
from gateway.downstream.claims import check_claims
from gateway.downstream.headers import for_upstream
from gateway.downstream.holding import hold_visit
from gateway.downstream.relay import ClientStalled, Relay
from gateway.downstream.respond import Asked, Responder
from gateway.downstream.visit import Bounds, Service, Visit
from gateway.enforcement import PASSING
from gateway.errors import GatewayError, UpstreamError
from gateway.identity import Callers, Identity, Known
from gateway.listing import filter_tasks
from gateway.mcp import (
    CANCELLED,
    EXTENSION,
    LAST_EVENT_ID,
    LISTEN,
    PROTOCOL_VERSION,
    SESSION_ID,
    TASKS_LIST,
    Exchange,
    is_modern,
)
from gateway.tls import PEER

if TYPE_CHECKING:
    from gateway._core import Caller, Decision, DecisionLog, Gate
    from gateway.asgi import ASGIApp, Headers, Message, Receive, Scope, Send
    from gateway.enforcement import EnforcementPoint
    from gateway.listing import Filter
    from gateway.settings import Settings

_log = logging.getLogger("interlock.http")


DECIDED = "interlock.decided"
"""Where a `Decided` lies in `scope["extensions"]` of a request that the fast path admitted and
decided before it handed it over."""


@dataclass(frozen=True, slots=True)
class Decided:
    """An allowed message, its reservation yet to be settled."""

    decision: Decision
    caller: Caller
    service: Service
    token: bytes | None = None
    """The SHA-256 of the token that says whose it is."""


class Broken(GatewayError):
    """An answer was begun and cannot be ended, so that its connection must not end in order."""


class HttpDoor:
    """The data port.

    Args:
        routes: servers by raw path.
        log: where requests are told of that have no decision.
    """

    def __init__(
        self,
        settings: Settings,
        routes: Mapping[bytes, Service],
        identity: Identity,
        bounds: Bounds | None = None,
        log: DecisionLog | None = None,
    ) -> None:
        self.draining = False
        self.in_flight = 0
        self.full = False
        """Whether as many are in flight as may be, as the gates know it."""
        self.gates: list[Gate] = []
        """What is told of that: the fast paths'."""
        self.scheme = "http" if settings.tls is None else "https"
        self._admission = Admission(settings)
        self._routes = routes
        self.identity = identity
        self._challenge = Challenge(settings, routes)
        self._callers = Callers()
        self._open: dict[asyncio.Task[Any] | None, Known] = {}
        """Whose the requests are that are being served."""
        self._cut: set[asyncio.Task[Any] | None] = set()
        self._log = log
        self.bounds = bounds or Bounds(BodyBounds(max_bytes=settings.max_body_bytes))
        self.max_in_flight = settings.max_in_flight

    def renew(self, settings: Settings) -> None:
        """Tell clients without credentials what these settings say of how to get some."""
        self._challenge = Challenge(settings, self._routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        http1: bool = scope["http_version"].startswith("1")
        respond = Responder(send, http1=http1, closing=self.draining)
        decided: Decided | None = scope.get("extensions", {}).get(DECIDED)
        if decided is None:
            await self._answered(respond, self._serve(scope, receive, respond))
        else:
            await self._answered(respond, self._serve_decided(scope, receive, respond, decided))

    def resuming(
        self,
        decided: Decided,
        session: str | None,
        *,
        modern: bool,
        serve: Callable[[Send], Awaitable[None]],
    ) -> ASGIApp:
        """An application that goes on with an allowed message that was sent to its server already.

        Args:
            serve: sends the server's answer as an upstream does.
        """

        async def resumed(scope: Scope, receive: Receive, send: Send) -> None:
            respond = Responder(send, http1=True, closing=self.draining)
            respond.decision = decided.decision
            caller = decided.caller
            self._open[asyncio.current_task()] = self._known_by(scope, decided)
            visit = Visit(scope, receive, respond, {}, decided.service, caller.grant)
            exchange = Exchange(
                grant=caller.grant,
                server=caller.server,
                decision=decided.decision,
                session=session,
                modern=modern,
            )
            point = self._point(visit)
            relay = self._relay(visit, point, caller, exchange)
            serving = self._settle(visit, point, exchange, relay, serve(relay.send))
            await self._answered(respond, self._counted(decided.service, serving))

        return resumed

    async def _answered(self, respond: Responder, serving: Awaitable[None]) -> None:
        """Await the serving of a request, and answer for what stops it."""
        try:
            await serving
        except Refused as refusal:
            if not refusal.recorded:
                self._record(respond, refusal.code)
            await respond.answer(refusal.answer, close=refusal.close)
        except ClientGone:
            return
        except asyncio.CancelledError:
            if asyncio.current_task() in self._cut:
                await self._turn_out(respond)
                return
            # The grace of a drain is over. An answer is owed all the same: clients die of none.
            if self.draining and not respond.started:
                await respond.answer(_fault(respond.decision, "draining"), close=True)
            raise
        except (UpstreamError, ClientStalled, *PASSING):
            raise
        except BaseException as error:  # a panic of the core is no `Exception`
            _log.exception("a request failed")
            self._record(respond, "internal-error")
            if respond.started:
                raise Broken("an answer was begun and cannot be ended") from error
            await respond.answer(_fault(respond.decision, "internal-error"), close=True)
        finally:
            task = asyncio.current_task()
            self._open.pop(task, None)
            self._cut.discard(task)

    def _known_by(self, scope: Scope, decided: Decided) -> Known:
        """Whose a message is that was identified before it came here."""
        peer = scope.get("extensions", {}).get(PEER) if decided.token is None else None
        certified = peer if self.identity.certifies else None
        return Known(decided.caller.grant, decided.token, certified)

    def cut_strangers(self) -> None:
        """End what is being served for credentials that are none any more."""
        for task, known in list(self._open.items()):
            if task is not None and not self.identity.holds(known):
                self._cut.add(task)
                task.cancel()

    async def _turn_out(self, respond: Responder) -> None:
        """End an exchange whose credentials were taken back meanwhile.

        Raises:
            Broken: its answer was begun.
        """
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
        if respond.started:
            raise Broken("the credentials of an open stream were taken back")
        await respond.answer(_fault(respond.decision, "unauthenticated"), close=True)

    def _record(self, respond: Responder, code: str) -> None:
        """Tell the log of a request that was refused without a decision."""
        if respond.decision is None:
            self.record(code, respond.asked)

    def record(self, code: str, asked: Asked) -> bool:
        """Tell the log of a request that has no decision.

        Returns:
            Whether it may be served, as far as that depends on the log.
        """
        log = self._log
        if log is None:
            return True
        recorded = log.request(
            code,
            method=asked.method,
            grant=asked.grant,
            server=asked.server,
            session=asked.session,
        )
        return recorded or not log.required

    async def _serve(self, scope: Scope, receive: Receive, respond: Responder) -> None:
        asked = respond.asked
        if scope["method"] != "POST":
            asked.method = scope["method"]
        fields = self._admission.admit(scope)
        if not is_modern(fields.get(PROTOCOL_VERSION)):
            session = fields.get(SESSION_ID)
            asked.session = session.decode("latin-1") if session is not None else None
        path: bytes = scope.get("raw_path") or scope["path"].encode()
        service = self._routes.get(path)
        if service is None and (told := self._challenge.metadata(path, fields, scope)) is not None:
            if scope["method"] != "GET":
                raise method_not_allowed(fields)
            raise Refused(told, code="allowed", recorded=True)  # asks nothing of a server
        if service is None:
            raise Refused(refuse("not-found", version=fields.get(PROTOCOL_VERSION)))
        asked.server = service.name
        serve = {"POST": self._post, "GET": self._get, "DELETE": self._delete}.get(scope["method"])
        if serve is None:
            raise method_not_allowed(fields)
        known = await self.identity.identify(fields, scope)
        if known is None:
            challenge = [(b"www-authenticate", self._challenge.words(path, fields, scope))]
            raise Refused(refuse("unauthenticated", headers=challenge))
        self._open[asyncio.current_task()] = known
        asked.grant = known.grant
        self._check_load()
        visit = Visit(scope, receive, respond, fields, service, known.grant)
        await self._counted(service, serve(visit))

    async def _serve_decided(
        self, scope: Scope, receive: Receive, respond: Responder, decided: Decided
    ) -> None:
        decision, caller, service = decided.decision, decided.caller, decided.service
        respond.decision = decision
        self._open[asyncio.current_task()] = self._known_by(scope, decided)
        visit = Visit(scope, receive, respond, dict(scope["headers"]), service, caller.grant)
        point = self._point(visit)
        try:
            self._check_load()
            body = await read_body(receive, self.bounds.body)
        except BaseException as error:
            point.give_back(decision, error.code if isinstance(error, Refused) else None)
            raise
        await self._counted(service, self._forward(visit, point, caller, decision, body))

    def _check_load(self) -> None:
        # A request over the bound is still read and answered in its own words, since clients die of
        # a bare 503; only at twice the bound is that too much to ask.
        if self.in_flight >= 2 * self.max_in_flight:
            raise Refused(refuse("overloaded"), close=True)

    async def _counted(self, service: Service, serving: Awaitable[None]) -> None:
        """Await the serving of a request that counts as in flight."""
        self.in_flight += 1
        service.traffic.in_flight += 1
        if self.in_flight >= self.max_in_flight:
            self.fill()
        try:
            await serving
        finally:
            service.traffic.in_flight -= 1
            self.in_flight -= 1
            if self.full:
                self.ease()

    def fill(self) -> None:
        """If as many are in flight as may be, have the fast path refuse before it decides."""
        if not self.full and self.in_flight >= self.max_in_flight:
            self.full = True
            for gate in self.gates:
                gate.set_full(True)

    def ease(self) -> None:
        """One is in flight no more, and perhaps there is room again."""
        if self.in_flight < self.max_in_flight:
            self.full = False
            for gate in self.gates:
                gate.set_full(False)

    async def _post(self, visit: Visit) -> None:
        self._admission.admit_message(visit.fields)
        body = await read_body(visit.receive, self.bounds.body)
        modern = is_modern(visit.version)
        session, revision = (None, 0) if modern else self._session(visit)
        point = self._point(visit)
        caller = self._callers.get(visit.grant, visit.service.name, session, revision)
        headers, full = visit.scope["headers"], self.in_flight > self.max_in_flight
        decision = point.decide(caller, body, headers, full=full)
        if not decision.held:
            await self._act(visit, point, caller, decision, body)
            return
        assert point.desk is not None
        visit.respond.decision = decision
        holding = partial(hold_visit, visit, decision)
        async with point.desk.judged(point, caller, body, headers, decision, holding) as judged:
            await self._act(visit, point, caller, judged, body)

    async def _act(
        self,
        visit: Visit,
        point: EnforcementPoint,
        caller: Caller,
        decision: Decision,
        body: bytes,
    ) -> None:
        """Answer a refused message, or pass it on."""
        if not decision.allowed:
            await visit.respond.answer(decision.answer())
            return
        visit.respond.decision = decision
        await self._forward(visit, point, caller, decision, body)

    async def _forward(
        self,
        visit: Visit,
        point: EnforcementPoint,
        caller: Caller,
        decision: Decision,
        body: bytes,
    ) -> None:
        """Pass an allowed message on, and settle its reservation by what becomes of it."""
        if decision.method == CANCELLED and point.desk is not None:
            point.desk.give_up(caller, body)
        sessions = visit.service.sessions
        exchange = Exchange(
            grant=visit.grant,
            server=visit.service.name,
            decision=decision,
            session=caller.session,
            modern=is_modern(visit.version),
            body=body,
        )
        try:
            if (code := self.unavailable(decision.kind)) is not None:
                raise Refused(_fault(decision, code), code=code)
            replies = check_claims(exchange, decision, sessions)
            relay = self._relay(visit, point, caller, exchange)
        except BaseException as error:
            point.give_back(decision, error.code if isinstance(error, Refused) else None)
            raise
        serving = self._pass_on(visit, exchange, relay)
        await self._settle(visit, point, exchange, relay, serving)
        if 200 <= relay.status < 300:
            for key in replies:
                sessions.forget_reply(key)

    def _relay(
        self, visit: Visit, point: EnforcementPoint, caller: Caller, exchange: Exchange
    ) -> Relay:
        decision = exchange.decision
        return Relay(
            exchange,
            visit.service.sessions,
            _filters(visit, point, caller, decision),
            [] if decision is None else decision.limit_headers(),
            visit.respond,
            outlives=decision is not None and not exchange.modern,
            bounds=self.bounds.relay,
        )

    async def _settle(
        self,
        visit: Visit,
        point: EnforcementPoint,
        exchange: Exchange,
        relay: Relay,
        serving: Awaitable[None],
    ) -> None:
        """Await the answer to an allowed message, and settle its reservation by how that ends."""
        decision = exchange.decision
        assert decision is not None
        linger_s = 0.0 if exchange.modern else self.bounds.linger_s
        served = attend(serving, visit.receive, relay.discard, linger_s=linger_s)
        if decision.method == LISTEN:
            point.engine.record(decision)  # it may last for days
        try:
            await point.settle_by(decision, served, lambda: relay.status)
        except UpstreamError as error:
            await self._answer_fault(visit, relay, decision, error)
            return
        self._end_session_if_gone(visit, exchange, relay)

    async def _get(self, visit: Visit) -> None:
        self._admission.admit_stream(visit.fields)
        if (code := self.unavailable("request")) is not None:
            raise Refused(refuse(code))
        await self._bodiless(visit, linger_s=0.0)

    async def _delete(self, visit: Visit) -> None:
        self._admission.admit_deletion(visit.fields)
        await self._bodiless(visit, linger_s=self.bounds.linger_s)

    async def _bodiless(self, visit: Visit, *, linger_s: float) -> None:
        modern = is_modern(visit.version)
        session, revision = (None, 0) if modern else self._session(visit)
        point = self._point(visit)
        exchange = Exchange(
            grant=visit.grant,
            server=visit.service.name,
            session=session,
            modern=modern,
            last_event_id=visit.fields.get(LAST_EVENT_ID) if session is not None else None,
        )
        if not self.record("allowed", visit.respond.asked):
            raise Refused(refuse("log-unavailable"), recorded=True)
        caller = self._callers.get(visit.grant, visit.service.name, session, revision)
        relay = self._relay(visit, point, caller, exchange)
        serving = self._pass_on(visit, exchange, relay)
        try:
            await attend(serving, visit.receive, relay.discard, linger_s=linger_s)
        except UpstreamError as error:
            await self._answer_fault(visit, relay, None, error)
            return
        if visit.scope["method"] == "DELETE" and 200 <= relay.status < 300 and session is not None:
            visit.service.sessions.close(session, visit.grant)
        self._end_session_if_gone(visit, exchange, relay)

    def _pass_on(self, visit: Visit, exchange: Exchange, relay: Relay) -> Awaitable[None]:
        """Let the server answer."""
        method: str = visit.scope["method"]
        decision = exchange.decision
        headers: Headers = for_upstream(
            visit.scope["headers"],
            session=exchange.session,
            resumes=method == "GET",
            traceparent=None if decision is None else decision.traceparent,
        )
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "path": "/",
            "raw_path": b"/",
            "query_string": b"",
            "headers": headers,
            "extensions": {EXTENSION: exchange},
        }

        async def receive() -> Message:
            return {"type": "http.request", "body": exchange.body, "more_body": False}

        return visit.service.upstream(scope, receive, relay.send)

    async def _answer_fault(
        self, visit: Visit, relay: Relay, decision: Decision | None, error: UpstreamError
    ) -> None:
        """Say that the server failed, in the way that is left."""
        visit.service.traffic.errors[error.reason] += 1
        _log.warning("server `%s`: %s", visit.service.name, error)
        if relay.discards:
            return
        code = FAULT_CODES[error.reason]
        if not visit.respond.started:
            await visit.respond.answer(_fault(decision, code))
            return
        if decision is None or decision.request_id is None or decision.method == LISTEN:
            raise error
        event = relay.closing_event(_fault(decision, code)[2])
        if event is None:
            raise error
        await visit.respond({"type": "http.response.body", "body": event, "more_body": False})

    def _point(self, visit: Visit) -> EnforcementPoint:
        point = visit.service.points.get(visit.grant)
        if point is None:
            raise Refused(refuse("no-policy"))
        return point

    def _session(self, visit: Visit) -> tuple[str | None, int]:
        """The session that a request names, and its revision; both are nothing where it names
        none."""
        value = visit.fields.get(SESSION_ID)
        if value is None:
            return None, 0
        session = value.decode("latin-1")
        revision = visit.service.sessions.revision(session, visit.grant)
        if revision is None:
            raise Refused(refuse("session-mismatch", version=visit.version))
        return session, revision

    def hosts(self, port: int) -> list[bytes] | None:
        """Host values that surely name this listener; None where any does."""
        return self._admission.hosts(port)

    def unavailable(self, kind: str) -> str | None:
        """Why a message of this kind, itself counted, cannot be passed on now."""
        if self.in_flight > 2 * self.max_in_flight:
            return "overloaded"
        # What only helps running calls to end (replies, cancellations) is not too much before that.
        if kind not in ("request", "batch"):
            return None
        if self.draining:
            return "draining"
        return "overloaded" if self.in_flight > self.max_in_flight else None

    def _end_session_if_gone(self, visit: Visit, exchange: Exchange, relay: Relay) -> None:
        if relay.status == 404 and exchange.session is not None:
            visit.service.sessions.close(exchange.session, visit.grant)


def _filters(
    visit: Visit, point: EnforcementPoint, caller: Caller, decision: Decision | None
) -> Callable[[], Filter | None]:
    """What gives the filter in force for the answer to a message, or to a request without one."""
    hidden = partial(point.filter_for, caller)
    # A stream that is resumed may bring any answer once more.
    resumed = decision is None and LAST_EVENT_ID in visit.fields
    if not resumed and (decision is None or decision.method != TASKS_LIST):
        return hidden
    owns = partial(visit.service.sessions.owns_task, grant=visit.grant)

    def keep(document: bytes) -> bytes:
        document, keep_tools = filter_tasks(document, owns), hidden()
        return document if keep_tools is None else keep_tools(document)

    return lambda: keep


def _fault(decision: Decision | None, code: str) -> Answer:
    if decision is None:
        return refuse(code)
    wording = WORDINGS[code]
    return decision.fault(code, wording.message, status=wording.status)
