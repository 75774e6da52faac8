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

from gateway.denial import Refused, fault, refuse
from gateway.downstream.admission import Admission, method_not_allowed
from gateway.downstream.body import BodyBounds, ClientGone, read_body
from gateway.downstream.challenge import Challenge
from gateway.downstream.forwarding import Forwarder
from gateway.downstream.holding import hold_visit
from gateway.downstream.load import Load
from gateway.downstream.relay import ClientStalled
from gateway.downstream.respond import Asked, Responder
from gateway.downstream.visit import Bounds, Service, Visit
from gateway.enforcement import PASSING
from gateway.errors import GatewayError, UpstreamError
from gateway.identity import Callers, Identity, Known
from gateway.mcp import LAST_EVENT_ID, PROTOCOL_VERSION, SESSION_ID, Exchange, is_modern
from gateway.tls import PEER

if TYPE_CHECKING:
    from gateway._core import Caller, Decision, DecisionLog
    from gateway.asgi import ASGIApp, Receive, Scope, Send
    from gateway.enforcement import EnforcementPoint
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
        self.load = Load(settings.max_in_flight)
        """What is in flight here and on the fast path."""
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
        self._forwarder = Forwarder(self.load, self.bounds)

    def renew(self, settings: Settings) -> None:
        """Tell clients without credentials what these settings say of how to get some."""
        self._challenge = Challenge(settings, self._routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        http1: bool = scope["http_version"].startswith("1")
        respond = Responder(send, http1=http1, closing=self.load.draining)
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
            respond = Responder(send, http1=True, closing=self.load.draining)
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
            serving = self._forwarder.resumed(visit, point, caller, exchange, serve)
            await self._answered(respond, self.load.counted(decided.service.traffic, serving))

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
            if self.load.draining and not respond.started:
                await respond.answer(fault(respond.decision, "draining"), close=True)
            raise
        except (UpstreamError, ClientStalled, *PASSING):
            raise
        except BaseException as error:  # a panic of the core is no `Exception`
            _log.exception("a request failed")
            self._record(respond, "internal-error")
            if respond.started:
                raise Broken("an answer was begun and cannot be ended") from error
            await respond.answer(fault(respond.decision, "internal-error"), close=True)
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
        await respond.answer(fault(respond.decision, "unauthenticated"), close=True)

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
        self.load.check()
        visit = Visit(scope, receive, respond, fields, service, known.grant)
        await self.load.counted(service.traffic, serve(visit))

    async def _serve_decided(
        self, scope: Scope, receive: Receive, respond: Responder, decided: Decided
    ) -> None:
        decision, caller, service = decided.decision, decided.caller, decided.service
        respond.decision = decision
        self._open[asyncio.current_task()] = self._known_by(scope, decided)
        visit = Visit(scope, receive, respond, dict(scope["headers"]), service, caller.grant)
        point = self._point(visit)
        try:
            self.load.check()
            body = await read_body(receive, self.bounds.body)
        except BaseException as error:
            point.give_back(decision, error.code if isinstance(error, Refused) else None)
            raise
        serving = self._forwarder.message(visit, point, caller, decision, body)
        await self.load.counted(service.traffic, serving)

    async def _post(self, visit: Visit) -> None:
        self._admission.admit_message(visit.fields)
        body = await read_body(visit.receive, self.bounds.body)
        modern = is_modern(visit.version)
        session, revision = (None, 0) if modern else self._session(visit)
        point = self._point(visit)
        caller = self._callers.get(visit.grant, visit.service.name, session, revision)
        headers, full = visit.scope["headers"], self.load.in_flight > self.load.max_in_flight
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
        await self._forwarder.message(visit, point, caller, decision, body)

    async def _get(self, visit: Visit) -> None:
        self._admission.admit_stream(visit.fields)
        if (code := self.load.unavailable("request")) is not None:
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
        await self._forwarder.bodiless(visit, point, caller, exchange, linger_s=linger_s)

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
