"""A child's messages as an HTTP answer: JSON if the response comes first and soon, else an event
stream.

Invariant: every answer that starts ends with a response, or abruptly; an event leaves when it
arrives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from gateway.errors import UpstreamError
from gateway.upstream.clock import within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.asgi import Headers, Send
    from gateway.upstream.clock import Clock
    from gateway.upstream.mailbox import Mailbox

PATIENCE_S = 15.0
"""How long a response may keep an answer undecided, and how long a stream stays silent."""

JSON = (b"content-type", b"application/json")
EVENTS: Headers = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]


def error(ident: bytes | None, code: int, message: str, data: object = None) -> bytes:
    """A JSON-RPC error.

    Args:
        ident: the id as it was spelt, or None, then there is no such member.
    """
    fault: dict[str, object] = {"code": code, "message": message}
    if data is not None:
        fault["data"] = data
    head = b'{"jsonrpc":"2.0",' + (b'"id":' + ident + b"," if ident is not None else b"")
    return head + b'"error":' + orjson.dumps(fault) + b"}"


async def respond(
    send: Send, status: int, body: bytes = b"", headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Send a whole answer; JSON where it has a body."""
    fields = [JSON, *headers] if body else [*headers]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body, "more_body": False})


class Answer:
    """The answer to one request of a client, written while the child works."""

    def __init__(
        self, send: Send, clock: Clock, *, idle_s: float, fault: Callable[[UpstreamError], bytes]
    ):
        """`idle_s`: how long the child may say nothing; `fault`: the last event of a stream that
        cannot have its response."""
        self.headers: Headers = []
        """Fields beside those that every answer has; looked at when it starts."""
        self._send = send
        self._clock = clock
        self._idle_s = idle_s
        self._fault = fault
        self._started = False

    async def relay(self, box: Mailbox, *, stream: bool = False) -> None:
        """Send what arrives in `box` until its last message.

        Args:
            stream: be an event stream from the start, and for as long as the client likes.

        Raises:
            UpstreamError: there is no response; an ordinary stream that had begun has told the
                client so.
        """
        if stream:
            await self._start()
            # Some servers hold the head back until there is a body.
            await self._write(b"")
        patience = min(PATIENCE_S, self._idle_s)
        since = self._clock.time()
        last = False
        while not last:
            try:
                async with within(self._clock, patience):
                    line, last = await box.next()
            except TimeoutError:
                if not stream and self._clock.time() - since >= self._idle_s:
                    box.fail(UpstreamError("timeout", "the server says nothing", sent=True))
                else:
                    await self._start()
                    await self._write(b":\n\n")
                continue
            except UpstreamError as problem:
                if self._started and not stream:
                    await self._event(self._fault(problem), more=True)
                raise
            since = self._clock.time()
            if line is None:
                await self._start()
                await self._write(b"", more=False)
            elif last and not self._started:
                await respond(self._send, box.status, line, self.headers)
            else:
                await self._start()
                await self._event(line, more=not last)

    async def _start(self) -> None:
        if not self._started:
            self._started = True
            fields = [*EVENTS, *self.headers]
            await self._send({"type": "http.response.start", "status": 200, "headers": fields})

    async def _event(self, line: bytes, *, more: bool) -> None:
        await self._write(b"event: message\ndata: " + line + b"\n\n", more=more)

    async def _write(self, data: bytes, *, more: bool = True) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": more})
