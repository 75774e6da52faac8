"""Which revisions a child speaks, and how a client of the other era is told.

A process serves the era of its first request, so the question is put to one that no client talks
to yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from gateway.upstream.answers import error

if TYPE_CHECKING:
    from gateway.upstream.lines import Line

LEGACY = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"]
MODERN = ["2026-07-28"]

UNSUPPORTED_VERSION = -32022
METHOD_NOT_FOUND = -32601

STATUS = {
    -32700: 400,
    -32600: 400,
    -32602: 400,
    METHOD_NOT_FOUND: 404,
    -32020: 400,
    -32021: 400,
    UNSUPPORTED_VERSION: 400,
}
"""HTTP status of a modern error that comes alone; any other is 200."""

_VERSION = "io.modelcontextprotocol/protocolVersion"


def discover(ident: int) -> bytes:
    """A `server/discover` request of the gateway's own."""
    meta = {
        _VERSION: MODERN[0],
        "io.modelcontextprotocol/clientInfo": {"name": "interlock", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    method = "server/discover"
    return orjson.dumps(
        {"jsonrpc": "2.0", "id": ident, "method": method, "params": {"_meta": meta}}
    )


def spoken(answer: Line) -> list[str]:
    """The modern revisions of a child by its answer to `discover`; none if it is of the legacy
    era."""
    if answer.error is None:
        return MODERN
    if answer.error != UNSUPPORTED_VERSION:
        return []
    data = orjson.loads(answer.raw)["error"].get("data")
    supported = data.get("supported") if isinstance(data, dict) else None
    if not isinstance(supported, list):
        return []
    return [v for v in supported if isinstance(v, str) and v >= MODERN[0]]


def unsupported(ident: bytes | None, requested: Any, supported: list[str]) -> bytes:
    """The error that makes a client of one era try the other."""
    data = {"supported": supported, "requested": requested}
    message = "the server does not speak this protocol version"
    return error(ident, UNSUPPORTED_VERSION, message, data)


def requested(body: bytes) -> Any:
    """The revision that a client's request asks for, if any."""
    params = orjson.loads(body).get("params") or {}
    meta = params.get("_meta") or {}
    return meta.get(_VERSION, params.get("protocolVersion"))


def refusal(answer: Line, ident: bytes | None, body: bytes) -> tuple[bytes, int]:
    """A child's refusal of `initialize`, and its status: a modern child names its versions."""
    if answer.error == UNSUPPORTED_VERSION:
        return answer.raw, 400
    if answer.error == METHOD_NOT_FOUND:
        return unsupported(ident, requested(body), MODERN), 400
    return answer.raw, 200
