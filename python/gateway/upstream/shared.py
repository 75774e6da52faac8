"""The child that all modern clients share: spawned when first needed, again when it is gone.

Invariant: no two open requests have one id at the child, whatever their clients chose; what a
client gets back bears the very bytes of its own id and token; a client that reads slowly delays
nobody else.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from gateway.errors import UpstreamError
from gateway.upstream.clock import pause, within
from gateway.upstream.era import STATUS, discover, spoken
from gateway.upstream.lines import SUBSCRIPTION, Broken, exchange, identifier, one_line
from gateway.upstream.mailbox import Mailbox
from gateway.upstream.session import cancelled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway._core import Decision
    from gateway.upstream.answers import Answer
    from gateway.upstream.child import Child
    from gateway.upstream.clock import Clock
    from gateway.upstream.lines import Id, Line

logger = logging.getLogger("interlock.upstream")

_FIRST_DELAY_S = 0.1
_LAST_DELAY_S = 30.0
_SETTLED_S = 60.0
_VERDICT_S = 300.0

_TOKEN = ("params", "_meta", "progressToken")
_TAG = ("params", "_meta", SUBSCRIPTION)


class OtherEra(Exception):
    """The server speaks legacy revisions only."""


@dataclass(slots=True)
class _Call:
    """A request that the child has not answered; raw JSON as the client spelt it."""

    box: Mailbox
    ident: bytes
    token: bytes | None
    listen: bool


@dataclass(slots=True)
class _Running:
    """A child that has shown its era, and what it has to answer."""

    child: Child
    born: float
    open: dict[Id, _Call] = field(default_factory=dict)


class Backoff:
    """When a process that keeps ending may be started again."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._delay_s = 0.0
        self._ready_at = clock.time()

    def wait_s(self) -> float:
        """Seconds until the next start; 0 if it may be now."""
        return max(0.0, self._ready_at - self._clock.time())

    def ended(self, lived_s: float) -> None:
        """Note an end; a process that had lived long enough starts anew at once."""
        if lived_s >= _SETTLED_S:
            self._delay_s = 0.0
        else:
            self._delay_s = min(max(2 * self._delay_s, _FIRST_DELAY_S), _LAST_DELAY_S)
        self._ready_at = self._clock.time() + self._delay_s


class Shared:
    """One child at a time, for every request that stands by itself."""

    def __init__(
        self,
        spawn: Callable[[], Awaitable[Child]],
        clock: Clock,
        *,
        patience_s: float,
        start_timeout_s: float,
    ) -> None:
        """`patience_s`: how long a request waits for a restart, and for the child to read;
        `start_timeout_s`: how long a new child may take to say what it speaks."""
        self._spawn = spawn
        self._clock = clock
        self._patience_s = patience_s
        self._start_timeout_s = start_timeout_s
        self._backoff = Backoff(clock)
        self._numbers = count(1)
        self._running: _Running | None = None
        self._starting: asyncio.Task[_Running] | None = None
        self._legacy_until = clock.time()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def open(self) -> int:
        """How many requests are unanswered."""
        return len(self._running.open) if self._running else 0

    async def ask(self, decision: Decision, body: bytes, answer: Answer) -> None:
        """Put a request to the child and answer it; a caller that is cancelled cancels it there.

        Raises:
            OtherEra: the server is of the legacy era; it saw nothing.
            UpstreamError: there is no answer.
        """
        assert decision.request_id is not None
        running = await self._ensure()
        number = next(self._numbers)
        own = str(number).encode()
        listen = decision.method == "subscriptions/listen"
        call = _Call(Mailbox(), decision.request_id, decision.progress_token, listen)
        line = exchange(one_line(body), (("id",), own), (_TOKEN, own))
        running.open[number] = call
        sent = False
        try:
            async with within(self._clock, self._patience_s):
                await running.child.write(line)
            sent = True
            await answer.relay(call.box, stream=listen)
        except TimeoutError:
            raise UpstreamError("timeout", "the server reads nothing", sent=False) from None
        finally:
            call.box.discard()
            if running.open.pop(number, None) is not None and sent:
                running.child.post(cancelled(own))

    def end_listens(self) -> None:
        """End every listen as a server does that goes away on purpose."""
        calls = self._running.open if self._running else {}
        for number in [number for number, call in calls.items() if call.listen]:
            call = calls[number]
            meta = b'{"' + SUBSCRIPTION.encode() + b'":' + call.ident + b"}"
            call.box.finish(
                b'{"jsonrpc":"2.0","id":' + call.ident
                + b',"result":{"resultType":"complete","_meta":' + meta + b"}}"
            )  # fmt: skip

    async def aclose(self) -> None:
        """End the child."""
        if (starting := self._starting) is not None:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
        if self._running is not None:
            await self._running.child.stop()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _ensure(self) -> _Running:
        if self._running is not None:
            return self._running
        if self._clock.time() < self._legacy_until:
            raise OtherEra
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
            self._starting.add_done_callback(self._started)
        starting = self._starting
        try:
            # Whoever leaves must not take the child from those who wait for it too.
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            if starting.cancelled():
                message = "the gateway is shutting down"
                raise UpstreamError("busy", message, sent=False) from None
            raise

    def _started(self, task: asyncio.Task[_Running]) -> None:
        self._starting = None
        if not task.cancelled():
            task.exception()

    async def _start(self) -> _Running:
        wait_s = self._backoff.wait_s()
        if wait_s > self._patience_s:
            raise UpstreamError("exited", "the server's process keeps ending", sent=False)
        if wait_s:
            await pause(self._clock, wait_s)
        born = self._clock.time()
        try:
            child = await self._spawn()
        except UpstreamError as problem:
            if problem.reason != "busy":
                self._backoff.ended(0.0)
            raise
        try:
            modern = await self._probe(child)
        except BaseException:
            self._later(child)
            raise
        if not modern:
            self._later(child)
            self._legacy_until = self._clock.time() + _VERDICT_S
            raise OtherEra
        running = _Running(child, born)
        self._running = running
        self._keep(asyncio.create_task(self._serve(running)))
        return running

    async def _probe(self, child: Child) -> bool:
        """Ask which revisions it speaks. One that falls silent or ends over the question is
        legacy: such servers exist."""
        number = next(self._numbers)
        try:
            async with within(self._clock, self._start_timeout_s):
                await child.write(discover(number))
                async for line in child.messages():
                    if line.kind == "response" and line.id == number:
                        return bool(spoken(line))
        except (TimeoutError, UpstreamError):
            pass
        return False

    async def _serve(self, running: _Running) -> None:
        try:
            async for line in running.child.messages():
                self._dispatch(running, line)
        finally:
            self._running = None
            self._backoff.ended(self._clock.time() - running.born)
            for call in running.open.values():
                call.box.fail(running.child.ending())
            running.open.clear()
            await running.child.stop()

    def _dispatch(self, running: _Running, line: Line) -> None:
        try:
            if line.kind == "response":
                self._answered(running, line)
            elif line.kind == "request":
                logger.warning("a modern server asked `%s`, which is dropped", line.method)
            elif line.method == "notifications/progress":
                call = running.open.get(line.token) if line.token is not None else None
                if call is not None and call.token is not None:
                    # Progress may be lost: only the latest counts.
                    call.box.offer(exchange(line.raw, (("params", "progressToken"), call.token)))
            elif line.method == "notifications/cancelled":
                self._withdrawn(running, line)
            else:
                self._tagged(running, line)
        except Broken as broken:
            running.child.condemn(str(broken))

    def _answered(self, running: _Running, line: Line) -> None:
        call = running.open.pop(line.id, None) if line.id is not None else None
        if call is None:
            return
        tag = ("result", "_meta", SUBSCRIPTION)
        edits = [(("id",), call.ident), *([(tag, call.ident)] if call.listen else [])]
        try:
            text = exchange(line.raw, *edits)
        except Broken as broken:
            call.box.fail(UpstreamError("invalid", str(broken), sent=True))
        else:
            call.box.finish(text, status=STATUS.get(line.error, 200) if line.error else 200)

    def _tagged(self, running: _Running, line: Line) -> None:
        call = running.open.get(line.subscription) if line.subscription is not None else None
        if call is None or not call.listen:
            logger.debug("a message of kind `%s` has no stream and is dropped", line.kind)
        elif not call.box.offer(exchange(line.raw, (_TAG, call.ident))):
            call.box.fail(UpstreamError("timeout", "the client reads too slowly", sent=True))

    def _withdrawn(self, running: _Running, line: Line) -> None:
        ident = identifier(line.body.get("requestId"))
        call = running.open.get(ident) if ident is not None else None
        if call is not None and ident is not None and call.listen:
            del running.open[ident]
            place = ("params", "requestId")
            call.box.finish(exchange(line.raw, (place, call.ident), (_TAG, call.ident)))

    def _later(self, child: Child) -> None:
        async def stop() -> None:
            await child.stop()

        self._keep(asyncio.create_task(stop()))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
