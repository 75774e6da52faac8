"""Approvals on the operators' port: read, and decided.

INVARIANT: nothing is shown or decided but for who shows the operators' token, on loopback too,
since an agent may be on this machine as well. A page in a browser cannot decide anything: it would
need the token in a field of the head, and a body that is called JSON.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl

import orjson

from gateway.approvals.store import Approvals, State, StoreError
from gateway.approvals.words import data, visible

if TYPE_CHECKING:
    from gateway.approvals.settings import ApprovalSettings
    from gateway.asgi import Receive, Scope
    from gateway.settings import Settings

MAX_BODY_BYTES = 8 << 10
MAX_BY = 200
"""Characters of who decides."""
MAX_REMARK = 2000
"""Characters of why."""
MAX_LISTED = 100
BODY_TIMEOUT_S = 10.0

_VERBS = {"approve": True, "deny": False}
_TOKEN_HELP = "set `admin_token_sha256` in the configuration: `interlock grant create operators`"
_STORE_HELP = "name a file with `--approvals`, or `approvals` in the configuration"
_BODY_HELP = 'for example {"by": "ann", "remark": "as agreed"}'

T = TypeVar("T")

_log = logging.getLogger("interlock.approvals")


class Refusal(Exception):
    """An answer that is no success: its status, what is wrong, and what helps."""

    def __init__(self, status: int, error: str, help: str | None = None) -> None:
        super().__init__(error)
        self.status = status
        self.body = {"error": error} | ({} if help is None else {"help": help})


def method_of(path: str) -> str:
    """By what a path may be asked for."""
    return "POST" if path.rpartition("/")[2] in _VERBS else "GET, HEAD"


async def answer(scope: Scope, receive: Receive, settings: Settings) -> tuple[int, bytes]:
    """The answer to a request that showed the operators' token, if there is one: status and JSON.

    Args:
        settings: with the token, without which everything is refused.
    """
    try:
        if settings.admin_token is None:
            raise Refusal(403, "approvals are told and decided with a token only", _TOKEN_HELP)
        if settings.approvals is None:
            raise Refusal(404, "no approvals are kept here", _STORE_HELP)
        return 200, await _answer(scope, receive, settings.approvals)
    except Refusal as refusal:
        return refusal.status, orjson.dumps(refusal.body, option=orjson.OPT_APPEND_NEWLINE)


async def _answer(scope: Scope, receive: Receive, settings: ApprovalSettings) -> bytes:
    path: str = scope["path"]
    if scope["method"] not in method_of(path).split(", "):
        raise Refusal(405, f"this is asked for by {method_of(path)}")
    match path.split("/")[2:]:
        case []:
            state = _state(scope)
            return await asyncio.to_thread(_list, settings, state)
        case [id]:
            return await asyncio.to_thread(_show, settings, id)
        case [id, verb] if verb in _VERBS:
            by, remark = _said(scope, await _body(scope, receive))
            return await asyncio.to_thread(_decide, settings, id, by, remark, approve=_VERBS[verb])
        case _:
            raise Refusal(404, "there is nothing here")


def _list(settings: ApprovalSettings, state: State | None) -> bytes:
    with _open(settings) as store:
        found = _told(lambda: store.all(time.time(), state, MAX_LISTED + 1))
    listed = [data(each) for each in found[:MAX_LISTED]]
    return _json({"approvals": listed, "more": len(found) > MAX_LISTED})


def _show(settings: ApprovalSettings, id: str) -> bytes:
    with _open(settings) as store:
        found = _told(lambda: store.get(id, time.time()))
    if found is None:
        raise Refusal(404, "there is no approval of this id")
    return _json(data(found))


def _decide(
    settings: ApprovalSettings, id: str, by: str, remark: str | None, *, approve: bool
) -> bytes:
    now_s = time.time()
    with _open(settings) as store:
        found = _told(lambda: store.decide(id, approve=approve, by=by, remark=remark, now_s=now_s))
        there = found or _told(lambda: store.get(id, now_s))
    if there is None:
        raise Refusal(404, "there is no approval of this id")
    if found is None:
        raise Refusal(
            409,
            f"it is {there.state.value} and cannot be decided",
            "the same call, made again, asks anew",
        )
    _log.info("approval `%s` is %s by %s", found.id, found.state.value, visible(by))
    return _json(data(found))


def _open(settings: ApprovalSettings) -> closing[Approvals]:
    return closing(
        _told(
            lambda: Approvals(
                settings.path, pending_s=settings.pending_s, approved_s=settings.approved_s
            )
        )
    )


def _told(step: Callable[[], T]) -> T:
    try:
        return step()
    except StoreError as error:
        raise Refusal(503, str(error)) from error


def _state(scope: Scope) -> State | None:
    """The one state that is asked for."""
    asked = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
    match asked:
        case []:
            return None
        case [("state", state)] if state in set(State):
            return State(state)
        case _:
            known = ", ".join(State)
            raise Refusal(400, "only `state` may be asked for, once", f"one of {known}")


async def _body(scope: Scope, receive: Receive) -> bytes:
    kinds = [value for name, value in scope["headers"] if name == b"content-type"]
    kind = kinds[0].partition(b";")[0].strip().lower() if len(kinds) == 1 else b""
    if kind != b"application/json":
        raise Refusal(415, "the body must be called application/json", _BODY_HELP)
    body = b""
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while True:
                event = await receive()
                body += bytes(event.get("body", b""))
                if len(body) > MAX_BODY_BYTES:
                    raise Refusal(413, f"the body has more than {MAX_BODY_BYTES} bytes")
                if event["type"] != "http.request" or not event.get("more_body", False):
                    return body
    except TimeoutError as error:
        raise Refusal(408, "the body did not come") from error


def _said(scope: Scope, body: bytes) -> tuple[str, str | None]:
    """Who decides, and why."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refusal(400, "the body is not JSON", _BODY_HELP) from error
    if not isinstance(said, dict) or not said.keys() <= {"by", "remark"}:
        raise Refusal(400, "the body says `by` and `remark`, and nothing else", _BODY_HELP)
    by, remark = said.get("by"), said.get("remark")
    if not isinstance(by, str) or not by.strip() or len(by) > MAX_BY:
        raise Refusal(400, f"`by` says who decides, in at most {MAX_BY} characters", _BODY_HELP)
    if remark is not None and (not isinstance(remark, str) or len(remark) > MAX_REMARK):
        raise Refusal(400, f"`remark` is a text of at most {MAX_REMARK} characters", _BODY_HELP)
    return by, remark


def _json(value: Any) -> bytes:
    told: bytes = orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    return told
