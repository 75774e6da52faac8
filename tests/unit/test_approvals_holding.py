"""A call that is held until a person has decided: what its client hears, and what it hears last."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.approvals import desk
from gateway.approvals.store import State
from gateway.downstream import holding
from gateway.downstream.forwarding import Forwarder
from gateway.errors import UpstreamError
from support.door import (
    EVENTS,
    MODERN,
    Reply,
    Rig,
    Script,
    Seen,
    Send,
    answer,
    answer_events,
    answer_json,
    call,
    end,
    event,
    message,
    modern,
    modern_headers,
    piece,
    result,
    run,
    start,
)
from support.office import Office, open_office

WAIT_S = 60.0
"""Longer than a test may take, so that whoever is held in vain fails it."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "LOOK_S", 0.01)
    monkeypatch.setattr(holding, "PROGRESS_S", 0.01)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "approvals.db"


def pay(token: object = "t") -> dict[str, Any]:
    asked = call("pay", id="one", arguments={"amount": 5})
    if token is not None:
        asked["params"]["_meta"] = {"progressToken": token}
    return asked


class Listener:
    """A client that pays and hears."""

    def __init__(self, office: Office, body: dict[str, Any], headers: Any = None) -> None:
        self.heard = asyncio.Event()
        self.gone = asyncio.Event()
        self._task = asyncio.create_task(
            office.rig.client.post(body, headers, on_send=self._hear, gone=self.gone)
        )

    async def _hear(self, message: Any) -> None:
        if b"notifications/progress" in message.get("body", b""):
            self.heard.set()

    async def reply(self) -> Reply:
        return await self._task


async def asked(office: Office) -> None:
    held = office.desk._held
    while not held:  # noqa: ASYNC110
        await asyncio.sleep(0)


def scripted(*, fails: bool = False) -> Script:
    async def script(seen: Seen, send: Send) -> None:
        await start(send, 200, EVENTS)
        await piece(send, event(b'{"jsonrpc":"2.0","method":"notifications/message","params":{}}'))
        if fails:
            raise UpstreamError("reset", "lost", sent=True)
        await piece(send, event(result("one", content=[])))
        await end(send)

    return script


PRETTY = b'{\r\n "jsonrpc": "2.0",\n "id": "one",\r "result": {"content": [1]}\n}'


@pytest.mark.parametrize(
    ("script", "last"),
    [
        (answer_json(result("one", content=[1])), {"content": [1]}),
        (answer_json(PRETTY), {"content": [1]}),
        (answer_events(event(result("one", content=[2]))), {"content": [2]}),
        (scripted(), {"content": []}),
    ],
    ids=["document", "on several lines", "events", "more events"],
)
def test_it_hears_that_it_waits_and_then_the_answer(path: Path, script: Script, last: Any) -> None:
    async def work() -> None:
        async with open_office(path, wait_s=WAIT_S, script=script) as office:
            client = Listener(office, pay())
            await client.heard.wait()
            id = office.decide()
            reply = await client.reply()
            assert (reply.status, reply.header(b"content-type")) == (200, b"text/event-stream")
            assert reply.complete
            events = [data(one) for one in reply.body.split(b"\n\n") if one]
            params = events[0]["params"]
            assert (params["progressToken"], params["progress"]) == ("t", 0)
            assert id in params["message"]
            assert (events[-1]["id"], events[-1]["result"]) == ("one", last)
            assert office.delivered == 1
            assert office.desk.outcomes["used"] == 1

    run(work())


def data(block: bytes) -> Any:
    """What an event says, as a reader of event streams puts it together."""
    lines = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    assert all(line.startswith(b"data: ") for line in lines)
    return json.loads(b"\n".join(line.removeprefix(b"data: ") for line in lines))


def test_a_refusal_comes_in_the_stream_too(path: Path) -> None:
    async def work() -> None:
        async with open_office(path, wait_s=WAIT_S) as office:
            client = Listener(office, pay(7))
            await client.heard.wait()
            office.decide(approve=False, remark="no")
            reply = await client.reply()
            *progress, last = reply.json_events
            assert {one["params"]["progressToken"] for one in progress} == {7}
            assert last["result"]["_meta"]["interlock/decision"]["code"] == "approval-denied"
            assert last["id"] == "one"
            assert office.delivered == 0

    run(work())


@pytest.mark.parametrize(
    "script",
    [
        answer(500, [(b"content-type", b"text/html")], b"<html>", b"</html>"),
        answer(200, [(b"content-type", b"application/json;charset=utf-16")], b"{}"),
    ],
)
def test_a_status_that_cannot_be_told_any_more_is_told_in_words(path: Path, script: Script) -> None:
    async def work() -> None:
        async with open_office(path, wait_s=WAIT_S, script=script) as office:
            client = Listener(office, pay())
            await client.heard.wait()
            office.decide()
            last = (await client.reply()).json_events[-1]
            assert last["result"]["_meta"]["interlock/decision"]["code"] == "upstream-invalid"

    run(work())


def test_a_server_that_breaks_off_does_not_end_the_stream_in_order(path: Path) -> None:
    async def work() -> None:
        async with open_office(path, wait_s=WAIT_S, script=scripted(fails=True)) as office:
            client = Listener(office, pay())
            await client.heard.wait()
            office.decide()
            last = (await client.reply()).json_events[-1]
            assert last["result"]["_meta"]["interlock/decision"]["code"] == "upstream-failed"

    run(work())


def test_without_a_token_nothing_is_said_and_the_answer_is_plain(path: Path) -> None:
    async def work() -> None:
        async with open_office(path, wait_s=WAIT_S) as office:
            client = Listener(office, pay(None))
            await asked(office)
            office.decide()
            reply = await client.reply()
            assert reply.header(b"content-type") == b"application/json"
            assert reply.json["id"] == "one"
            assert office.delivered == 1

    run(work())


def test_a_client_that_takes_no_events_gets_none(path: Path) -> None:
    async def work() -> None:
        async with open_office(path, wait_s=WAIT_S) as office:
            client = Listener(office, pay(), [(b"accept", b"application/json")])
            await asked(office)
            office.decide()
            assert (await client.reply()).json["id"] == "one"

    run(work())


def test_stateless_clients_are_told_in_their_way(path: Path) -> None:
    async def work() -> None:
        async with open_office(path, wait_s=WAIT_S) as office:
            body = modern(pay(None))
            body["params"]["_meta"]["progressToken"] = 1
            client = Listener(office, body, modern_headers("tools/call", "pay"))
            await client.heard.wait()
            office.decide(approve=False)
            assert (await client.reply()).json_events[-1]["result"]["resultType"] == "complete"

    assert MODERN > "2026"
    run(work())


def test_when_the_time_is_over_it_is_refused_and_goes_on_to_wait(path: Path) -> None:
    async def work() -> None:
        async with open_office(path, wait_s=0.05) as office:
            reply = await office.pay()
            found = reply.json["result"]["_meta"]["interlock/decision"]
            assert (found["code"], found["approval"]["state"]) == ("approval-required", "pending")
            assert len(office.waiting()) == 1

    run(work())


def test_a_client_that_leaves_is_held_no_longer(path: Path) -> None:
    async def work() -> None:
        async with open_office(path, wait_s=WAIT_S) as office:
            client = Listener(office, pay())
            await client.heard.wait()
            client.gone.set()
            await client.reply()
            office.decide()
            assert office.delivered == 0
            assert [one.state for one in office.store.all(office.now)] == [State.APPROVED]
            assert [line["code"] for line in office.lines()] == ["approval-required"]
            assert office.rig.door.load.in_flight == 0

    run(work())


@pytest.mark.parametrize(
    ("ident", "other_session", "ends"),
    [("one", False, True), ("two", False, False), (1, False, False), ("one", True, False)],
)
def test_a_session_may_cancel_what_it_waits_for(
    path: Path, ident: object, other_session: bool, ends: bool
) -> None:
    async def work() -> None:
        async with open_office(path, wait_s=WAIT_S) as office:
            mine = await office.rig.open_session(b"mine")
            other = await office.rig.open_session(b"other")
            client = Listener(office, pay(), mine)
            await client.heard.wait()
            cancel = message("notifications/cancelled", {"requestId": ident}, id=None)
            reply = await office.rig.client.post(cancel, other if other_session else mine)
            assert reply.status == 202
            if not ends:
                office.decide()
            last = (await client.reply()).json_events[-1]["result"]
            paid = [seen for seen in office.rig.upstream.seen if b"pay" in seen.body]
            assert len(paid) == (not ends)
            assert ("_meta" in last) == ends
            if ends:
                assert "was cancelled" in last["content"][0]["text"]
                assert len(office.waiting()) == 1, "it goes on to wait for a person"

    run(work())


def test_draining_holds_nobody(path: Path) -> None:
    async def work() -> None:
        async with open_office(path, wait_s=60) as office:
            client = Listener(office, pay())
            await client.heard.wait()
            office.desk.drain()
            last = (await client.reply()).json_events[-1]
            assert last["result"]["_meta"]["interlock/decision"]["code"] == "approval-required"

    run(work())


def test_of_two_that_wait_for_the_same_one_passes(path: Path) -> None:
    async def work() -> None:
        async with open_office(path, wait_s=0.5) as office:
            clients = [Listener(office, pay()) for _ in range(2)]
            for client in clients:
                await client.heard.wait()
            office.decide()
            replies = [await client.reply() for client in clients]
            lasts = [reply.json_events[-1]["result"] for reply in replies]
            assert sum("_meta" not in last for last in lasts) == 1
            assert office.delivered == 1

    run(work())


def test_whose_credentials_are_taken_back_is_told_and_takes_nothing_along(path: Path) -> None:
    async def work() -> None:
        async with open_office(path, wait_s=WAIT_S) as office:
            client = Listener(office, pay())
            await client.heard.wait()
            office.rig.door.identity.holds = lambda known: False  # type: ignore[method-assign]
            office.rig.door.cut_strangers()
            reply = await client.reply()
            last = reply.json_events[-1]
            assert last["id"] == "one"
            assert last["result"]["_meta"]["interlock/decision"]["code"] == "unauthenticated"
            assert reply.complete
            office.decide()
            assert office.delivered == 0
            assert [line["code"] for line in office.lines()] == ["approval-required"]

    run(work())


def test_a_failure_of_our_own_is_told_in_the_stream(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        async with open_office(path, wait_s=WAIT_S) as office:
            client = Listener(office, pay())
            await client.heard.wait()
            monkeypatch.setattr(Forwarder, "message", None)
            office.decide()
            last = (await client.reply()).json_events[-1]
            assert last["id"] == "one"
            assert last["result"]["_meta"]["interlock/decision"]["code"] == "internal-error"
            assert office.delivered == 0

    run(work())


def test_only_so_many_are_held(path: Path) -> None:
    async def work() -> None:
        async with open_office(path, wait_s=WAIT_S, most_held=1) as office:
            client = Listener(office, pay())
            await client.heard.wait()
            reply = await office.pay(6)
            assert reply.code == "approval-required"
            office.desk.drain()
            await client.reply()

    run(work())


def test_nothing_else_is_asked_of_the_door() -> None:
    async def work() -> None:
        rig = Rig()
        reply = await rig.client.post(pay())
        assert reply.header(b"content-type") == b"application/json"

    run(work())
