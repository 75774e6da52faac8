"""One conversation with a server: requests out, their results back, over stdio or HTTP.

INVARIANT: all that is held of a server is bounded, and nothing it says is obeyed; what it asks is
refused.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from gateway.author.targets import ScanError, Target
from gateway.author.tools import Unreadable, strict
from gateway.errors import SettingsError, UpstreamError
from gateway.sse import EventCutter, EventTooLong
from gateway.upstream.child import Child, environment, printable
from gateway.upstream.dial import Address, Dialer

if TYPE_CHECKING:
    from gateway.asgi import Headers
    from gateway.upstream.connection import Connection
    from gateway.upstream.lines import Id

ANSWER_BYTES = 8 << 20
"""The longest answer that is read."""
CONNECT_S = 10.0
MODERN = "2026-07-28"
"""The revision of the requests that are sent without a handshake."""

_SILENCE_S = 60.0
_CLOSE_S = 2.0
_REMARKS = 20
_REMARK_CHARS = 300
_STATUS_HELP = {
    401: "it asks for credentials: give them with `--header`",
    403: "it refuses the credentials, or that it is reached by this name",
    404: "is the path right? it often ends in /mcp",
    405: "it may speak the older HTTP+SSE transport, which is not spoken here",
}
_logger = logging.getLogger("interlock.upstream")


class Refusal(Exception):
    """A JSON-RPC error, or an HTTP status that stands for one."""


class Talk(Protocol):
    """A way to ask one server."""

    async def ask(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """The result of a request.

        Raises:
            Refusal: the server answers with an error.
            ScanError: it does not answer.
        """

    async def tell(self, method: str) -> None:
        """Send a notification."""


@asynccontextmanager
async def opened(target: Target, *, modern: bool) -> AsyncIterator[Talk]:
    """A conversation with a server that no one has spoken to yet.

    Args:
        modern: which era its requests are of, which HTTP tells in header fields.

    Raises:
        ScanError: the server cannot be started or reached.
    """
    if target.url is not None:
        talk = _HttpTalk(target, modern=modern)
        try:
            yield talk
        finally:
            await talk.close()
        return
    remarks = _Remarks()
    _logger.addHandler(remarks)
    try:
        loop = asyncio.get_running_loop()
        variables = environment(target.env, os.environ)
        try:
            child = await Child.spawn(
                target.command, variables, name=remarks.key, clock=loop, line_bytes=ANSWER_BYTES
            )
        except UpstreamError as error:
            raise ScanError(str(error)) from error
        try:
            yield _StdioTalk(child, target, remarks)
        finally:
            await child.stop()
    finally:
        _logger.removeHandler(remarks)


class _Remarks(logging.Handler):
    """The last lines of free text that one child wrote."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        _logger.setLevel(logging.INFO)
        self.key = f"scan-{id(self)}"
        self._lines: deque[str] = deque(maxlen=_REMARKS)

    def emit(self, record: logging.LogRecord) -> None:
        args = record.args
        if isinstance(args, tuple) and len(args) == 2 and args[0] == self.key:
            self._lines.append(str(args[1]))

    def last(self) -> str:
        """The line that is likeliest to say what went wrong."""
        return next((line for line in reversed(self._lines) if line.strip()), "")[:_REMARK_CHARS]


class _StdioTalk:
    """JSON-RPC in lines, with a child that is nobody else's."""

    def __init__(self, child: Child, target: Target, remarks: _Remarks) -> None:
        self._child = child
        self._target = target
        self._remarks = remarks
        self._messages = child.messages()
        self._number = 0

    async def ask(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        self._number += 1
        try:
            await self._child.write(_request(self._number, method, params))
            async for line in self._messages:
                if line.kind == "response" and line.id == self._number:
                    return _result(line.raw)
                if line.kind == "request" and line.id is not None:
                    self._child.post(_decline(line.id, str(line.method)))
        except UpstreamError as error:
            raise self._lost() from error
        raise self._lost()

    async def tell(self, method: str) -> None:
        self._child.post(orjson.dumps({"jsonrpc": "2.0", "method": method}))

    def _lost(self) -> ScanError:
        if self._child.fault is not None:
            return ScanError(f"it answers no MCP: {self._child.fault}")
        said = self._target.redact(self._remarks.last())
        return ScanError("it ended without an answer" + (f"; it said: {said}" if said else ""))


class _HttpTalk:
    """JSON-RPC over Streamable HTTP, a connection for each request."""

    def __init__(self, target: Target, *, modern: bool) -> None:
        assert target.url is not None
        try:
            self._address = Address.parse(target.url)
            self._dialer = Dialer(self._address, ca_file=target.ca_file, timeout_s=CONNECT_S)
        except SettingsError as error:
            raise ScanError(target.redact(str(error))) from error
        self._target = target
        self._modern = modern
        self._session: bytes | None = None
        self._revision = b""
        self._number = 0

    async def ask(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        self._number += 1
        result = await self._exchange(method, _request(self._number, method, params))
        if result is None:
            raise ScanError("its answer has no response to the request")
        if method == "initialize" and isinstance(result.get("protocolVersion"), str):
            self._revision = result["protocolVersion"].encode("ascii", "replace")
        return result

    async def tell(self, method: str) -> None:
        await self._exchange(method, orjson.dumps({"jsonrpc": "2.0", "method": method}))

    async def close(self) -> None:
        """End the session, if there is one; a server need not know how."""
        if self._session is not None:
            with suppress(ScanError, Refusal, TimeoutError):
                async with asyncio.timeout(_CLOSE_S):
                    await self._exchange("", b"", verb=b"DELETE")

    async def _exchange(
        self, method: str, body: bytes, *, verb: bytes = b"POST"
    ) -> dict[str, Any] | None:
        try:
            connection = await self._dialer.dial()
            try:
                connection.request(verb, self._dialer.target, self._fields(method, body), body)
                status, fields = await connection.response(_SILENCE_S)
                return await self._answer(connection, status, dict(fields))
            finally:
                connection.abort()
        except UpstreamError as error:
            raise ScanError(str(error)) from error

    async def _answer(
        self, connection: Connection, status: int, fields: dict[bytes, bytes]
    ) -> dict[str, Any] | None:
        if session := fields.get(b"mcp-session-id"):
            self._session = session
        events = fields.get(b"content-type", b"").startswith(b"text/event-stream")
        cutter = EventCutter(limit=ANSWER_BYTES)
        held = bytearray()
        size, more = 0, True
        while more:
            piece, more = await connection.read(_SILENCE_S)
            size += len(piece)
            if size > ANSWER_BYTES:
                raise ScanError("its answer is too long")
            if not events:
                held += piece
                continue
            try:
                for event in cutter.feed(piece):
                    if (data := event.data) and self._answers(data):
                        return _result(data)
            except EventTooLong as error:
                raise ScanError("its answer is too long") from error
        if 200 <= status < 300:
            return _result(bytes(held)) if held.strip() and self._answers(bytes(held)) else None
        help = _STATUS_HELP.get(status)
        raise Refusal(f"it answers with HTTP status {status}" + (f"; {help}" if help else ""))

    def _answers(self, data: bytes) -> bool:
        """Whether a message is the response to the last request."""
        try:
            message = strict(data)
        except Unreadable as error:
            raise ScanError(f"it answers no MCP: {error}") from error
        if not isinstance(message, dict):
            return False
        # An error may leave the id out where the server could not read it.
        return message.get("id") == self._number or ("error" in message and "id" not in message)

    def _fields(self, method: str, body: bytes) -> Headers:
        fields: Headers = [
            (b"host", self._address.authority),
            (b"accept", b"application/json, text/event-stream"),
            (b"accept-encoding", b"identity"),
            (b"connection", b"close"),
            *self._dialer.headers,
        ]
        if body:
            fields.append((b"content-type", b"application/json"))
        fields.append((b"content-length", b"%d" % len(body)))
        if self._modern:
            fields += [(b"mcp-protocol-version", MODERN.encode()), (b"mcp-method", method.encode())]
        elif self._revision:
            fields.append((b"mcp-protocol-version", self._revision))
        if self._session is not None:
            fields.append((b"mcp-session-id", self._session))
        own = {name for name, _ in fields}
        given = [(k.lower().encode(), v.encode()) for k, v in self._target.headers.items()]
        return fields + [field for field in given if field[0] not in own]


def _request(number: int, method: str, params: Mapping[str, Any]) -> bytes:
    return orjson.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": dict(params)})


def _decline(ident: Id, method: str) -> bytes:
    """The answer to what a server asks: it gets a ping back, and nothing else."""
    message: dict[str, Any] = {"jsonrpc": "2.0", "id": ident}
    if method == "ping":
        return orjson.dumps({**message, "result": {}})
    return orjson.dumps({**message, "error": {"code": -32601, "message": "method not found"}})


def _result(raw: bytes) -> dict[str, Any]:
    try:
        message = strict(raw)
    except Unreadable as error:
        raise ScanError(f"it answers no MCP: {error}") from error
    if "error" in message:
        fault = message["error"]
        told = fault.get("message") if isinstance(fault, dict) else None
        raise Refusal(f"it answers with an error: {printable(str(told).encode())[:_REMARK_CHARS]}")
    result = message.get("result")
    if not isinstance(result, dict):
        raise ScanError("it answers no MCP: a result is no object")
    return result
