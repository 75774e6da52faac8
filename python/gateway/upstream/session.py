"""A legacy client's session: a child of its own, spoken to as it speaks, in the client's own ids.

Invariant: each message of the child goes to exactly one stream, or is dropped; each request of the
child is answered at most once, and only by the client whose session it is.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from gateway.errors import UpstreamError
from gateway.upstream.answers import PATIENCE_S, error
from gateway.upstream.clock import within
from gateway.upstream.era import refusal
from gateway.upstream.lines import identifier, one_line, spelled
from gateway.upstream.mailbox import Mailbox

if TYPE_CHECKING:
    from gateway._core import Decision
    from gateway.upstream.answers import Answer
    from gateway.upstream.child import Child
    from gateway.upstream.clock import Clock
    from gateway.upstream.lines import Id, Line

logger = logging.getLogger("interlock.upstream")

_INTERNAL_ERROR = -32603

_ASKED = 64
_HELD = 16
_STALL_S = 30.0


@dataclass(slots=True)
class _Call:
    """A request of the client that the child has not answered."""

    box: Mailbox
    token: Id | None
    opening: _Opening | None = None


@dataclass(slots=True)
class _Opening:
    """What `initialize` has that other requests have not: an answer that names the session."""

    answer: Answer
    ident: bytes | None
    body: bytes


class Session:
    """One child and the streams that its client has open.

    Attributes:
        ready: whether the child has answered `initialize` with a result.
    """

    def __init__(self, child: Child, clock: Clock, *, write_timeout_s: float) -> None:
        self.ready = False
        self._child = child
        self._clock = clock
        self._write_timeout_s = write_timeout_s
        self._open: dict[Id, _Call] = {}
        self._stream: Mailbox | None = None
        self._asked: dict[Id, Mailbox] = {}
        self._withdrawn: deque[Id] = deque(maxlen=_ASKED)
        self._held: deque[Line] = deque()
        self._used_at = clock.time()

    @property
    def busy(self) -> bool:
        """Whether a request or the GET stream is open."""
        return bool(self._open) or self._stream is not None

    def idle_s(self) -> float:
        """How long nothing has happened; 0 while something is open."""
        return 0.0 if self.busy else self._clock.time() - self._used_at

    async def run(self) -> None:
        """Hand out what the child says, until it ends."""
        async for line in self._child.messages():
            await self._dispatch(line)

    async def close(self) -> None:
        """End everything that is open after the child has ended.

        To be called once nobody finds the session any more: a client that is told of its end must
        not meet it again.
        """
        for call in self._open.values():
            call.box.fail(self._child.ending())
        if self._stream is not None:
            self._stream.finish()
        await self._child.stop()

    async def stop(self) -> None:
        """End the child, and with it the session."""
        await self._child.stop()

    async def ask(self, decision: Decision, body: bytes, answer: Answer) -> None:
        """Put a request to the child and answer it.

        Raises:
            UpstreamError: there is no answer.
        """
        ident = spelled(decision.request_id)
        if ident is None or ident in self._open:
            raise UpstreamError("invalid", "the id is in use in this session", sent=False)
        opening = None
        if decision.method == "initialize":
            opening = _Opening(answer, decision.request_id, body)
        box = Mailbox()
        self._open[ident] = _Call(box, spelled(decision.progress_token), opening)
        try:
            await self._write(body)
            self._place_held()
            await answer.relay(box)
        except UpstreamError as problem:
            if problem.reason == "timeout" and problem.sent and opening is None:
                self._child.post(cancelled(orjson.dumps(ident)))
            raise
        finally:
            box.discard()
            del self._open[ident]
            self._used_at = self._clock.time()
            self._place_held()

    async def tell(self, decision: Decision, body: bytes) -> None:
        """Pass on a notification.

        Raises:
            UpstreamError: the child did not see it.
        """
        call = None
        if decision.method == "notifications/cancelled":
            params = orjson.loads(body).get("params")
            ident = identifier(params.get("requestId")) if isinstance(params, dict) else None
            call = self._open.get(ident) if ident is not None else None
            if call is not None and call.opening is not None:
                # `initialize` must not be cancelled.
                return
        await self._write(body)
        if call is not None:
            # Servers need not answer what was cancelled: its stream must not stay open for that.
            self._clock.call_later(PATIENCE_S, call.box.finish)

    async def reply(self, decision: Decision, body: bytes) -> bool:
        """Pass on the client's answer to a request of the child; False if it asked no such thing.

        Raises:
            UpstreamError: the child did not see it.
        """
        ident = spelled(decision.request_id)
        if ident is None:
            return False
        if ident in self._withdrawn:
            self._withdrawn.remove(ident)
            return True
        if self._asked.pop(ident, None) is None:
            return False
        await self._write(body)
        return True

    async def listen(self, answer: Answer) -> bool:
        """Serve the stream for messages that belong to no request; False if there is one
        already."""
        if self._stream is not None:
            return False
        self._stream = box = Mailbox()
        self._place_held()
        try:
            await answer.relay(box, stream=True)
        finally:
            box.discard()
            self._stream = None
            self._used_at = self._clock.time()
        return True

    def hang_up(self) -> None:
        """End the GET stream, as a drain begins."""
        if self._stream is not None:
            self._stream.finish()

    async def _write(self, body: bytes) -> None:
        self._used_at = self._clock.time()
        try:
            async with within(self._clock, self._write_timeout_s):
                await self._child.write(one_line(body))
        except TimeoutError:
            raise UpstreamError("timeout", "the server reads nothing", sent=False) from None

    async def _dispatch(self, line: Line) -> None:
        if line.kind == "response":
            self._answered(line)
        elif line.kind == "request":
            self._child_asks(line)
        elif line.method == "notifications/progress":
            call = next((c for c in self._open.values() if c.token == line.token is not None), None)
            await self._deliver(call.box if call else None, line)
        elif line.method == "notifications/cancelled":
            await self._child_withdraws(line)
        elif self._stream is not None:
            # Not waited for: a GET stream that is not read must not hold up the answers.
            if not self._stream.offer(line.raw):
                self._drop(line)
        else:
            first = next(iter(self._open.values()), None)
            await self._deliver(first.box if first else None, line)

    def _answered(self, line: Line) -> None:
        call = self._open.get(line.id) if line.id is not None else None
        if call is None:
            self._drop(line)
        elif call.opening is None:
            call.box.finish(line.raw)
        elif line.error is None:
            self.ready = True
            call.box.finish(line.raw)
        else:
            # A session that never was must not be named: some clients adopt an id from any answer.
            call.opening.answer.headers.clear()
            text, status = refusal(line, call.opening.ident, call.opening.body)
            call.box.finish(text, status=status)

    def _child_asks(self, line: Line) -> None:
        if len(self._asked) >= _ASKED or len(self._held) >= _HELD:
            ident = orjson.dumps(line.id)
            self._child.post(error(ident, _INTERNAL_ERROR, "the client cannot be asked now"))
            self._drop(line)
        else:
            self._held.append(line)
            self._place_held()

    def _place_held(self) -> None:
        calls = list(self._open.values())
        target = calls[0].box if len(calls) == 1 else self._stream
        while self._held and target is not None and target.offer(self._held[0].raw):
            line = self._held.popleft()
            assert line.id is not None
            self._asked[line.id] = target

    async def _child_withdraws(self, line: Line) -> None:
        ident = identifier(line.body.get("requestId"))
        waiting = next((held for held in self._held if held.id == ident), None)
        if waiting is not None:
            self._held.remove(waiting)
            return
        box = self._asked.pop(ident, None) if ident is not None else None
        if box is not None and ident is not None:
            # The client may have answered already: that must not look like an answer to nothing.
            self._withdrawn.append(ident)
        await self._deliver(self._stream if box is None or box.closed else box, line)

    async def _deliver(self, box: Mailbox | None, line: Line) -> None:
        """Wait for room, which makes the child wait too; but not for ever on a client that is
        stuck."""
        if box is None:
            self._drop(line)
        elif not box.offer(line.raw):
            try:
                async with within(self._clock, _STALL_S):
                    await box.deliver(line.raw)
            except TimeoutError:
                self._drop(line)

    def _drop(self, line: Line) -> None:
        logger.debug("a message of kind `%s` has no stream and is dropped", line.kind)


def cancelled(ident: bytes) -> bytes:
    """The notification that a request is no longer wanted; `ident` is raw JSON."""
    return (
        b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":'
        + ident
        + b"}}"
    )
