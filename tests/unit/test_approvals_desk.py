"""A call that needs a person, from the agent's side: refused, approved, passed on once."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from gateway._core import PolicySet
from gateway.approvals.desk import Desk
from gateway.approvals.settings import ApprovalSettings
from gateway.approvals.store import Approval, State
from gateway.errors import StartError, UpstreamError
from support.door import LEGACY, Reply, Seen, Send, answer_json, call, result, run
from support.office import POLICY, Office, open_office


def said(reply: Reply) -> dict[str, Any]:
    found: dict[str, Any] = reply.json["result"]["_meta"]["interlock/decision"]
    return found


def at_office(
    path: Path, work: Callable[[Office], Coroutine[Any, Any, None]], **options: Any
) -> None:
    async def main() -> None:
        async with open_office(path, **options) as office:
            await work(office)

    run(main())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "approvals.db"


def test_asked_approved_passed_once_and_asked_anew(path: Path) -> None:
    async def work(office: Office) -> None:
        first = await office.pay()
        data = said(first)
        assert (first.status, data["code"]) == (200, "approval-required")
        assert data["approval"]["state"] == "pending"
        assert data["approval"]["until"] == "2026-03-02T12:01:00Z"
        assert f"`interlock approvals approve {data['approval']['id']}`" in data["message"]
        again = await office.pay()
        assert said(again)["approval"]["id"] == data["approval"]["id"], "the same one waits"
        id = office.decide()
        assert id == data["approval"]["id"]
        passed = await office.pay()
        assert "_meta" not in passed.json["result"]
        assert office.delivered == 1
        replayed = await office.pay()
        assert said(replayed)["approval"]["id"] != id
        assert office.delivered == 1
        assert office.counted() == {"approval-required": 3, "allowed": 1}
        lines = office.lines()
        assert [line["code"] for line in lines] == [
            *("approval-required", "approval-required", "allowed", "approval-required")
        ]
        assert lines[0]["approval"] == {"state": "pending", "id": id}
        assert lines[2]["approval"] == {"state": "approved", "id": id, "by": "ann"}
        assert office.desk.outcomes == {"asked": 2, "used": 1, "expired": 0}

    at_office(path, work)


def test_a_refusal_is_told_with_its_reason(path: Path) -> None:
    async def work(office: Office) -> None:
        await office.pay()
        office.decide(approve=False, remark="too much; ask for 3")
        refused = said(await office.pay())
        assert refused["code"] == "approval-denied"
        assert "too much; ask for 3" in refused["message"]
        assert refused["approval"]["state"] == "denied"
        office.now += 30
        assert said(await office.pay())["code"] == "approval-required"
        assert office.delivered == 0
        assert [line["code"] for line in office.lines()] == [
            *("approval-required", "approval-denied", "approval-required")
        ]

    at_office(path, work)


@pytest.mark.parametrize("amount", [6, 5.0, -5])
def test_another_argument_is_another_call(path: Path, amount: object) -> None:
    async def work(office: Office) -> None:
        await office.pay(5)
        office.decide()
        assert said(await office.pay(amount))["code"] == "approval-required"
        assert office.delivered == 0
        await office.pay(5)
        assert office.delivered == 1, "the right one still has it"

    at_office(path, work)


def test_what_changes_with_each_message_does_not_count_and_everything_else_does(
    path: Path,
) -> None:
    async def work(office: Office) -> None:
        await office.pay(_meta={"progressToken": 1})
        office.decide()
        more = await office.pay(_meta={"progressToken": 2}, requestState="x")
        assert said(more)["code"] == "approval-required"
        await office.pay(_meta={"progressToken": 3, "traceparent": "00"})
        assert office.delivered == 1

    at_office(path, work)


def test_what_reads_alike_is_not_the_same(path: Path) -> None:
    async def work(office: Office) -> None:
        inside = {"arguments": {"amount": 5}, "name": "pay", "requestState": "x"}
        await office.pay(5, requestState="x")
        (asked,) = office.waiting()
        office.decide()
        nested = call("pay", arguments=inside)
        reply = await office.rig.client.post(nested)
        assert said(reply)["code"] == "approval-required"
        assert asked.wanted.call == office.waiting()[0].wanted.call, "they do read alike"
        assert office.delivered == 0

    policy = {"version": "1", "default": "deny", "tools": {"pay": {"action": "require_approval"}}}
    at_office(path, work, policy=policy)


def test_another_policy_needs_another_approval(path: Path) -> None:
    async def work(office: Office) -> None:
        await office.pay()
        office.decide()
        changed = json.dumps({**POLICY, "description": "another"}).encode()
        office.rig.engine.install(PolicySet.parse(changed, name="policy.json"))
        assert said(await office.pay())["code"] == "approval-required"
        assert office.delivered == 0

    at_office(path, work)


def test_a_policy_that_changes_between_question_and_answer_gives_it_back(path: Path) -> None:
    async def work(office: Office) -> None:
        await office.pay()
        id = office.decide()
        changed = PolicySet.parse(
            json.dumps({**POLICY, "description": "x"}).encode(), name="p.json"
        )
        decide = office.rig.point.decide

        def late(*args: Any, **how: Any) -> Any:
            if len(args) > 3:  # with what people say
                office.rig.engine.install(changed)
            return decide(*args, **how)

        office.rig.point.decide = late  # type: ignore[method-assign]
        refused = said(await office.pay())
        assert refused["code"] == "approval-required"
        assert "has changed" in refused["message"]
        await office.desk.aclose()
        found = office.store.get(id, office.now)
        assert found is not None
        assert found.state is State.APPROVED
        assert office.delivered == 0

    at_office(path, work)


def test_rules_and_limits_stay_in_force(path: Path) -> None:
    async def work(office: Office) -> None:
        assert said(await office.pay(101))["code"] == "tool-denied"
        assert office.waiting() == []
        for amount in (1, 2, 3):
            await office.pay(amount)
            id = office.decide()
            last = await office.pay(amount)
        assert office.delivered == 2
        assert said(last)["code"] == "limit-exceeded"
        assert said(last)["approval"] == {
            "state": "approved",
            "id": id,
            "until": "2026-03-02T12:00:30Z",
        }
        again = await office.pay(3)
        assert said(again)["code"] == "limit-exceeded", "it was given back, and is not asked anew"
        assert office.waiting() == []

    at_office(path, work)


def test_what_was_not_delivered_is_given_back_and_what_may_have_been_is_not(path: Path) -> None:
    async def down(seen: Seen, send: Send) -> None:
        raise UpstreamError("connect", "down", sent=False)

    async def lost(seen: Seen, send: Send) -> None:
        raise UpstreamError("reset", "lost", sent=True)

    async def work(office: Office) -> None:
        await office.pay()
        id = office.decide()
        office.rig.upstream.script = down
        assert said_fault(await office.pay()) == "upstream-unreachable"
        office.rig.upstream.script = lost
        assert said_fault(await office.pay()) == "upstream-failed"
        office.rig.upstream.script = answer_json()
        replayed = said(await office.pay())
        assert replayed["code"] == "approval-required"
        assert replayed["approval"]["id"] != id
        assert office.delivered == 2
        assert office.desk.outcomes["used"] == 1

    def said_fault(reply: Reply) -> str:
        code: str = reply.json["result"]["_meta"]["interlock/decision"]["code"]
        return code

    at_office(path, work)


def test_an_overloaded_gateway_gives_it_back(path: Path) -> None:
    async def work(office: Office) -> None:
        await office.pay()
        office.decide()
        office.rig.door.load.draining = True
        await office.pay()
        office.rig.door.load.draining = False
        assert office.delivered == 0
        await office.pay()
        assert office.delivered == 1

    at_office(path, work)


def test_one_of_many_at_once_gets_it(path: Path) -> None:
    async def work(office: Office) -> None:
        await office.pay()
        office.decide()
        replies = await asyncio.gather(*(office.pay() for _ in range(20)))
        assert sum("_meta" not in reply.json["result"] for reply in replies) == 1
        assert office.delivered == 1

    at_office(path, work)


def test_a_store_that_cannot_be_used_refuses_and_says_no_path(path: Path) -> None:
    async def work(office: Office) -> None:
        await office.pay()
        office.decide()
        office.desk._store.close()
        refused = said(await office.pay())
        assert refused["code"] == "approval-required"
        assert refused["approval"] == {"state": "unavailable"}
        assert "nobody can be asked" in refused["message"]
        assert str(path) not in json.dumps(refused)
        assert office.delivered == 0
        assert len(office.lines()) == 2

    at_office(path, work)


def test_a_call_that_nobody_could_read_whole_is_refused(path: Path) -> None:
    async def work(office: Office) -> None:
        long = ({"arguments": {"amount": 5, "to": "x" * 70_000}}, {"_meta": {"x": "x" * 200_000}})
        for params in long:
            refused = said(await office.pay(5, **params))
            assert refused["approval"] == {"state": "unavailable"}
            assert "too long" in refused["message"]
        assert office.waiting() == []

    at_office(path, work)


def test_a_store_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "approvals.db"
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(StartError):
        Desk(ApprovalSettings(path=path))
    if os.getuid() != 0:
        (tmp_path / "closed").mkdir(mode=0o500)
        with pytest.raises(StartError):
            Desk(ApprovalSettings(path=tmp_path / "closed" / "a.db"))


def test_a_client_that_leaves_while_it_is_asked_takes_nothing_along(path: Path) -> None:
    async def work(office: Office) -> None:
        await office.pay()
        office.decide()
        blocking = asyncio.Event()
        loop = asyncio.get_running_loop()
        claim = office.desk._store.claim

        def slow(*args: Any) -> Approval:
            found = claim(*args)
            loop.call_soon_threadsafe(blocking.set)
            return found

        office.desk._store.claim = slow  # type: ignore[method-assign]
        paying = asyncio.create_task(office.pay())
        await blocking.wait()
        paying.cancel()
        await asyncio.gather(paying, return_exceptions=True)
        office.desk._store.claim = claim  # type: ignore[method-assign]
        if office.delivered == 0:  # else the answer of the thread had come before
            await office.pay()
        assert office.delivered == 1
        lines = [line["code"] for line in office.lines()]
        assert lines.count("allowed") == 1

    at_office(path, work)


def test_sessions_and_the_server_see_the_very_bytes(path: Path) -> None:
    async def work(office: Office) -> None:
        headers = await office.rig.open_session(revision=LEGACY)
        body = (
            b' {"jsonrpc":"2.0", "id":9,"method":"tools/call","params":{"arguments":{"amount":5.50}'
        )
        body += b',"name":"pay"}}'
        await office.rig.client.post(body, headers)
        assert office.waiting()[0].wanted.call == '{"amount":5.50}'
        office.decide()
        await office.rig.client.post(body, headers)
        assert [seen.body for seen in office.rig.upstream.seen] == [body]

    at_office(path, work)


def test_results_of_other_methods_pass_as_before(path: Path) -> None:
    async def work(office: Office) -> None:
        reply = await office.rig.client.post(call("read"))
        assert reply.body == result(content=[]).replace(b", ", b",").replace(b": ", b":")
        assert office.desk.outcomes == {"expired": 0}

    at_office(path, work)
