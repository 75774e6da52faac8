"""An in-memory client of an ASGI application, and a server that answers from a script."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from gateway._core import Decision, DecisionLog, Engine, LimitTable, PolicySet
from gateway.asgi import Headers, Message, Receive, Scope, Send
from gateway.downstream.http import HttpDoor
from gateway.downstream.visit import Bounds, Service
from gateway.enforcement import EnforcementPoint, Traffic
from gateway.identity import GrantIdentity
from gateway.sessions import Sessions
from gateway.settings import Address, Settings

if TYPE_CHECKING:
    from gateway.approvals.desk import Desk
    from gateway.mcp import Exchange

T = TypeVar("T")

LEGACY = "2025-11-25"
MODERN = "2026-07-28"
HOST = b"127.0.0.1:8080"
EVENTS: Headers = [(b"content-type", b"text/event-stream")]
JSON: Headers = [(b"content-type", b"application/json")]
WAIT_S = 10.0
"""Bound on every wait of a test; reached only by a failing one."""


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a test's coroutine with a bound."""

    async def bounded() -> T:
        async with asyncio.timeout(WAIT_S):
            return await coroutine

    return asyncio.run(bounded())


def message(method: str, params: dict[str, Any] | None = None, *, id: Any = 1) -> dict[str, Any]:
    """A legacy request; a notification where `id` is None."""
    body: dict[str, Any] = {"jsonrpc": "2.0"}
    if id is not None:
        body["id"] = id
    body["method"] = method
    if params is not None:
        body["params"] = params
    return body


def call(tool: str, *, id: Any = 1, arguments: dict[str, Any] | None = None) -> dict[str, Any]:
    """A legacy tools/call."""
    return message("tools/call", {"name": tool, "arguments": arguments or {}}, id=id)


def modern(request: dict[str, Any], **capabilities: Any) -> dict[str, Any]:
    """The same as a request of the stateless era."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": capabilities,
    }
    params = {**request.get("params", {}), "_meta": meta}
    return {**request, "params": params}


def modern_headers(method: str, name: str | None = None) -> Headers:
    """The fields that a modern request mirrors."""
    fields = [(b"mcp-protocol-version", MODERN.encode()), (b"mcp-method", method.encode())]
    return fields if name is None else [*fields, (b"mcp-name", name.encode())]


def result(id: Any = 1, **members: Any) -> bytes:
    """A JSON-RPC result."""
    return json.dumps({"jsonrpc": "2.0", "id": id, "result": members}).encode()


def event(data: bytes) -> bytes:
    """One event of a stream."""
    return b"data: " + data + b"\n\n"


@dataclass
class Reply:
    """What a client saw."""

    messages: list[Message] = field(default_factory=list)
    broken: BaseException | None = None
    """How the application ended, if not by returning."""

    @property
    def status(self) -> int:
        start = self.messages[0]
        assert start["type"] == "http.response.start"
        return int(start["status"])

    @property
    def headers(self) -> Headers:
        return list(self.messages[0]["headers"])

    def header(self, name: bytes) -> bytes | None:
        values = [value for key, value in self.headers if key == name]
        assert len(values) < 2, f"{name!r} is there twice"
        return values[0] if values else None

    @property
    def body(self) -> bytes:
        return b"".join(m.get("body", b"") for m in self.messages[1:])

    @property
    def complete(self) -> bool:
        return len(self.messages) > 1 and not self.messages[-1].get("more_body", False)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def json_events(self) -> list[Any]:
        """The payloads of an event stream whose events have one line each."""
        events = self.body.split(b"\n\n")
        return [json.loads(one.removeprefix(b"data: ")) for one in events if one]

    @property
    def code(self) -> str | None:
        """The slug of a refusal, wherever it stands."""
        answer = self.json
        if "error" in answer:
            return str(answer["error"]["data"]["code"])
        return str(answer["result"]["_meta"]["interlock/decision"]["code"])


class Client:
    """One request at a time to an application, with control over disconnects."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self.app = app

    async def request(
        self,
        method: str,
        body: bytes = b"",
        headers: Headers | None = None,
        *,
        path: bytes = b"/mcp",
        gone: asyncio.Event | None = None,
        on_send: Callable[[Message], Awaitable[None]] | None = None,
        **scope: Any,
    ) -> Reply:
        """Send one request and collect what comes back.

        Args:
            headers: besides Host.
            gone: set when the client disconnects.
            on_send: awaited for each message, before the application goes on.
            scope: replaces entries of the scope.
        """
        reply = Reply()
        fields = [*(headers or [])]
        if not any(name == b"host" for name, _ in fields):
            fields.insert(0, (b"host", HOST))
        pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        gone = gone or asyncio.Event()

        async def receive() -> Message:
            if pending:
                return pending.pop(0)
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(sent: Message) -> None:
            reply.messages.append(sent)
            if on_send is not None:
                await on_send(sent)

        full: Scope = {
            "type": "http",
            "http_version": "1.1",
            "scheme": "http",
            "method": method,
            "path": path.decode(),
            "raw_path": path,
            "query_string": b"",
            "headers": fields,
            "server": ("127.0.0.1", 8080),
            "client": ("127.0.0.1", 50000),
            "extensions": {},
            **scope,
        }
        try:
            await self.app(full, receive, send)
        except Exception as error:
            reply.broken = error
        return reply

    async def post(self, body: Any, headers: Headers | None = None, **options: Any) -> Reply:
        """POST a message, given as bytes or as what `json` can write."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = [
            (b"content-type", b"application/json"),
            (b"accept", b"application/json, text/event-stream"),
        ]
        given = headers or []
        fields = [pair for pair in fields if pair[0] not in {name for name, _ in given}]
        return await self.request("POST", raw, [*fields, *given], **options)

    async def post_modern(self, body: dict[str, Any], **options: Any) -> Reply:
        """POST a request of the stateless era with the fields that belong to it."""
        params = body.get("params", {})
        headers = modern_headers(body["method"], params.get("name") or params.get("uri"))
        return await self.post(modern(body), headers, **options)


@dataclass
class Seen:
    """One request as a server saw it."""

    method: str
    headers: Headers
    body: bytes
    exchange: Exchange
    cancelled: bool = False

    def header(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.headers if key == name), None)


Script = Callable[[Seen, Send], Awaitable[None]]


class ScriptedUpstream:
    """A server that remembers what it was asked and answers by a function."""

    def __init__(self, script: Script | None = None) -> None:
        self.script = script or answer_json()
        self.seen: list[Seen] = []
        self.finished = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = (await receive())["body"]
        exchange = scope["extensions"]["interlock"]
        seen = Seen(scope["method"], scope["headers"], body, exchange)
        self.seen.append(seen)
        try:
            await self.script(seen, send)
        except asyncio.CancelledError:
            seen.cancelled = True
            raise
        self.finished += 1


def answer(status: int, headers: Headers, *pieces: bytes) -> Script:
    """Always this answer, its body in these pieces."""

    async def script(seen: Seen, send: Send) -> None:
        await start(send, status, headers)
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return script


def answer_json(body: bytes | None = None, *, status: int = 200, headers: Headers = []) -> Script:  # noqa: B006
    """This document, or an empty result with the request's id."""

    async def script(seen: Seen, send: Send) -> None:
        decision = seen.exchange.decision
        if body is None and decision is not None and decision.kind != "request":
            await answer(202, [])(seen, send)
            return
        document = body if body is not None else _empty_result(seen)
        await answer(status, [(b"content-type", b"application/json"), *headers], document)(
            seen, send
        )

    return script


def answer_events(*pieces: bytes, headers: Headers = []) -> Script:  # noqa: B006
    """An event stream in these pieces."""
    return answer(200, [(b"content-type", b"text/event-stream"), *headers], *pieces)


async def start(send: Send, status: int, headers: Headers) -> None:
    """Send the head of an answer."""
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})


async def piece(send: Send, body: bytes) -> None:
    """Send a piece of a body that goes on."""
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def end(send: Send) -> None:
    """End a body."""
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _empty_result(seen: Seen) -> bytes:
    decision = seen.exchange.decision
    raw_id = decision.request_id if decision is not None else None
    return b'{"jsonrpc":"2.0","id":%b,"result":{"content":[]}}' % (raw_id or b"null")


ALLOW = b'{"version":"1","default":"allow"}'


class SettlingEngine:
    """An engine that also remembers how each decision was settled."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.outcomes: list[str] = []

    def settle(self, decision: Decision, outcome: Any, **how: Any) -> None:
        self.outcomes.append(outcome)
        self._engine.settle(decision, outcome, **how)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


class Rig:
    """A door in front of scripted servers.

    Args:
        script: what the server does.
        policy: the document.
        grants: grants to give a route, the first of them being who everyone is.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        policy: bytes = ALLOW,
        grant: str = "default",
        table: LimitTable | None = None,
        bounds: Bounds | None = None,
        desk: Desk | None = None,
        log: DecisionLog | None = None,
        **settings: Any,
    ) -> None:
        self.table = table or LimitTable()
        self.upstream = ScriptedUpstream(script)
        self.engine = SettlingEngine(
            Engine(
                PolicySet.parse(policy, name="policy.json"),
                self.table,
                log=log,
                approvals=desk is not None,
            )
        )
        self.point = EnforcementPoint(self.engine, log, desk)  # type: ignore[arg-type]
        self.sessions = Sessions(self.table, "default")
        self.traffic = Traffic()
        service = Service(
            "default", self.upstream, {grant: self.point}, self.sessions, self.traffic
        )
        paths = (b"/mcp", b"/mcp/", b"/mcp/default", b"/mcp/default/")
        self.door = HttpDoor(
            Settings(servers=(), listen=Address("127.0.0.1", 8080), **settings),
            dict.fromkeys(paths, service),
            GrantIdentity(Settings(servers=(), anonymous=grant)),
            bounds,
            log,
        )
        self.client = Client(self.door)

    async def open_session(self, session: bytes = b"s1", revision: str = LEGACY) -> Headers:
        """Initialize through the door; the header fields of the session's requests."""
        script, self.upstream.script = (
            self.upstream.script,
            answer_json(
                result(0, protocolVersion=revision, capabilities={}),
                headers=[(b"mcp-session-id", session)],
            ),
        )
        params = {"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "t"}}
        reply = await self.client.post(message("initialize", params, id=0))
        assert reply.status == 200, reply.messages
        self.upstream.script = script
        self.upstream.seen.clear()
        self.engine.outcomes.clear()
        return [(b"mcp-session-id", session), (b"mcp-protocol-version", revision.encode())]
