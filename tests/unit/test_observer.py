"""What is remembered of passing answers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, cast

import pytest

from gateway._core import Decision, LimitTable
from gateway.downstream.observer import Observer
from gateway.mcp import Exchange
from gateway.sessions import Sessions
from support.door import result


@dataclass
class Asked:
    method: str


def observer(
    method: str = "tools/call", body: bytes = b"{}", *, modern: bool = False
) -> tuple[Observer, Sessions]:
    sessions = Sessions(LimitTable(), "s")
    exchange = Exchange(
        grant="g",
        server="s",
        decision=cast("Decision", Asked(method)),
        session="id",
        modern=modern,
        body=body,
    )
    return Observer(exchange, sessions), sessions


def request(**members: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "method": "roots/list", **members}).encode()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (request(id=1), True),
        (b"[" + request(id=1) + b"]", True),
        (request(id=1, params={"result": 1}), True),
        (request(params={"id": 1}), False),
        (b'{"method": 1, "id"', False),
        (b'"method" "id"', False),
    ],
)
def test_requests_of_the_server_are_expected_to_be_answered(data: bytes, expected: bool) -> None:
    watching, sessions = observer()
    watching.see(data)
    assert (sessions.expects_reply("id", 1, "g") is not None) is expected
    assert not watching.answered


def test_a_modern_server_asks_nothing() -> None:
    watching, sessions = observer(modern=True)
    watching.see(request(id=1))
    assert sessions.expects_reply("id", 1, "g") is None


@pytest.mark.parametrize(
    ("data", "answered"),
    [
        (result(1), True),
        (result(1, method="x"), True),
        (b'{"id":1,"error":{"code":1}}', True),
        (request(params={"error": 1}), False),
        (request(id=1, params={"result": 1}), False),
        (request(), False),
    ],
)
def test_answers_are_told_from_what_comes_before_them(data: bytes, answered: bool) -> None:
    for modern in (True, False):
        watching, _ = observer(modern=modern)
        watching.see(data)
        assert watching.answered is answered


@pytest.mark.parametrize(
    "members",
    [
        {"task": {"taskId": 5}},
        {"task": "t"},
        {"task": None},
        {"resultType": "task"},
        {"resultType": "complete", "taskId": "t"},
        {},
    ],
)
def test_what_is_no_task_is_not_remembered(members: dict[str, Any]) -> None:
    watching, sessions = observer(body=b'{"task":{}}')
    watching.see(result(1, **members))
    assert not sessions.owns_task("t", "g")


def test_only_a_call_that_may_make_a_task_is_read() -> None:
    made = result(1, task={"taskId": "t"})
    for method, body in (("tools/call", b"{}"), ("tasks/get", b'{"task":{}}')):
        watching, sessions = observer(method, body)
        assert not watching.reads_documents
        watching.see(made)
        assert not sessions.owns_task("t", "g")
