"""The door over stdio: a line from the client is decided, a line from the server passes.

INVARIANT: standard output carries the protocol and nothing else; the server is given the very bytes
that were decided; every allowed decision is settled exactly once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import orjson

from gateway._core import Caller
from gateway.denial import Refused
from gateway.downstream.holding import hold
from gateway.downstream.pipes import Input, Output
from gateway.errors import UpstreamError
from gateway.upstream.answers import error
from gateway.upstream.child import Child, environment
from gateway.upstream.clock import within
from gateway.upstream.lines import Broken, identifier, one_line, read, spelled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway._core import Decision
    from gateway.enforcement import EnforcementPoint
    from gateway.settings import Settings
    from gateway.upstream.clock import Clock
    from gateway.upstream.lines import Id, Line

_log = logging.getLogger("interlock.wrap")

_INTERNAL_ERROR = -32603
_SIGNAL_STEP_S = 0.75
"""Clients kill two seconds after their SIGTERM: the server must be gone by then."""


async def wrap(
    settings: Settings,
    point: EnforcementPoint,
    *,
    grant: str = "default",
    stdin: int = 0,
    stdout: int = 1,
    clock: Clock | None = None,
    inherited: Mapping[str, str] = os.environ,
) -> int:
    """Run the first server of `settings` as a child, and relay between it and our own pipes.

    Ends when the child does, or when the client closes our input and the grace is over; SIGTERM
    and SIGINT are passed on and end both. A policy may be installed meanwhile.

    Args:
        point: decides for `grant` on that server.
        stdin, stdout: file descriptors, which stay open.
        clock: what time goes by; the running event loop unless given.
        inherited: the environment of which the child gets the allow-listed part.

    Returns:
        The child's exit code; 128 and the signal's number if a signal ended it.

    Raises:
        UpstreamError: the child could not be started.
    """
    clock = clock or asyncio.get_running_loop()
    server = settings.servers[0]
    assert server.command is not None
    env = environment(server.env, inherited)
    child = await Child.spawn(server.command, env, name=server.name, clock=clock)
    source, sink = Input(stdin, settings.max_body_bytes), Output(stdout)
    relay = Relay(settings, point, child, sink, grant)
    loop = asyncio.get_running_loop()
    stops: set[asyncio.Task[int]] = set()

    def passed_on(number: int) -> None:
        child.signal(number)
        stops.add(asyncio.create_task(child.stop(step_s=_SIGNAL_STEP_S)))

    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, passed_on, number)
        await source.open()
        await sink.open()
        await relay.run(source, clock)
        code = await child.stop()
    finally:
        await child.stop()
        relay.close()
        source.close()
        await sink.close(clock)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
    return code if code >= 0 else 128 - code


@dataclass(slots=True, eq=False)
class _Open:
    """An admitted message and how many answers it still waits for."""

    decision: Decision
    left: int


class Relay:
    """What passes between one client and one child."""

    def __init__(
        self, settings: Settings, point: EnforcementPoint, child: Child, sink: Output, grant: str
    ) -> None:
        self._point = point
        self._child = child
        self._sink = sink
        self._grace_s = settings.grace_s
        self._max_open = settings.max_in_flight
        self._server = settings.servers[0].name
        self._grant = grant
        self._session = secrets.token_urlsafe(16)
        self._caller = self._call_as(None)
        self._open: dict[Id, deque[_Open]] = {}
        self._asking: dict[asyncio.Task[None], Id | None] = {}
        """Messages of which people are asked, and their ids."""
        self._count = 0

    async def run(self, source: Input, clock: Clock) -> None:
        """Relay until the child has said its last, or the client left and the grace is over."""
        down = asyncio.create_task(self._relay_down())
        up = asyncio.create_task(self._relay_up(source))
        try:
            await asyncio.wait({down, up}, return_when=asyncio.FIRST_COMPLETED)
            if not down.done():
                up.result()
                self._child.eof()
                with suppress(TimeoutError):
                    async with within(clock, self._grace_s):
                        await asyncio.wait({down})
            if down.done():
                down.result()
        finally:
            ending = [up, down, *self._asking]
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)

    def close(self) -> None:
        """Settle what will have no answer."""
        while self._open:
            ident, waiting = next(iter(self._open.items()))
            self._drop(ident, waiting[0], "unknown")

    async def _relay_up(self, source: Input) -> None:
        while (raw := await source.line()) is not None:
            # A bare CR ends a line for some readers: what follows it must not pass undecided.
            line = one_line(raw.removesuffix(b"\r"))
            if line and not line.isspace():
                await self._take(line)

    async def _take(self, line: bytes) -> None:
        full = self._count >= self._max_open
        try:
            decision = self._point.decide(self._caller, line, full=full)
        except Refused:
            await self._failed(line)
            return
        if decision.held:
            # Other messages go on meanwhile.
            asking = asyncio.create_task(self._ask(decision, line))
            self._asking[asking] = spelled(decision.request_id)
            asking.add_done_callback(self._asked)
            return
        await self._act(decision, line)

    async def _ask(self, held: Decision, line: bytes) -> None:
        """Decide a message with what people say of it."""
        desk = self._point.desk
        assert desk is not None
        with suppress(Refused):
            judged = desk.judged(
                *(self._point, self._caller, line, None, held),
                lambda decided, id: hold(decided, id, held, self._sink.write),
            )
            async with judged as decision:
                await self._act(decision, line)
            return
        await self._failed(line)

    def _asked(self, asking: asyncio.Task[None]) -> None:
        del self._asking[asking]
        if not asking.cancelled() and (problem := asking.exception()) is not None:
            _log.error("a request failed", exc_info=problem)

    async def _act(self, decision: Decision, line: bytes) -> None:
        if decision.allowed:
            await self._pass(decision, line)
        elif decision.kind in ("notification", "response"):
            _log.warning("a %s was refused: %s", decision.kind, decision.code)
        else:
            await self._sink.write(one_line(decision.answer()[2]))

    async def _pass(self, decision: Decision, line: bytes) -> None:
        if decision.kind == "notification" and decision.method == "notifications/cancelled":
            self._cancelled(line)
        wanted = _awaited(decision, line)
        # An array may want more answers than there is room for, and there was room when people were
        # asked. Whatever else is too much was refused before it was decided.
        if self._count + len(wanted) > self._max_open:
            self._point.give_back(decision, "overloaded")
            await self._fault(decision, "overloaded", "too many requests are open")
            return
        entry = _Open(decision, len(wanted))
        self._count += len(wanted)
        for ident in wanted:
            self._open.setdefault(ident, deque()).append(entry)
        try:
            await self._child.write(line)
        except UpstreamError as problem:
            # A server that answers before it is asked has ended the matter already.
            if entry.left == len(wanted):
                entry.left = 0
                for ident in wanted:
                    self._remove(ident, entry)
                self._point.give_back(decision, "upstream-unreachable")
            await self._fault(decision, "upstream-unreachable", str(problem))
        else:
            if not wanted:
                self._point.engine.settle(decision, "done")

    async def _relay_down(self) -> None:
        while (raw := await self._child.line()) is not None:
            line = one_line(raw)
            try:
                messages = read(line)
            except Broken as broken:
                _log.error("the server is not relayed where %s", broken)
                continue
            if not messages:
                self._child.remark(raw)
                continue
            passed = await self._filtered(line, messages)
            for message in messages:
                if message.kind == "response":
                    self._answered(message)
            if passed is not None and not await self._sink.write(passed):
                return

    async def _filtered(self, line: bytes, messages: list[Line]) -> bytes | None:
        """The line without what is hidden; None if that cannot be told, which the client is."""
        engine = self._point.engine
        if not engine.filters:
            return line
        try:
            return engine.filter_list(self._caller, line)
        except ValueError as problem:
            _log.error("a message of the server is not relayed: %s", problem)
        for message in messages:
            waiting = self._open.get(message.id) if message.id is not None else None
            if message.kind == "response" and waiting:
                problem_text = "the server's answer cannot be read exactly"
                await self._fault(waiting[0].decision, "upstream-invalid", problem_text)
        return None

    def _answered(self, message: Line) -> None:
        waiting = self._open.get(message.id) if message.id is not None else None
        if not waiting:
            return
        entry = waiting[0]
        if entry.decision.method == "initialize":
            revision = message.body.get("protocolVersion")
            if isinstance(revision, str):
                self._caller = self._call_as(revision)
        assert message.id is not None
        self._drop(message.id, entry, "done")

    def _cancelled(self, line: bytes) -> None:
        """What the client gave up need not be answered; it stays charged."""
        params = orjson.loads(line).get("params")
        ident = identifier(params.get("requestId")) if isinstance(params, dict) else None
        for asking, asked in self._asking.items():
            if asked is not None and asked == ident:
                asking.cancel()
        waiting = self._open.get(ident) if ident is not None else None
        # `initialize` cannot be cancelled, and its answer is still needed.
        if ident is not None and waiting and waiting[0].decision.method != "initialize":
            self._drop(ident, waiting[0], "unknown")

    def _drop(self, ident: Id, entry: _Open, outcome: Literal["done", "unknown"]) -> None:
        self._remove(ident, entry)
        entry.left -= 1
        if entry.left == 0:
            self._point.engine.settle(entry.decision, outcome)

    def _remove(self, ident: Id, entry: _Open) -> None:
        waiting = self._open[ident]
        waiting.remove(entry)
        if not waiting:
            del self._open[ident]
        self._count -= 1

    async def _fault(self, decision: Decision, code: str, message: str) -> None:
        if decision.kind == "request":
            await self._sink.write(one_line(decision.fault(code, message, status=502)[2]))
        else:
            _log.warning("a %s was not passed on: %s", decision.kind, message)

    async def _failed(self, line: bytes) -> None:
        """Refuse what the core failed on; only its id is read."""
        with suppress(ValueError):
            message = orjson.loads(line)
            ident = identifier(message.get("id")) if isinstance(message, dict) else None
            if ident is not None and "method" in message:
                text = "the gateway failed and refused the request"
                data = {"code": "internal-error"}
                await self._sink.write(error(orjson.dumps(ident), _INTERNAL_ERROR, text, data))

    def _call_as(self, revision: str | None) -> Caller:
        return Caller(self._grant, server=self._server, session=self._session, revision=revision)


def _awaited(decision: Decision, line: bytes) -> list[Id]:
    """The ids of the answers that a message asks for."""
    if decision.kind == "request":
        ident = spelled(decision.request_id)
        return [] if ident is None else [ident]
    if decision.kind != "batch":
        return []
    requests = (message for message in read(line) if message.kind == "request")
    return [message.id for message in requests if message.id is not None]
