"""What an allowed message refers to must be the sender's: tasks, and the server's own requests.

INVARIANT: a task id and a reply pass only for the grant whose call made the task, or whose stream
carried the request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import orjson

from gateway.denial import UNKNOWN_TASK_CODE, Refused, refuse, unknown_task
from gateway.mcp import LISTEN
from gateway.sessions import Sessions, read_id

if TYPE_CHECKING:
    from gateway._core import Decision
    from gateway.mcp import Exchange

_TASK_METHODS = {
    False: frozenset({"tasks/get", "tasks/result", "tasks/cancel"}),
    True: frozenset({"tasks/get", "tasks/update", "tasks/cancel"}),
}
"""Methods that name a task, by whether the request is stateless. One that the revision does not
have is the server's to answer."""


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
    for task in _tasks(exchange, decision):
        if decision.request_id is None:
            raise _malformed("a task can only be asked for with an id")
        if not sessions.owns_task(task, exchange.grant):
            raise Refused(unknown_task(decision.request_id), code=UNKNOWN_TASK_CODE)
    return []


def _tasks(exchange: Exchange, decision: Decision) -> list[str]:
    """Tasks that the message asks for, or wants to be told of."""
    if decision.method == LISTEN:
        return _watched(exchange.body)
    # By the header, which servers that have sessions go by; the body may say what it likes to them.
    if decision.method not in _TASK_METHODS[exchange.modern]:
        return []
    if decision.target is None:
        return _unreadable(exchange.body)
    return [decision.target]


def _unreadable(body: bytes) -> list[str]:
    """None, for a message that names no task.

    Raises:
        Refused: it names one by something that is no string, which a server may take for one.
    """
    params: dict[str, object] = orjson.loads(body).get("params", {})
    if "taskId" in params:
        raise _malformed("`taskId` is not a string")
    return []


def _watched(body: bytes) -> list[str]:
    """`params.notifications.taskIds` of a `subscriptions/listen`.

    Raises:
        Refused: what stands there is no list of task ids, so whose they are cannot be told.
    """
    wanted: object = orjson.loads(body)
    for member in ("params", "notifications", "taskIds"):
        if not isinstance(wanted, dict) or wanted.get(member) is None:
            return []
        wanted = wanted[member]
    if not isinstance(wanted, list) or not all(isinstance(task, str) for task in wanted):
        raise _malformed("`taskIds` is not a list of task ids")
    return cast("list[str]", wanted)


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
