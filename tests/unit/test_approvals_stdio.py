"""Between two pipes: a call that waits for a person holds up nothing else."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway._core import Engine, LimitTable, PolicySet
from gateway.approvals import desk as desk_module
from gateway.approvals.desk import Desk
from gateway.approvals.settings import ApprovalSettings
from gateway.approvals.store import Approvals, State
from gateway.downstream.stdio import wrap
from gateway.enforcement import EnforcementPoint
from gateway.settings import Settings
from support.door import call, message
from support.stdio import run, settings

NOON = 1_772_452_800.0
POLICY = {
    "version": "1",
    "default": "allow",
    "tools": {"pay": {"action": "require_approval"}},
}


class Pipes:
    """A desktop client, and a person."""

    def __init__(self, path: Path, wait_s: float) -> None:
        self.desk = Desk(ApprovalSettings(path=path, wait_s=wait_s), clock=lambda: NOON)
        self.store = Approvals(path)
        policy = PolicySet.parse(json.dumps(POLICY).encode(), name="p.json")
        self.point = EnforcementPoint(
            Engine(policy, LimitTable(64), approvals=True), desk=self.desk
        )
        self.theirs_in, self.fd_in = os.pipe()
        self.fd_out, self.theirs_out = os.pipe()
        self.reader = asyncio.StreamReader()

    def say(self, body: Any) -> None:
        os.write(self.fd_in, json.dumps(body).encode() + b"\n")

    def ask(self) -> None:
        """Make a call that has to wait, whose client wants to hear of that, and has id 1."""
        asked = call("pay", id=1)
        asked["params"]["_meta"] = {"progressToken": "t"}
        self.say(asked)

    async def hear(self) -> Any:
        return json.loads(await self.reader.readline())

    async def hears(self, ident: int) -> Any:
        """The answer with this id; what comes before it is let pass."""
        while (heard := await self.hear()).get("id") != ident:
            pass
        return heard

    def decide(self, *, approve: bool = True) -> str:
        (asked,) = self.store.all(NOON, State.PENDING)
        self.store.decide(asked.id, approve=approve, by="ann", remark=None, now_s=NOON)
        return asked.id


@asynccontextmanager
async def pipes(path: Path, wait_s: float = 0.0) -> AsyncIterator[Pipes]:
    it = Pipes(path, wait_s)
    loop = asyncio.get_running_loop()
    out, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(it.reader), os.fdopen(it.fd_out, "rb", 0)
    )
    config = Settings(servers=(settings(),))
    wrapping = asyncio.create_task(wrap(config, it.point, stdin=it.theirs_in, stdout=it.theirs_out))
    try:
        yield it
    finally:
        os.close(it.fd_in)
        await wrapping
        out.close()
        for fd in (it.theirs_in, it.theirs_out):
            os.close(fd)
        await it.desk.aclose()
        it.store.close()


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(desk_module, "LOOK_S", 0.01)
    return tmp_path / "approvals.db"


def decision(answer: Any) -> Any:
    return answer["result"]["_meta"]["interlock/decision"]


def test_it_is_refused_approved_and_passed_once(path: Path) -> None:
    async def work() -> None:
        async with pipes(path) as it:
            it.say(call("pay", id=1))
            assert decision(await it.hears(1))["approval"]["state"] == "pending"
            it.decide()
            it.say(call("pay", id=2))
            assert "_meta" not in (await it.hears(2))["result"]
            it.say(call("pay", id=3))
            assert decision(await it.hears(3))["code"] == "approval-required"

    run(work())


def test_other_calls_go_on_while_one_is_held(path: Path) -> None:
    async def work() -> None:
        async with pipes(path, wait_s=20) as it:
            it.ask()
            told = (await it.hear())["params"]
            assert told["progressToken"] == "t"
            it.say(call("read", id=2))
            assert "result" in await it.hears(2)
            assert it.decide() in told["message"]
            assert "_meta" not in (await it.hears(1))["result"]

    run(work())


def test_a_call_that_is_given_up_is_not_passed_on(path: Path) -> None:
    async def work() -> None:
        async with pipes(path, wait_s=20) as it:
            it.ask()
            await it.hear()
            it.say(message("notifications/cancelled", {"requestId": 1}, id=None))
            it.say(call("read", id=2))
            seen = json.dumps(await it.hears(2))
            assert ("other", "deny", "approval-required", 1) in it.point.engine.counters()
            it.decide()
            it.say(call("read", id=3))
            seen += json.dumps(await it.hears(3))
            assert "pay" not in seen, "the server says what it saw"
            (found,) = it.store.all(NOON)
            assert found.state is State.APPROVED

    run(work())


def test_who_leaves_takes_nothing_along(path: Path) -> None:
    async def work() -> None:
        async with pipes(path, wait_s=20) as it:
            it.ask()
            await it.hear()
        assert it.point.engine.counters() == [("other", "deny", "approval-required", 1)]

    run(work())
