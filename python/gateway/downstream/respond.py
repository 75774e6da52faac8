"""Answers of the gateway's own, and the client's `send` with a memory of whether it was used.

INVARIANT: an answer of our own is sent only where nothing of an answer was sent before. Once a
stream of our own has begun, for what is to be said before the answer, the answer goes into it, as
one event or as the server's own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.denial import RETRY_AFTER_S, WORDINGS, Answer
from gateway.downstream.headers import first

if TYPE_CHECKING:
    from gateway._core import Decision
    from gateway.asgi import Headers, Message, Send


_STREAM: Headers = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
_LINE_END = re.compile(rb"[\r\n]")


@dataclass(slots=True)
class Asked:
    """What is known of a request that has no decision, for the decision log."""

    method: str | None = None
    """HTTP's, unless it brings a message."""
    grant: str | None = None
    server: str | None = None
    session: str | None = None


class Responder:
    """The client's `send`.

    Args:
        send: the server's.
        http1: whether the connection knows the Connection header.
        closing: whether this answer is to be the connection's last.
    """

    def __init__(self, send: Send, *, http1: bool, closing: bool) -> None:
        self.started = False
        """Whether the head of an answer has been handed over."""
        self.decision: Decision | None = None
        """What is being answered, once it was allowed."""
        self.asked = Asked()
        self._send = send
        self._http1 = http1
        self._closing = closing
        self._envelope: _Envelope | None = None

    async def __call__(self, message: Message) -> None:
        """Pass a message on."""
        if message["type"] == "http.response.start":
            self.started = True
            if self._envelope is not None:
                self._envelope = _envelope_of(message, self._send, self.decision)
                return
            if self._closing and self._http1:
                message["headers"].append((b"connection", b"close"))
        if self._envelope is not None:
            await self._envelope.send(message.get("body", b""), message.get("more_body", False))
            return
        await self._send(message)

    async def notify(self, notification: bytes) -> None:
        """Say something before the answer, which comes in the same stream of events."""
        assert not self.started
        if self._envelope is None:
            fields = [*_STREAM]
            if self._closing and self._http1:
                fields.append((b"connection", b"close"))
            self._envelope = _Envelope(self._send)
            await self._send({"type": "http.response.start", "status": 200, "headers": fields})
        body = b"data: " + notification + b"\n\n"
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def answer(self, answer: Answer, *, close: bool = False) -> None:
        """Send a whole answer.

        Args:
            close: whether the connection must not be used again.
        """
        status, headers, body = answer
        if self._envelope is not None:
            self.started = True
            await self._envelope.send(body, False)
            return
        self._closing = self._closing or close
        fields = [*headers, (b"content-length", str(len(body)).encode())]
        if status == 503 and not any(name == b"retry-after" for name, _ in headers):
            fields.append((b"retry-after", str(RETRY_AFTER_S).encode()))
        await self({"type": "http.response.start", "status": status, "headers": fields})
        await self({"type": "http.response.body", "body": body, "more_body": False})


class _Envelope:
    """The rest of a stream of our own, into which an answer goes."""

    def __init__(self, send: Send, *, events: bool = False, instead: bytes | None = None) -> None:
        """Take what follows for events, or else for a document; or send something `instead`."""
        self._send = send
        self._events = events
        self._instead = instead
        self._begun = False

    async def send(self, body: bytes, more: bool) -> None:
        """Take a piece of the answer."""
        if self._instead is not None:
            body = b"" if more else self._instead
        if not self._events and body:
            # A line end means nothing to JSON, and the end of a line to a reader of events.
            body = _LINE_END.sub(b"\ndata: ", body)
            body = body if self._begun else b"data: " + body
            self._begun = True
        if not self._events and not more:
            body += b"\n\n"
        if body or not more:
            await self._send({"type": "http.response.body", "body": body, "more_body": more})


def _envelope_of(head: Message, send: Send, decision: Decision | None) -> _Envelope:
    """What takes an answer with this head. One that is no answer in its body, but by its status, is
    told as a failure of the server."""
    media, _, charset = (first(head["headers"], b"content-type") or b"").lower().partition(b";")
    if head["status"] == 200 and b"charset" not in charset.replace(b'"', b"").replace(
        b"charset=utf-8", b""
    ):
        if media.strip() == b"text/event-stream":
            return _Envelope(send, events=True)
        if media.strip() == b"application/json":
            return _Envelope(send)
    code = "upstream-invalid"
    wording = WORDINGS[code]
    assert decision is not None
    instead = decision.fault(code, wording.message, status=wording.status)[2]
    return _Envelope(send, instead=instead)
