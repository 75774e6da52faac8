"""Both doors ask people alike, and let the same calls through."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from differential.said import (
    INITIALIZE,
    OLD,
    SESSION,
    VERSION,
    call,
    chunked,
    cut,
    modern,
    post,
    routed,
)
from differential.talks import one
from gateway.approvals.desk import Desk
from gateway.approvals.settings import ApprovalSettings
from gateway.approvals.store import Approvals, State
from support.doors import HIDING, Doors, Outcome, Run, Say, looping

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOON = 1_772_452_800.0
PARAMS = {"name": "approved", "arguments": {"x": 1}}
PLAIN = one(post(call("approved", x=1)))
ASKED = {
    "plain": PLAIN,
    "in chunks": one(chunked(call("approved", x=1))),
    "in pieces": [Say(cut(post(call("approved", x=1)), *range(0, 300, 7)))],
    "stateless": one(
        post(modern("tools/call", PARAMS), *routed("tools/call", b"Mcp-Name: approved"))
    ),
    "two at once": [Say((post(call("approved", x=1)) * 2,), 2)],
    "between others": [Say((post(call("t")) + post(call("approved", x=1)) + post(call("t")),), 3)],
    "that may make a task": one(post(call("approved", task={"ttl": 1}))),
    "in a session": [Say((INITIALIZE,)), Say((post(call("approved", x=1), SESSION, VERSION),))],
}


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with looping() as run:
        yield run


class Both:
    """Both doors, each with people behind it who say the same."""

    def __init__(self, folder: Path) -> None:
        policy = folder / "policy.json"
        policy.write_bytes(HIDING)
        self._doors = Doors(policy)
        self._paths = [folder / name for name in ("fast.db", "slow.db")]
        for side, path in zip((self._doors.fast, self._doors.slow), self._paths, strict=True):
            side.settings["approvals"] = ApprovalSettings(path=path)
        self.open, self.close = self._doors.open, self._doors.close

    async def say(self, talk: list[Say]) -> Outcome:
        return await self._doors.compare(talk)

    def decide(self, *, approve: bool = True) -> int:
        """Decide whatever waits; how many that were."""
        found = []
        for path in self._paths:
            with closing(Approvals(path)) as store:
                waiting = store.all(NOON, State.PENDING)
                found.append(len(waiting))
                for each in waiting:
                    store.decide(each.id, approve=approve, by="ann", remark="so", now_s=NOON)
        assert found[0] == found[1]
        return found[0]


@pytest.fixture
def both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Both:
    # Each door's store is used by a thread of its own, so both give the same ids.
    ids: Counter[int] = Counter()

    def new_id() -> str:
        me = threading.get_ident()
        ids[me] += 1
        return f"request{ids[me]:03}"

    monkeypatch.setattr("gateway.approvals.store._new_id", new_id)
    defaults = Desk.__init__.__defaults__
    assert defaults is not None
    monkeypatch.setattr(Desk.__init__, "__defaults__", (lambda: NOON, *defaults[1:]))
    return Both(tmp_path)


def codes(outcome: Outcome) -> list[str]:
    """What was decided; of the probe whether the connection lives, nothing was."""
    return [line["code"] for line in outcome.logged if line["code"] != "not-found"]


@pytest.mark.parametrize("name", ASKED)
def test_what_is_approved_passes_once_through_either(run: Run, both: Both, name: str) -> None:
    async def compare() -> None:
        await both.open()
        try:
            asked = await both.say(ASKED[name])
            assert "approval-required" in codes(asked)
            refused = codes(asked).count("approval-required")
            allowed = len(codes(asked)) - refused
            assert both.decide() == 1
            passed = await both.say(ASKED[name])
            assert codes(passed).count("approval-required") == refused - 1
            assert len(passed.asked) == len(asked.asked) + 1
            assert codes(passed).count("allowed") == allowed + 1
            await both.say(ASKED[name])
            assert both.decide(approve=False) == 1
            denied = await both.say(ASKED[name])
            assert codes(denied).count("approval-denied") == refused
            assert len(denied.asked) == len(asked.asked)
        finally:
            await both.close()

    run(compare())


def test_what_is_refused_is_told_alike_and_an_array_is_not_asked_for(run: Run, both: Both) -> None:
    async def compare() -> None:
        await both.open()
        try:
            await both.say(PLAIN)
            both.decide(approve=False)
            assert codes(await both.say(PLAIN)) == ["approval-denied"]
            await both.say([Say((OLD,))])
            array = b"[" + call("approved", x=2) + b"]"
            old = b"MCP-Protocol-Version: 2025-03-26"
            assert codes(await both.say(one(post(array, SESSION, old)))) == ["approval-required"]
            assert both.decide() == 0
        finally:
            await both.close()

    run(compare())
