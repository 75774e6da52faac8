"""The operators' port: health, versions, policies, limits and metrics, and the approvals.

INVARIANT: whatever is asked, nothing changes but an approval that is decided; and a page in a
browser that was led here by a name of its own making (DNS rebinding) reads nothing. Off loopback,
what is neither health nor metrics is told to who shows the operators' token, and to nobody else;
approvals on loopback, too (`gateway.operate.approvals`).
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

import orjson

from gateway import eventloop
from gateway._core import fingerprint
from gateway.operate.metrics import CONTENT_TYPE, OPENMETRICS, openmetrics, versions
from gateway.operate.turns import Turns

if TYPE_CHECKING:
    from gateway.asgi import ASGIApp, Receive, Scope, Send
    from gateway.operate.report import Topic
    from gateway.settings import Settings

Answer = tuple[int, str, bytes]
"""Status, content type, body."""

_JSON = "application/json"
_APPROVALS = "/approvals"
_FOR_ALL = ("/livez", "/readyz", "/metrics")
"""What a kubelet and a scraper ask for, and no token of theirs is known."""
_IN_TURN = ("/policies", "/limits", "/metrics")
"""What grows with the policies; the others are small, and a kubelet's are urgent."""
MAX_CONNECTIONS = 128
"""At the operators' port. Each scraper keeps one, and those who wait for their turn wait here."""


Ask = Callable[["Topic"], Awaitable[bytes]]
"""What there is to tell of a topic, now (`gateway.operate.report.tell`)."""


def create_admin(ask: Ask, settings: Settings) -> ASGIApp:
    """The admin port as an ASGI application.

    Args:
        ask: for what there is to tell.
        settings: for the hosts that a request may name, and the token that it may need.
    """
    admin = settings.admin
    hosts = frozenset({*settings.allowed_hosts, *([admin.host] if admin is not None else [])})
    turns = Turns()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        allow = "GET, HEAD"
        path: str = scope["path"]
        refusal = None if path in _FOR_ALL else _unknown(scope, settings)
        refusal = refusal or _elsewhere(scope, hosts)
        if refusal is not None:
            await _send(send, refusal, allow)
        elif path == _APPROVALS or path.startswith(_APPROVALS + "/"):
            from gateway.operate import approvals  # SQLite is loaded where it is asked for

            status, body = await approvals.answer(scope, receive, settings)
            await _send(send, (status, _JSON, body), approvals.method_of(path))
        elif path in _IN_TURN:

            async def tell() -> None:
                async with turns.place():
                    answer = await turns.take(lambda: _answer(scope, ask, settings))
                    await _send(send, answer, allow)

            await _while_there(receive, tell())
        else:
            await _send(send, await _answer(scope, ask, settings), allow)

    return app


async def _while_there(receive: Receive, serving: Coroutine[Any, Any, None]) -> None:
    """Serve a client, unless it leaves: who does not wait for a turn any more takes nobody's."""

    async def leave() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async with asyncio.TaskGroup() as group:
        both = {group.create_task(serving), group.create_task(leave())}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for task in both:
            task.cancel()


async def _send(send: Send, answer: Answer, allow: str) -> None:
    """Until the client has taken nearly all of it."""
    status, content_type, body = answer
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", content_type.encode()),
                (b"content-length", b"%d" % len(body)),
                (b"cache-control", b"no-store"),
                (b"x-content-type-options", b"nosniff"),
                *([(b"allow", allow.encode())] if status == 405 else []),
                *([(b"www-authenticate", b"Bearer")] if status == 401 else []),
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def _answer(scope: Scope, ask: Ask, settings: Settings) -> Answer:
    if scope["method"] not in ("GET", "HEAD"):
        return _json(405, {"error": "this is read only"})
    match scope["path"]:
        case "/livez":
            return _json(200, {"live": True})
        case "/version":
            return _json(200, {**versions(), "loop": eventloop.name()})
        case "/readyz":
            reasons = orjson.loads(await ask("ready"))
            told = {"ready": not reasons, "reasons": reasons}
            stale = orjson.loads(await ask("stale"))
            if _unknown(scope, settings) is not None:
                # Whoever can connect learns that a file cannot be used, and not what is in it.
                stale["files"] = [{"what": one["what"]} for one in stale["files"]]
            if any(stale.values()):
                told["stale"] = stale
            return _json(503 if reasons else 200, told)
        case "/policies":
            return 200, _JSON, await ask("policies")
        case "/limits":
            return 200, _JSON, await ask("limits")
        case "/metrics":
            text = await ask("metrics")
            if _wants_openmetrics(scope):
                return 200, OPENMETRICS, openmetrics(text)
            return 200, CONTENT_TYPE, text
        case _:
            return _json(404, {"error": "there is nothing here"})


def _unknown(scope: Scope, settings: Settings) -> Answer | None:
    """The refusal of a request that does not come from an operator, as far as can be told."""
    if settings.admin_token is not None:
        shown = [value for name, value in scope["headers"] if name == b"authorization"]
        token = fingerprint(shown[0]) if len(shown) == 1 else None
        # Digests are compared, and in constant time besides.
        if token is None or not hmac.compare_digest(token, settings.admin_token):
            return _json(401, {"error": "the operators' token is needed"})
    elif settings.admin is not None and not settings.admin.loopback:
        help = "set `admin_token_sha256` in the configuration, or ask on loopback"
        return _json(403, {"error": "this is not told beyond this machine", "help": help})
    return None


def _elsewhere(scope: Scope, hosts: frozenset[str]) -> Answer | None:
    """The refusal of a request that is addressed to another host."""
    if _addressed_to_us(scope, hosts):
        return None
    return _json(403, {"error": "this host is not served here"})


def _wants_openmetrics(scope: Scope) -> bool:
    """Whether that format is accepted at all: who knows it prefers it."""
    kinds = [
        kind.partition(b";")[0].strip().lower()
        for name, value in scope["headers"]
        if name == b"accept"
        for kind in value.split(b",")
    ]
    return b"application/openmetrics-text" in kinds


def _addressed_to_us(scope: Scope, hosts: frozenset[str]) -> bool:
    """Whether the one Host field names this machine: by address, as localhost, or as we are told.

    An address cannot be rebound, so any will do; a name can.
    """
    values = [value for name, value in scope["headers"] if name == b"host"]
    if len(values) != 1:
        return False
    name = _host_name(values[0].decode("latin-1"))
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost" or name in hosts
    return True


def _host_name(field: str) -> str:
    """The host of a Host field, without its port and an IPv6 address's brackets."""
    if field.startswith("["):
        return field[1:].partition("]")[0]
    return field.partition(":")[0].lower()


def _json(status: int, value: Any) -> Answer:
    return status, _JSON, orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
