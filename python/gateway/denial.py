"""Answers to what never became a decided message, and the codes of what could not be served.

INVARIANT: one table says which status and JSON-RPC code each slug has; refusals of decided messages
are worded by the core (`Decision.answer`, `Decision.fault`) and by nobody else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import orjson

from gateway.errors import GatewayError, UpstreamReason
from gateway.mcp import is_recent

if TYPE_CHECKING:
    from gateway._core import Decision
    from gateway.asgi import Headers

Answer: TypeAlias = "tuple[int, Headers, bytes]"
"""HTTP status, header fields (`content-type` included, no framing), body."""


@dataclass(frozen=True, slots=True)
class Wording:
    """How one code is said over HTTP."""

    status: int
    rpc_code: int
    message: str


WORDINGS: dict[str, Wording] = {
    "malformed-request": Wording(400, -32600, "the request is not valid HTTP for MCP"),
    "host-not-allowed": Wording(403, -32600, "the Host header names another host"),
    "origin-not-allowed": Wording(403, -32600, "requests from this origin are not allowed"),
    "unauthenticated": Wording(401, -32600, "a valid credential is needed"),
    "no-policy": Wording(403, -32600, "no policy says what may be done here"),
    "not-found": Wording(404, -32600, "there is no MCP server at this path"),
    "session-mismatch": Wording(404, -32600, "the session does not exist"),
    "method-not-allowed": Wording(405, -32600, "only POST, GET and DELETE are served here"),
    "not-acceptable": Wording(406, -32600, "the Accept header excludes every answer MCP has"),
    "request-timeout": Wording(408, -32600, "the body came too slowly"),
    "body-too-large": Wording(413, -32600, "the body is longer than the bound"),
    "unsupported-media-type": Wording(
        415, -32600, "the body must be application/json in UTF-8 and not compressed"
    ),
    "internal-error": Wording(500, -32603, "the gateway failed to serve the request"),
    "upstream-unreachable": Wording(
        502, -32603, "the server could not be reached; nothing was sent"
    ),
    "upstream-failed": Wording(502, -32603, "the server broke off; whether it acted is unknown"),
    "upstream-invalid": Wording(502, -32603, "the server gave an answer that cannot be passed on"),
    "overloaded": Wording(503, -32603, "too many requests are in progress; try again"),
    "log-unavailable": Wording(
        503, -32603, "what is asked cannot be logged at present; nothing is let through"
    ),
    "draining": Wording(503, -32603, "the gateway is shutting down; try again"),
    "table-full": Wording(503, -32603, "no room to remember another session; try again later"),
    "upstream-timeout": Wording(
        504, -32603, "the server did not answer in time; it may have acted"
    ),
}

FAULT_CODES: dict[UpstreamReason, str] = {
    "connect": "upstream-unreachable",
    "tls": "upstream-unreachable",
    "reset": "upstream-failed",
    "exited": "upstream-failed",
    "timeout": "upstream-timeout",
    "invalid": "upstream-invalid",
    "busy": "overloaded",
}

RETRY_AFTER_S = 1
"""What a 503 advises: overload passes quickly, and a drained instance is replaced."""

UNKNOWN_TASK_CODE = "unknown-task"
"""What the decision log calls that; the client is told what a server would tell it."""

UNKNOWN_TASK = -32602
"""JSON-RPC's code for invalid parameters, which is what MCP answers for a task nobody knows."""


class Refused(GatewayError):
    """Ends the handling of a request with this answer.

    Attributes:
        answer: status, header fields, body.
        close: whether the connection cannot be trusted with, or spared for, another request.
        code: why, as the client is told.
        recorded: whether the decision log has been told.
    """

    def __init__(
        self,
        answer: Answer,
        *,
        code: str | None = None,
        close: bool = False,
        recorded: bool = False,
    ) -> None:
        super().__init__(answer[0])
        self.answer = answer
        self.close = close
        self.code = code or _code_of(answer)
        self.recorded = recorded


def _code_of(answer: Answer) -> str:
    """Why, as the client is told."""
    code: str = orjson.loads(answer[2])["error"]["data"]["code"]
    return code


def refuse(
    code: str,
    detail: str | None = None,
    *,
    version: bytes | None = None,
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> Answer:
    """The answer to a request whose id was never read.

    Args:
        code: a key of `WORDINGS`.
        detail: replaces the table's sentence.
        version: the request's version header, which decides how an unknown id is written.
        headers: more fields of the answer.
    """
    wording = WORDINGS[code]
    error = {
        "code": wording.rpc_code,
        "message": detail or wording.message,
        "data": {"code": code},
    }
    body: dict[str, object] = {"jsonrpc": "2.0", "id": None, "error": error}
    if is_recent(version):
        del body["id"]
    fields = [(b"content-type", b"application/json"), *headers]
    if wording.status == 503:
        fields.append((b"retry-after", str(RETRY_AFTER_S).encode()))
    return wording.status, fields, json.dumps(body, separators=(",", ":")).encode()


def fault(decision: Decision | None, code: str) -> Answer:
    """The answer to a request that was let through and could not be served.

    Args:
        decision: its message's; None where it carries none.
        code: a key of `WORDINGS`.
    """
    if decision is None:
        return refuse(code)
    wording = WORDINGS[code]
    return decision.fault(code, wording.message, status=wording.status)


def unknown_task(request_id: bytes) -> Answer:
    """What a server says of a task id that it never gave out.

    Args:
        request_id: the id as it was spelt, raw JSON.
    """
    error = {"code": UNKNOWN_TASK, "message": "unknown task"}
    body = b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (
        request_id,
        json.dumps(error, separators=(",", ":")).encode(),
    )
    return 200, [(b"content-type", b"application/json")], body
