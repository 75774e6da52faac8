"""What a server must say for its answer to be one.

INVARIANT: an answer that two readers could take for different things is not passed on: two types,
two sessions, an id that was not asked with. The server's own challenges and redirects are nobody
else's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, cast

import orjson

from gateway.downstream.headers import first
from gateway.errors import UpstreamError
from gateway.mcp import SESSION_ID, Exchange, is_session_id
from gateway.sessions import read_id

if TYPE_CHECKING:
    from gateway.asgi import Headers

ACCEPTED = 202
"""Says all by itself; a body is neither expected nor passed on."""
_CREDENTIALS_REFUSED = (401, 403)
_REDIRECTS = range(300, 400)
_ONCE = (b"content-type", b"content-encoding", SESSION_ID)


class Kind(Enum):
    """What a body holds."""

    JSON = auto()
    EVENTS = auto()
    OTHER = auto()


_CHARSETS = (b"charset=utf-8", b'charset="utf-8"', b"charset=utf8", b"charset=us-ascii")
_KINDS = {b"application/json": Kind.JSON, b"text/event-stream": Kind.EVENTS}


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """The head of a server's answer, read."""

    status: int
    headers: Headers
    kind: Kind
    coding: bytes | None
    """Content-Encoding, unless it changes nothing."""
    in_utf8: bool
    """Unless a charset is named that some clients would decode by."""
    session: bytes | None
    length: bytes | None

    @property
    def succeeded(self) -> bool:
        """Whether the status says so."""
        return 200 <= self.status < 300


def read_head(status: int, headers: Headers, exchange: Exchange) -> AnswerHead:
    """Read a head.

    Raises:
        UpstreamError: it cannot belong to an answer that may be passed on.
    """
    if status in _CREDENTIALS_REFUSED or status in _REDIRECTS:
        raise invalid(f"the server answered {status}")
    for name in _ONCE:
        if sum(key == name for key, _ in headers) > 1:
            raise invalid(f"{name.decode()} is there twice")
    content_type, *parameters = (
        part.strip().lower() for part in (first(headers, b"content-type") or b"").split(b";")
    )
    coding = (first(headers, b"content-encoding") or b"identity").strip().lower()
    session = first(headers, SESSION_ID)
    if session is not None and not is_session_id(session):
        raise invalid("the server chose an impossible session id")
    head = AnswerHead(
        status=status,
        headers=headers,
        kind=_KINDS.get(content_type, Kind.OTHER),
        coding=None if coding == b"identity" else coding,
        in_utf8=all(p in _CHARSETS for p in parameters if p.startswith(b"charset")),
        session=session,
        length=first(headers, b"content-length"),
    )
    if asks(exchange) and head.succeeded:
        if status == ACCEPTED:
            raise invalid("the server took a request for a notification")
        if head.kind is Kind.OTHER:
            raise invalid("the answer is neither JSON nor an event stream")
    return head


def asks(exchange: Exchange) -> bool:
    """Whether the message wants an answer."""
    decision = exchange.decision
    if decision is None:
        return False
    return decision.kind == "request" or (decision.kind == "batch" and _has_request(exchange.body))


def _has_request(batch: bytes) -> bool:
    """Whether one message of an array, which the decision has read before, wants an answer."""
    messages = cast("list[dict[str, object]]", orjson.loads(batch))
    return any("method" in message and "id" in message for message in messages)


def check_document(document: bytes, exchange: Exchange) -> None:
    """Check that a JSON document answers the request.

    An error may leave its id out, since it may be about a request whose id the server could not
    read.

    Raises:
        UpstreamError: it is no JSON, or answers something else.
    """
    decision = exchange.decision
    if decision is None or decision.kind != "request":
        return
    try:
        answer: object = orjson.loads(document)
    except orjson.JSONDecodeError:
        answer = _read_leniently(document)
    if not isinstance(answer, dict):
        raise invalid("the answer is not one JSON-RPC message")
    found, wanted = answer.get("id"), read_id(decision.request_id)
    if found is None and "error" in answer:
        return
    if found != wanted or isinstance(found, bool):
        raise invalid("the answer is to another request")


def _read_leniently(document: bytes) -> object:
    """Lone surrogates, which servers do emit for cut-off emoji, are the client's to judge."""
    try:
        return json.loads(document)
    except (ValueError, RecursionError):
        raise invalid("the answer is not JSON") from None


def invalid(why: str) -> UpstreamError:
    """The fault of an answer that cannot be passed on."""
    return UpstreamError("invalid", why, sent=True)
