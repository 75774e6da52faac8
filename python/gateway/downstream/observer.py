"""What the gateway must remember from answers that pass: sessions, tasks, and the server's own
requests.

INVARIANT: whatever a client could use next is remembered before the bytes that tell it leave.
"""

from __future__ import annotations

from typing import cast

import orjson

from gateway.mcp import Exchange, revision_number
from gateway.sessions import Outstanding, Sessions


class Observer:
    """Watches the messages of one answer.

    Reading a message costs more than passing it on, so each is looked through for the few words
    without which it cannot matter, and parsed only then.
    """

    def __init__(self, exchange: Exchange, sessions: Sessions) -> None:
        decision = exchange.decision
        method = decision.method if decision is not None else None
        self.initializes = method == "initialize"
        self.session = exchange.session
        """The session that the answer belongs to, or that it opened."""
        self.answered = False
        """Whether the answer to the request has passed."""
        self._grant = exchange.grant
        self._sessions = sessions
        self._legacy = not exchange.modern
        self._makes_task = method == "tools/call" and may_make_task(exchange.body)
        self._outstanding: Outstanding | None = None

    @property
    def reads_documents(self) -> bool:
        """Whether a JSON answer has to be read whole before it leaves."""
        return self.initializes or self._makes_task

    def see(self, data: bytes) -> None:
        """Look at one message, or an array of them."""
        asks = b'"method"' in data
        answers = b'"result"' in data or b'"error"' in data
        if asks and (answers or (self._legacy and b'"id"' in data)):
            parsed = _parse(data)
            for message in parsed if isinstance(parsed, list) else [parsed]:
                self._see_message(message)
        elif answers:
            self.answered = True
            if self.reads_documents:
                self._see_result(_parse(data))

    def _see_message(self, message: object) -> None:
        if not isinstance(message, dict):
            return
        if "method" not in message:
            self.answered = True
            self._see_result(message)
        elif self._legacy and "id" in message:
            if self._outstanding is None:
                self._outstanding = Outstanding(self._sessions, self.session, self._grant)
            self._outstanding.add(message["id"])

    def _see_result(self, message: object) -> None:
        result = message.get("result") if isinstance(message, dict) else None
        if not isinstance(result, dict):
            return
        if self.initializes and self.session is not None:
            number = revision_number(result.get("protocolVersion"))
            self._sessions.open(self.session, self._grant, number)
        if self._makes_task and (task := _task_id(result)) is not None:
            self._sessions.open_task(task, self._grant)


def may_make_task(body: bytes) -> bool:
    """Whether a tools/call could be answered with a task: it asks for one, or declares the
    extension.

    A key spelt with escapes is missed, and then the task cannot be asked for; its sender chose
    that.
    """
    return b'"task"' in body or b"/tasks" in body


def _task_id(result: dict[str, object]) -> str | None:
    """The task's id, from 2025-11-25's `result.task` or the later extension's `resultType`."""
    holder = result if result.get("resultType") == "task" else result.get("task")
    if not isinstance(holder, dict):
        return None
    task = cast("dict[str, object]", holder).get("taskId")
    return task if isinstance(task, str) else None


def _parse(data: bytes) -> object:
    try:
        return cast("object", orjson.loads(data))
    except orjson.JSONDecodeError:
        return None
