"""Approvals are decided on the operators' port by who shows the token, and by nobody's browser."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.approvals.settings import ApprovalSettings
from gateway.approvals.store import Approvals, State, Wanted
from gateway.operate import approvals as desk
from gateway.operate.admin import create_admin
from gateway.settings import ServerSettings, Settings
from support.operators import asked, view

TOKEN = b"Bearer " + b"t" * 40
WANTED = Wanted(
    digest=b"d" * 32, server="bank", grant="laptop", tool="pay", rule="/tools/pay/action",
    reason="money", policy="ab" * 32, call='{"sum":1.10,"to":"\\u202e"}',
)  # fmt: skip
JSON = (b"content-type", b"application/json")
GOOD = b'{"by": "ann", "remark": "as agreed"}'


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        servers=(ServerSettings(name="bank", policy=Path("p"), url="http://127.0.0.1:1/"),),
        admin_token=hashlib.sha256(b"t" * 40).digest(),
        approvals=ApprovalSettings(path=tmp_path / "a.db"),
    )


@pytest.fixture
def store(settings: Settings) -> Iterator[Approvals]:
    assert settings.approvals is not None
    with closing(Approvals(settings.approvals.path)) as store:
        yield store


def ask(
    settings: Settings,
    path: str,
    method: str = "GET",
    body: bytes = b"",
    *,
    head: tuple[tuple[bytes, bytes], ...] = (JSON,),
    token: bytes | None = TOKEN,
    host: bytes = b"127.0.0.1:9090",
    pieces: int = 1,
) -> tuple[int, Any]:
    """Status and body."""
    sent: list[Any] = []
    size = -(-len(body) // pieces)
    events = [
        {"type": "http.request", "body": body[at * size : (at + 1) * size], "more_body": True}
        for at in range(pieces)
    ]
    events[-1]["more_body"] = False
    coming = iter(events)

    async def receive() -> Any:
        return next(coming)

    async def send(message: Any) -> None:
        sent.append(message)

    path, _, query = path.partition("?")
    headers = [(b"host", host), *head]
    if token is not None:
        headers.append((b"authorization", token))
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": headers,
    }
    asyncio.run(create_admin(asked(view()), settings)(scope, receive, send))
    if sent[0]["status"] == 405:
        assert (b"allow", desk.method_of(path).encode()) in sent[0]["headers"]
    return sent[0]["status"], orjson.loads(sent[1]["body"])


def decide(settings: Settings, id: str, verb: str = "approve", **how: Any) -> tuple[int, Any]:
    how = {"method": "POST", "body": GOOD, **how}
    return ask(settings, f"/approvals/{id}/{verb}", **how)


def test_what_waits_is_read_and_approved(settings: Settings, store: Approvals) -> None:
    id = store.ask(WANTED, time.time()).id
    status, told = ask(settings, "/approvals?state=pending")
    assert (status, told["more"], [each["id"] for each in told["approvals"]]) == (200, False, [id])
    status, one = ask(settings, f"/approvals/{id}")
    assert (status, one["state"], one["arguments"]["to"]) == (200, "pending", "\u202e")
    status, done = decide(settings, id)
    assert (status, done["state"], done["decided_by"]) == (200, "approved", "ann")
    taken = store.take(WANTED.digest, time.time())
    assert taken is not None
    assert (taken.decided_by, taken.remark) == ("ann", "as agreed")
    assert ask(settings, "/approvals?state=pending")[1]["approvals"] == []
    assert ask(settings, "/approvals")[1]["approvals"][0]["state"] == "used"


def test_a_call_is_denied_and_an_unused_approval_taken_back(
    settings: Settings, store: Approvals
) -> None:
    id = store.ask(WANTED, time.time()).id
    decide(settings, id)
    status, done = decide(settings, id, "deny", body=b'{"by":"bob"}')
    assert (status, done["state"], done["decided_by"], done["remark"]) == (
        *(200, "denied"),
        *("bob", None),
    )
    assert store.take(WANTED.digest, time.time()) is None
    status, told = decide(settings, id)
    assert status == 409
    assert "it is denied" in told["error"]


def test_nothing_is_decided_twice(settings: Settings, store: Approvals) -> None:
    id = store.ask(WANTED, time.time()).id
    assert decide(settings, id)[0] == 200
    assert decide(settings, id)[0] == 409
    assert store.take(WANTED.digest, time.time()) is not None
    assert decide(settings, id)[0] == 409
    assert decide(settings, id, "deny")[0] == 409, "what was used cannot be taken back"


@pytest.mark.parametrize("token", [None, b"Bearer wrong", b"Basic " + b"t" * 40, b""])
def test_without_the_token_nothing_is_told_or_decided(
    settings: Settings, store: Approvals, token: bytes | None
) -> None:
    id = store.ask(WANTED, time.time()).id
    for path in ("/approvals", f"/approvals/{id}"):
        assert ask(settings, path, token=token)[0] == 401
    assert decide(settings, id, token=token)[0] == 401
    assert decide(settings, id, token=token, head=(JSON, (b"cookie", TOKEN)))[0] == 401
    assert ask(settings, f"/approvals?token={'t' * 40}", token=None)[0] == 401
    assert store.waiting(time.time()) == {id}


def test_where_no_token_is_configured_nobody_decides_not_even_on_loopback(
    settings: Settings, store: Approvals
) -> None:
    id = store.ask(WANTED, time.time()).id
    bare = replace(settings, admin_token=None)
    for found in (ask(bare, "/approvals"), decide(bare, id), decide(bare, id, token=None)):
        assert found[0] == 403
        assert "admin_token_sha256" in found[1]["help"]
    assert store.waiting(time.time()) == {id}


def test_without_a_store_there_is_nothing(settings: Settings) -> None:
    status, told = ask(replace(settings, approvals=None), "/approvals")
    assert status == 404
    assert "--approvals" in told["help"]


@pytest.mark.parametrize(
    ("how", "status"),
    [
        ({"head": ()}, 415),
        ({"head": ((b"content-type", b"text/plain"),)}, 415),
        ({"head": ((b"content-type", b"application/x-www-form-urlencoded"),)}, 415),
        ({"head": (JSON, JSON)}, 415),
        ({"body": b""}, 400),
        ({"body": b"by=ann"}, 400),
        ({"body": b"[]"}, 400),
        ({"body": b"null"}, 400),
        ({"body": b"{}"}, 400),
        ({"body": b'{"by": ""}'}, 400),
        ({"body": b'{"by": "  "}'}, 400),
        ({"body": b'{"by": 5}'}, 400),
        ({"body": b'{"by": null}'}, 400),
        ({"body": b'{"by": "%s"}' % (b"x" * 201)}, 400),
        ({"body": b'{"by": "ann", "remark": 5}'}, 400),
        ({"body": b'{"by": "ann", "remark": "%s"}' % (b"x" * 2001)}, 400),
        ({"body": b'{"by": "ann", "approve": true}'}, 400),
        ({"body": b'{"by": "%s"}' % (b"x" * 9000)}, 413),
        ({"body": b" " * 9000 + GOOD, "pieces": 50}, 413),
        ({"body": b'{"by": "\xff"}'}, 400),
        ({"method": "GET", "body": b""}, 405),
        ({"method": "PUT"}, 405),
        ({"host": b"evil.example"}, 403),
    ],
)
def test_what_is_not_exactly_a_decision_decides_nothing(
    settings: Settings, store: Approvals, how: dict[str, Any], status: int
) -> None:
    id = store.ask(WANTED, time.time()).id
    found, told = decide(settings, id, **how)
    assert found == status
    assert told["error"]
    assert store.waiting(time.time()) == {id}


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/approvals/zzzzzzzzzz", "GET", 404),
        ("/approvals/zzzzzzzzzz/approve", "POST", 404),
        ("/approvals/", "GET", 404),
        ("/approvals/x/y", "GET", 404),
        ("/approvals/x/approve/", "POST", 405),
        ("/approvals", "POST", 405),
        ("/approvals", "DELETE", 405),
        ("/approvals?state=lost", "GET", 400),
        ("/approvals?state=pending&state=used", "GET", 400),
        ("/approvals?token=x", "GET", 400),
        ("/approvalsx", "GET", 404),
    ],
)
def test_other_places(
    settings: Settings, store: Approvals, path: str, method: str, status: int
) -> None:
    assert ask(settings, path, method, GOOD)[0] == status


def test_an_id_is_taken_as_it_is(settings: Settings, store: Approvals) -> None:
    id = store.ask(WANTED, time.time()).id
    for other in (id[:5], id.upper(), f"{id} ", "%", "_" * 10, "' OR 1=1 --"):
        assert decide(settings, other)[0] == 404
    assert store.waiting(time.time()) == {id}


def test_a_long_list_says_that_there_is_more(
    settings: Settings, store: Approvals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "MAX_LISTED", 2)
    for number in range(3):
        store.ask(replace(WANTED, digest=bytes([number]) * 32), time.time())
    told = ask(settings, "/approvals")[1]
    assert (len(told["approvals"]), told["more"]) == (2, True)


def test_numbers_are_told_as_they_were_spelt(settings: Settings, store: Approvals) -> None:
    id = store.ask(WANTED, time.time()).id
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("no body is read")

    head = [(b"host", b"localhost"), (b"authorization", TOKEN)]
    scope = {"type": "http", "method": "GET", "path": f"/approvals/{id}", "headers": head}
    asyncio.run(create_admin(asked(view()), settings)(scope, receive, send))
    assert b'"sum":1.10' in sent[1]["body"]


def test_a_store_that_cannot_be_had_is_told(settings: Settings, store: Approvals) -> None:
    id = store.ask(WANTED, time.time()).id
    store.close()
    assert settings.approvals is not None
    with closing(sqlite3.connect(settings.approvals.path)) as other:
        other.execute("PRAGMA user_version = 9")
    for found in (ask(settings, "/approvals"), decide(settings, id)):
        assert found[0] == 503
        assert "another release" in found[1]["error"]


def test_a_body_that_does_not_come_is_not_waited_for(
    settings: Settings, store: Approvals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "BODY_TIMEOUT_S", 0.01)
    id = store.ask(WANTED, time.time()).id
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def main() -> None:
        head = [(b"host", b"localhost"), (b"authorization", TOKEN), JSON]
        path = f"/approvals/{id}/approve"
        scope = {"type": "http", "method": "POST", "path": path, "headers": head}
        never: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        await create_admin(asked(view()), settings)(scope, lambda: never, send)

    asyncio.run(main())
    assert sent[0]["status"] == 408
    assert store.all(time.time(), State.PENDING) != []
