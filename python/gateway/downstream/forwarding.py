"""Passing a request on to its server, and its answer back to the client.

INVARIANT: what the server is sent is the very bytes of an allowed decision, or no bytes at all;
and a decision is settled once, by what became of them.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from gateway.denial import FAULT_CODES, Refused, fault
from gateway.downstream.attend import attend
from gateway.downstream.claims import check_claims
from gateway.downstream.headers import for_upstream
from gateway.downstream.relay import Relay
from gateway.errors import UpstreamError
from gateway.listing import filter_tasks
from gateway.mcp import CANCELLED, EXTENSION, LAST_EVENT_ID, LISTEN, TASKS_LIST, Exchange, is_modern

if TYPE_CHECKING:
    from gateway._core import Caller, Decision
    from gateway.asgi import Headers, Message, Scope, Send
    from gateway.downstream.load import Load
    from gateway.downstream.visit import Bounds, Visit
    from gateway.enforcement import EnforcementPoint
    from gateway.listing import Filter

_log = logging.getLogger("interlock.http")


class Forwarder:
    """Passes on what may be passed on.

    Args:
        load: what is in flight, these requests among it.
    """

    def __init__(self, load: Load, bounds: Bounds) -> None:
        self._load = load
        self._bounds = bounds

    async def message(
        self,
        visit: Visit,
        point: EnforcementPoint,
        caller: Caller,
        decision: Decision,
        body: bytes,
    ) -> None:
        """Pass an allowed message on, and settle its reservation by what becomes of it.

        Raises:
            Refused: it cannot be passed on now, or claims what is not so.
        """
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
            if (code := self._load.unavailable(decision.kind)) is not None:
                raise Refused(fault(decision, code), code=code)
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

    async def resumed(
        self,
        visit: Visit,
        point: EnforcementPoint,
        caller: Caller,
        exchange: Exchange,
        serve: Callable[[Send], Awaitable[None]],
    ) -> None:
        """Go on with an allowed message that was sent already.

        Args:
            serve: sends the server's answer as an upstream does.
        """
        relay = self._relay(visit, point, caller, exchange)
        await self._settle(visit, point, exchange, relay, serve(relay.send))

    async def bodiless(
        self,
        visit: Visit,
        point: EnforcementPoint,
        caller: Caller,
        exchange: Exchange,
        *,
        linger_s: float,
    ) -> None:
        """Pass on a GET or a DELETE.

        Args:
            linger_s: how long it may go on when its client has left.
        """
        relay = self._relay(visit, point, caller, exchange)
        serving = self._pass_on(visit, exchange, relay)
        try:
            await attend(serving, visit.receive, relay.discard, linger_s=linger_s)
        except UpstreamError as error:
            await self._answer_fault(visit, relay, None, error)
            return
        session, deleted = exchange.session, visit.scope["method"] == "DELETE"
        if deleted and 200 <= relay.status < 300 and session is not None:
            visit.service.sessions.close(session, visit.grant)
        _end_session_if_gone(visit, exchange, relay)

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
            bounds=self._bounds.relay,
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
        linger_s = 0.0 if exchange.modern else self._bounds.linger_s
        served = attend(serving, visit.receive, relay.discard, linger_s=linger_s)
        if decision.method == LISTEN:
            point.engine.record(decision)  # it may last for days
        try:
            await point.settle_by(decision, served, lambda: relay.status)
        except UpstreamError as error:
            await self._answer_fault(visit, relay, decision, error)
            return
        _end_session_if_gone(visit, exchange, relay)

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
            await visit.respond.answer(fault(decision, code))
            return
        if decision is None or decision.request_id is None or decision.method == LISTEN:
            raise error
        event = relay.closing_event(fault(decision, code)[2])
        if event is None:
            raise error
        await visit.respond({"type": "http.response.body", "body": event, "more_body": False})


def _end_session_if_gone(visit: Visit, exchange: Exchange, relay: Relay) -> None:
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
