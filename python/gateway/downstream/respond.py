"""Answers of the gateway's own, and the client's `send` with a memory of whether it was used.

INVARIANT: an answer of our own is sent only where nothing was sent before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.denial import RETRY_AFTER_S, Answer

if TYPE_CHECKING:
    from gateway._core import Decision
    from gateway.asgi import Message, Send


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

    async def __call__(self, message: Message) -> None:
        """Pass a message on."""
        if message["type"] == "http.response.start":
            self.started = True
            if self._closing and self._http1:
                message["headers"].append((b"connection", b"close"))
        await self._send(message)

    async def answer(self, answer: Answer, *, close: bool = False) -> None:
        """Send a whole answer.

        Args:
            close: whether the connection must not be used again.
        """
        status, headers, body = answer
        self._closing = self._closing or close
        fields = [*headers, (b"content-length", str(len(body)).encode())]
        if status == 503 and not any(name == b"retry-after" for name, _ in headers):
            fields.append((b"retry-after", str(RETRY_AFTER_S).encode()))
        await self({"type": "http.response.start", "status": status, "headers": fields})
        await self({"type": "http.response.body", "body": body, "more_body": False})
