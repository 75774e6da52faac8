"""Requests, put together from what differs between them; the host stands as `HOST`."""

from __future__ import annotations

import json
from typing import Any

from support.doors import NAME

LEGACY, MODERN = "2025-11-25", "2026-07-28"
JSON = b"Content-Type: application/json"
CHUNKED = b"Transfer-Encoding: chunked"
MAX_BODY = 1 << 20


def message(method: str, params: Any = None, *, id: Any = 1) -> bytes:
    """A message; a notification where `id` is None."""
    whole: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
    if id is not None:
        whole["id"] = id
    if params is not None:
        whole["params"] = params
    return json.dumps(whole).encode()


def call(tool: str, *, id: Any = 1, **arguments: Any) -> bytes:
    return message("tools/call", {"name": tool, "arguments": arguments}, id=id)


def modern(method: str, params: Any = None, *, id: Any = 1) -> bytes:
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    return message(method, {**(params or {}), "_meta": meta}, id=id)


def routed(method: str, *more: bytes) -> tuple[bytes, ...]:
    return (b"MCP-Protocol-Version: 2026-07-28", b"Mcp-Method: " + method.encode(), *more)


def post(
    body: bytes,
    *fields: bytes,
    target: bytes = b"/mcp",
    host: bytes = b"Host: HOST",
    kind: bytes | None = JSON,
    length: bytes | None = None,
) -> bytes:
    """A POST with one length."""
    lines = [b"POST %b HTTP/1.1" % target, host, *([kind] if kind is not None else []), *fields]
    lines.append(length if length is not None else b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body])


def bare(method: bytes, *fields: bytes, target: bytes = b"/mcp") -> bytes:
    """A request without a body."""
    return b"\r\n".join([b"%b %b HTTP/1.1" % (method, target), b"Host: HOST", *fields, b"", b""])


def chunked(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    coded = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + end
    lines = [b"POST /mcp HTTP/1.1", b"Host: HOST", JSON, CHUNKED, b"", coded]
    return b"\r\n".join(lines)


def cut(data: bytes, *at: int) -> tuple[bytes, ...]:
    """The same bytes in pieces."""
    data = data.replace(b"HOST", NAME)
    ends = [*sorted(one % (len(data) + 1) for one in at), len(data)]
    return tuple(data[a:b] for a, b in zip([0, *ends], ends, strict=False) if a < b)


GOOD = call("t")
WHOLE = post(GOOD)
DENIED = post(call("denied", id=2))
INITIALIZE = post(
    message(
        "initialize",
        {
            "protocolVersion": LEGACY,
            "capabilities": {},
            "clientInfo": {"name": "c", "version": "1"},
        },
        id=0,
    )
)
SESSION = b"Mcp-Session-Id: session-1"
VERSION = b"MCP-Protocol-Version: 2025-11-25"
PAD = call("t", x="%").partition(b"%")
BATCH = b"[" + message("ping") + b"," + call("t", id=2) + b"]"
OLD = INITIALIZE.replace(b"2025-11-25", b"2025-03-26")


def padded(size: int) -> bytes:
    """A call of so many bytes."""
    return PAD[0] + b"x" * (size - len(PAD[0]) - len(PAD[2])) + PAD[2]
