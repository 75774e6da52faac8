"""What an allowed message refers to must be the sender's: tasks, and the server's own requests.

INVARIANT: a task id and a reply pass only for the grant whose call made the task, or whose stream
carried the request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import orjson

from gateway.denial import Refused, refuse, unknown_task
from gateway.sessions import Sessions, read_id

if TYPE_CHECKING:
    from gateway._core import Decision
    from gateway.mcp import Exchange

_TASKS = "tasks/"


def check_claims(exchange: Exchange, decision: Decision, sessions: Sessions) -> list[str]:
    """Check an allowed message.

    Returns:
        Keys of the server's requests that it replies to, to be forgotten once they arrived.

    Raises:
        Refused: it refers to what is not the sender's; to the sender, that does not exist.
    """
    if decision.kind == "response":
        return [_reply(exchange, sessions, read_id(decision.request_id))]
    if decision.kind == "batch":
        return [_reply(exchange, sessions, reply) for reply in _replies(exchange.body)]
    method, target = decision.method, decision.target
    if method is not None and method.startswith(_TASKS) and target is not None:
        if decision.request_id is None:
            raise _malformed("a task can only be asked for with an id")
        if not sessions.owns_task(target, exchange.grant):
            raise Refused(unknown_task(decision.request_id))
    return []


def _reply(exchange: Exchange, sessions: Sessions, request_id: object) -> str:
    key = sessions.expects_reply(exchange.session, request_id, exchange.grant)
    if key is None:
        raise _malformed("this answers no request of the server that is outstanding")
    return key


def _replies(batch: bytes) -> list[object]:
    """Ids of the responses in a batch, which the decision has read before."""
    messages = cast("list[dict[str, object]]", orjson.loads(batch))
    return [message.get("id") for message in messages if "method" not in message]


def _malformed(detail: str) -> Refused:
    return Refused(refuse("malformed-request", detail))
