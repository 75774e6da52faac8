"""A server behind a pipe, as an ASGI callable: HTTP's server on one side, stdio's client on the
other.

Legacy clients have a process each, which is their session. Modern ones share one process, for
nothing may be inferred from it. Invariant: a session's process serves nobody else, and ends with
its session.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.errors import UpstreamError
from gateway.upstream.answers import Answer, error, respond
from gateway.upstream.child import Child, environment
from gateway.upstream.clock import within
from gateway.upstream.era import LEGACY, requested, unsupported
from gateway.upstream.session import Session
from gateway.upstream.shared import OtherEra, Shared

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from gateway._core import Decision
    from gateway.asgi import Receive, Scope, Send
    from gateway.mcp import Exchange
    from gateway.settings import ServerSettings
    from gateway.upstream.clock import Clock

_SWEEP_S = 30.0
_INVALID_REQUEST = -32600
_ID_BYTES = 32
_FAULTS = {"timeout": "upstream-timeout", "invalid": "upstream-invalid"}


class StdioUpstream:
    """One server that is started as a command.

    The session table is local to this process: another worker answers 404 to its sessions.
    """

    def __init__(
        self,
        settings: ServerSettings,
        *,
        clock: Clock | None = None,
        inherited: Mapping[str, str] = os.environ,
    ) -> None:
        """Nothing is started before it is needed.

        Args:
            settings: with a `command`.
            clock: what time goes by; the running event loop unless given.
            inherited: the environment of which children get the allow-listed part.
        """
        assert settings.command is not None
        self._settings = settings
        self._command = settings.command
        self._env = environment(settings.env, inherited)
        self._given = clock
        self._sessions: dict[str, Session] = {}
        self._shared: Shared | None = None
        self._children = 0
        self._open = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False
        self._closing = False
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def sessions(self) -> int:
        """How many legacy sessions are open."""
        return len(self._sessions)

    @property
    def children(self) -> int:
        """How many processes run."""
        return self._children

    async def start(self) -> None:
        """Begin to watch for idle sessions."""
        self._clock.call_later(_SWEEP_S, self._sweep)

    def drain(self) -> None:
        """End the streams that would never end by themselves, and begin no more of them."""
        self._draining = True
        for session in self._sessions.values():
            session.hang_up()
        if self._shared is not None:
            self._shared.end_listens()

    async def aclose(self, grace_s: float) -> None:
        """End streams, let open requests finish for `grace_s` seconds, and end every process."""
        self.drain()
        self._closing = True
        with suppress(TimeoutError):
            async with within(self._clock, grace_s):
                await self._idle.wait()
        for session in self._sessions.values():
            self._keep(session.stop())
        if self._shared is not None:
            await self._shared.aclose()
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request whose `Exchange` is in the scope.

        Raises:
            UpstreamError: there is no answer, or it broke off.
        """
        exchange: Exchange = scope["extensions"]["interlock"]
        if self._closing:
            raise _leaving()
        self._open += 1
        self._idle.clear()
        try:
            if exchange.decision is not None:
                await self._post(exchange, exchange.decision, send)
            elif scope["method"] == "DELETE":
                await self._delete(exchange, send)
            else:
                await self._get(exchange, send)
        finally:
            self._open -= 1
            if not self._open:
                self._idle.set()

    async def _post(self, exchange: Exchange, decision: Decision, send: Send) -> None:
        if decision.kind == "batch":
            message = "a server behind stdio takes one message at a time"
            raise UpstreamError("invalid", message, sent=False)
        if exchange.modern:
            await self._modern(exchange, decision, send)
        elif exchange.session is None:
            await self._initialize(exchange, decision, send)
        elif (session := self._sessions.get(exchange.session)) is None:
            await _unknown(send, decision.request_id)
        elif decision.kind == "request":
            await session.ask(decision, exchange.body, self._answer(send, decision))
        elif decision.kind == "notification":
            await session.tell(decision, exchange.body)
            await respond(send, 202)
        elif await session.reply(decision, exchange.body):
            await respond(send, 202)
        else:
            await _invalid(send, None, "the server has no such request open")

    async def _modern(self, exchange: Exchange, decision: Decision, send: Send) -> None:
        if decision.kind == "notification":
            # Over HTTP a modern client has nothing to notify of: it cancels by leaving.
            await respond(send, 202)
        elif decision.kind != "request":
            await _invalid(send, None, "this protocol version has no answers from clients")
        elif self._draining and decision.method == "subscriptions/listen":
            raise _leaving()
        else:
            try:
                answer = self._answer(send, decision)
                await self._pool().ask(decision, exchange.body, answer)
            except OtherEra:
                version = requested(exchange.body)
                await respond(send, 400, unsupported(decision.request_id, version, LEGACY))

    async def _initialize(self, exchange: Exchange, decision: Decision, send: Send) -> None:
        if decision.method != "initialize" or decision.kind != "request":
            await _invalid(send, decision.request_id, "the header `Mcp-Session-Id` is missing")
            return
        ident = secrets.token_urlsafe(_ID_BYTES)
        session = Session(
            await self._spawn(), self._clock, write_timeout_s=self._settings.first_byte_timeout_s
        )
        self._sessions[ident] = session
        self._keep(self._run(ident, session))
        answer = self._answer(send, decision)
        answer.headers.append((b"mcp-session-id", ident.encode()))
        try:
            await session.ask(decision, exchange.body, answer)
        finally:
            if not session.ready:
                self._end(ident)

    async def _get(self, exchange: Exchange, send: Send) -> None:
        if self._draining:
            raise _leaving()
        if exchange.session is None:
            await _invalid(send, None, "the header `Mcp-Session-Id` is missing")
        elif (session := self._sessions.get(exchange.session)) is None:
            await _unknown(send, None)
        elif not await session.listen(self._answer(send, None)):
            body = error(None, _INVALID_REQUEST, "this session has its stream open already")
            await respond(send, 409, body)

    async def _delete(self, exchange: Exchange, send: Send) -> None:
        if exchange.session is None:
            await _invalid(send, None, "the header `Mcp-Session-Id` is missing")
        elif exchange.session not in self._sessions:
            await _unknown(send, None)
        else:
            self._end(exchange.session)
            await respond(send, 200)

    def _answer(self, send: Send, decision: Decision | None) -> Answer:
        def fault(problem: UpstreamError) -> bytes:
            assert decision is not None
            code = _FAULTS.get(problem.reason, "upstream-failed")
            return decision.fault(code, str(problem), status=502)[2]

        return Answer(send, self._clock, idle_s=self._settings.idle_timeout_s, fault=fault)

    async def _spawn(self) -> Child:
        if self._children >= self._settings.max_children:
            raise UpstreamError("busy", "too many processes of the server run", sent=False)
        self._children += 1
        try:
            child = await Child.spawn(
                self._command, self._env, name=self._settings.name, clock=self._clock
            )
        except BaseException:
            self._children -= 1
            raise
        self._keep(self._count_down(child))
        return child

    async def _count_down(self, child: Child) -> None:
        await child.wait()
        self._children -= 1

    async def _run(self, ident: str, session: Session) -> None:
        try:
            await session.run()
        finally:
            self._sessions.pop(ident, None)
            await session.close()

    def _end(self, ident: str) -> None:
        """Forget a session at once, and end its process meanwhile."""
        session = self._sessions.pop(ident, None)
        if session is not None:
            self._keep(session.stop())

    def _sweep(self) -> None:
        if self._closing:
            return
        for ident, session in list(self._sessions.items()):
            if session.idle_s() >= self._settings.session_idle_s:
                self._end(ident)
        self._clock.call_later(_SWEEP_S, self._sweep)

    def _pool(self) -> Shared:
        if self._shared is None:
            self._shared = Shared(
                self._spawn,
                self._clock,
                patience_s=self._settings.connect_timeout_s,
                start_timeout_s=self._settings.first_byte_timeout_s,
            )
        return self._shared

    @property
    def _clock(self) -> Clock:
        return self._given or asyncio.get_running_loop()

    def _keep(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _leaving() -> UpstreamError:
    return UpstreamError("busy", "the gateway is shutting down", sent=False)


async def _unknown(send: Send, ident: bytes | None) -> None:
    await respond(send, 404, error(ident, _INVALID_REQUEST, "there is no such session"))


async def _invalid(send: Send, ident: bytes | None, message: str) -> None:
    await respond(send, 400, error(ident, _INVALID_REQUEST, message))
