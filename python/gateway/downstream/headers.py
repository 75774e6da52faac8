"""Which header fields travel through, in either direction.

INVARIANT: a field passes only because it is listed here. Credentials, cookies, challenges,
redirects, framing and whatever claims where a request came from are on no list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.mcp import LAST_EVENT_ID, SESSION_ID

if TYPE_CHECKING:
    from gateway.asgi import Headers

_REQUEST = frozenset(
    {b"accept", b"content-type", b"user-agent", b"traceparent", b"tracestate", b"baggage"}
)
_MCP_PREFIX = b"mcp-"
TRACEPARENT = b"traceparent"

_RESPONSE = frozenset(
    {
        b"allow",
        b"cache-control",
        b"content-language",
        b"content-type",
        b"etag",
        b"expires",
        b"last-modified",
        b"mcp-protocol-version",
        b"retry-after",
        b"x-accel-buffering",
    }
)


def for_upstream(
    headers: Headers, *, session: str | None, resumes: bool, traceparent: bytes | None = None
) -> Headers:
    """The fields of a request that its server may see, values untouched.

    Args:
        session: the session that was checked, if the request has one.
        resumes: whether `Last-Event-ID` means something on this request.
        traceparent: takes the place of the client's, if it is given.
    """
    named = named_by_connection(headers)
    kept: Headers = []
    for name, value in headers:
        if name == SESSION_ID:
            passes = session is not None
        elif name == LAST_EVENT_ID:
            passes = resumes and session is not None
        else:
            passes = name in _REQUEST or name.startswith(_MCP_PREFIX)
            passes = passes and (traceparent is None or name != TRACEPARENT)
        if passes and name not in named:
            kept.append((name, value))
    if traceparent is not None:
        kept.append((TRACEPARENT, traceparent))
    return kept


def for_client(headers: Headers) -> Headers:
    """The fields of a server's answer that its client may see; the session id is not this list's
    matter."""
    return [(name, value) for name, value in headers if name in _RESPONSE]


def first(headers: Headers, name: bytes) -> bytes | None:
    """The value of the first field of this name."""
    return next((value for key, value in headers if key == name), None)


def named_by_connection(headers: Headers) -> frozenset[bytes]:
    """Names of fields that the sender declared to be for this hop only."""
    listed = b",".join(value for name, value in headers if name == b"connection")
    return frozenset(token.strip().lower() for token in listed.split(b","))
