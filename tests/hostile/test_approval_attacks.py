"""Getting a call through that nobody approved, with an approval of another one in hand.

The policy lets everything through but what needs a person, and the server is the judge.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.approvals.store import MAX_OF_GRANT, Approvals, State, StoreFull, Wanted
from support.door import call
from unit.test_approvals_desk import Office, at_office, said

APPROVED = '{"name":"pay","arguments":{"amount":5,"to":"bob"}}'
OTHERS = [
    '{"name":"pay","arguments":{"amount":6,"to":"bob"}}',
    '{"name":"pay","arguments":{"amount":5.0,"to":"bob"}}',
    '{"name":"pay","arguments":{"amount":5e0,"to":"bob"}}',
    '{"name":"pay","arguments":{"amount":-5,"to":"bob"}}',
    '{"name":"pay","arguments":{"amount":[5],"to":"bob"}}',
    '{"name":"pay","arguments":{"amount":"5","to":"bob"}}',
    '{"name":"pay","arguments":{"amount":5,"to":"Bob"}}',
    '{"name":"pay","arguments":{"amount":5,"to":"bob\\u200b"}}',
    '{"name":"pay","arguments":{"amount":5,"to":"b\\u043eb"}}',
    '{"name":"pay","arguments":{"amount":5,"to":["bob"]}}',
    '{"name":"pay","arguments":{"amount":5,"to":"bob","cc":"eve"}}',
    '{"name":"pay","arguments":{"amount":5,"to":"bob","":null}}',
    '{"name":"pay","arguments":{"amount":5,"to":"bob","To":"eve"}}',
    '{"name":"pay","arguments":{"amount":5,"to":"bob","_meta":{"to":"eve"}}}',
    '{"name":"pay","arguments":{"amount":5,"to":"eve","to":"bob"}}',
    '{"name":"pay","arguments":{"amount":6,"to":"eve"},"arguments":{"amount":5,"to":"bob"}}',
    '{"name":"pay","arguments":{"amount":6,"to":"eve"},"Arguments":{"amount":5,"to":"bob"}}',
    '{"name":"pay","arguments":{"amount":5,"to":"bob"},"task":{"ttl":60000}}',
    '{"name":"pay","arguments":{"amount":5,"to":"bob"},"inputResponses":{"a":{"to":"eve"}}}',
    '{"name":"pay","arguments":{"amount":5,"to":"bob"},"requestState":"x"}',
    '{"name":"pay","arguments":{"amount":5,"to":"bob"},"approved":true}',
    '{"name":"pay","arguments":{"amount":6,"to":"eve"},"_meta":{"interlock/approval":"ID"}}',
    '{"name":"pay","arguments":{"amount":6,"to":"eve","approval":"ID"}}',
    '{"name":"pay"}',
    '{"name":"pay ","arguments":{"amount":5,"to":"bob"}}',
    '{"name":"Pay","arguments":{"amount":5,"to":"bob"}}',
    '{"name":"p\\u0430y","arguments":{"amount":5,"to":"bob"}}',
]
SAME = [
    APPROVED,
    '{ "arguments" : {"to":"bob", "amount" : 5} , "name":"pay"}',
    '{"n\\u0061me":"pay","arguments":{"amount":5,"to":"b\\u006fb"}}',
    '{"name":"pay","arguments":{"amount":5,"to":"bob"},"_meta":{"progressToken":7}}',
]


def body(params: str, *, method: str = "tools/call") -> bytes:
    return f'{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}'.encode()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "approvals.db"


async def approved(office: Office) -> str:
    """An approval of the one call, not used yet; its id."""
    await office.rig.client.post(body(APPROVED))
    return office.decide()


def test_nothing_but_the_call_itself_rides_on_its_approval(path: Path) -> None:
    async def work(office: Office) -> None:
        id = await approved(office)
        for params in OTHERS:
            await office.rig.client.post(body(params.replace("ID", id)))
            assert office.delivered == 0, params
        await office.rig.client.post(body(APPROVED, method="tools/list"))
        office.rig.upstream.seen.clear()
        await office.rig.client.post(body(APPROVED))
        assert office.delivered == 1, "it is still there for the right one"

    at_office(path, work)


@pytest.mark.parametrize("params", SAME)
def test_what_every_reader_takes_for_the_same_call_is_it_once(path: Path, params: str) -> None:
    async def work(office: Office) -> None:
        await approved(office)
        for _ in range(3):
            await office.rig.client.post(body(params))
        assert office.delivered == 1

    at_office(path, work)


def test_an_approved_call_in_an_array_brings_nobody_along(path: Path) -> None:
    async def work(office: Office) -> None:
        await approved(office)
        session = await office.rig.open_session(revision="2025-03-26")
        office.rig.upstream.seen.clear()
        one = json.loads(body(APPROVED))
        for array in ([one], [one, {**one, "id": 2}], [call("open", id=3), one]):
            await office.rig.client.post(array, session)
            assert office.delivered == 0
        await office.rig.client.post(one, session)
        assert office.delivered == 1

    at_office(path, work)


@pytest.mark.parametrize(
    "message",
    [
        {"jsonrpc": "2.0", "id": 1, "result": {"action": "accept", "content": {"approve": True}}},
        {"jsonrpc": "2.0", "method": "notifications/approved", "params": {"id": "ID"}},
        {"jsonrpc": "2.0", "id": 9, "method": "approvals/approve", "params": {"id": "ID"}},
        {"jsonrpc": "2.0", "id": 9, "method": "elicitation/create", "params": {"id": "ID"}},
    ],
)
def test_nothing_that_an_agent_says_approves(path: Path, message: dict[str, Any]) -> None:
    async def work(office: Office) -> None:
        id = said(await office.rig.client.post(body(APPROVED)))["approval"]["id"]
        session = await office.rig.open_session()
        text = json.dumps(message).replace("ID", id).encode()
        await office.rig.client.post(text, session)
        (waiting,) = office.waiting()
        assert waiting.id == id

    at_office(path, work)


@pytest.mark.parametrize(
    "place", ["/approvals/{}/approve", "/mcp/approvals/{}/approve", "/mcp/../approvals/{}/approve"]
)
def test_the_agents_port_decides_nothing(path: Path, place: str) -> None:
    async def work(office: Office) -> None:
        id = said(await office.rig.client.post(body(APPROVED)))["approval"]["id"]
        reply = await office.rig.client.post({"by": "eve"}, path=place.format(id).encode())
        assert reply.status in (400, 404)
        assert [each.id for each in office.waiting()] == [id]

    at_office(path, work)


def test_an_agent_that_asks_in_a_loop_leaves_room_for_others(path: Path) -> None:
    wanted = {"server": "s", "tool": "t", "rule": "/r", "reason": "", "policy": "p", "call": "{}"}
    with closing(Approvals(path)) as store:
        for number in range(MAX_OF_GRANT):
            digest = number.to_bytes(32, "big")
            store.ask(Wanted(digest=digest, grant="loop", **wanted), 0.0)
        with pytest.raises(StoreFull):
            store.ask(Wanted(digest=b"d", grant="loop", **wanted), 0.0)
        assert store.ask(Wanted(digest=b"d", grant="other", **wanted), 0.0).asked == 1


def test_a_row_that_says_approved_is_of_its_own_digest_only(path: Path) -> None:
    """Two approvals of one call cannot be had side by side, whoever writes them."""
    wanted = Wanted(
        digest=b"d" * 32, server="s", grant="g", tool="t", rule="/r", reason="", policy="p",
        call="{}",
    )  # fmt: skip
    with closing(Approvals(path)) as store, closing(sqlite3.connect(path)) as other:
        store.ask(wanted, 0.0)
        with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
            other.execute(
                "INSERT INTO approval SELECT 'zzzzzzzzzz', digest, server, grant_name, tool, rule,"
                " reason, policy, call, 'approved', asked_at, last_asked, asked, until, holds_s,"
                " decided_at, decided_by, remark, used_at, told_at, tellings, tell_after"
                " FROM approval"
            )


def test_deciding_and_using_at_one_instant_is_one_or_the_other(path: Path) -> None:
    """An approval that is taken back while it is used was used, or it was not."""
    wanted = {"server": "s", "grant": "g", "tool": "t", "rule": "/r", "reason": "", "policy": "p"}
    with closing(Approvals(path)) as agent, closing(Approvals(path)) as person:
        for number in range(30):
            digest = number.to_bytes(32, "big")
            id = agent.ask(Wanted(digest=digest, call="{}", **wanted), 0.0).id
            person.decide(id, approve=True, by="ann", remark=None, now_s=1.0)
            start = threading.Barrier(2)
            found: dict[str, bool] = {}

            def take(digest: bytes = digest, start: Any = start, found: Any = found) -> None:
                start.wait()
                found["used"] = agent.take(digest, 2.0) is not None

            def back(id: str = id, start: Any = start, found: Any = found) -> None:
                start.wait()
                denied = person.decide(id, approve=False, by="ann", remark=None, now_s=2.0)
                found["back"] = denied is not None

            threads = [threading.Thread(target=take), threading.Thread(target=back)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert found["used"] is not found["back"]
            after = person.get(id, 3.0)
            assert after is not None
            assert after.state is (State.USED if found["used"] else State.DENIED)
