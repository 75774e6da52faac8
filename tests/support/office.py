"""A door with people behind it who approve calls."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from gateway._core import DecisionLog
from gateway.approvals.desk import MAX_HELD, Desk
from gateway.approvals.settings import ApprovalSettings
from gateway.approvals.store import Approval, Approvals, State
from support.door import Reply, Rig, call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NOON = 1_772_452_800.0
POLICY = {
    "version": "1",
    "default": "allow",
    "tools": {
        "pay": {
            "action": "require_approval",
            "reason": "money needs a person",
            "deny_if": [{"conditions": [{"path": "args.amount", "op": "gt", "value": 100}]}],
            "limits": [{"counter": "pays", "window": "day", "max": 2, "scope": "grant"}],
        }
    },
}


class Office:
    """A door with people behind it."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.now = NOON
        self.log_path = path.with_suffix(".jsonl")
        self.log = DecisionLog(str(self.log_path))
        wait_s = options.pop("wait_s", 0.0)
        settings = ApprovalSettings(path=path, pending_s=60, approved_s=30, wait_s=wait_s)
        held = options.pop("most_held", MAX_HELD)
        self.desk = Desk(settings, clock=lambda: self.now, most_held=held)
        self.store = Approvals(path, pending_s=60, approved_s=30)
        policy = json.dumps(options.pop("policy", POLICY)).encode()
        self.rig = Rig(policy=policy, desk=self.desk, log=self.log, **options)

    async def pay(self, amount: object = 5, **params: Any) -> Reply:
        request = call("pay", arguments={"amount": amount})
        request["params"] |= params
        return await self.rig.client.post(request)

    def waiting(self) -> list[Approval]:
        return self.store.all(self.now, State.PENDING)

    def decide(self, *, approve: bool = True, remark: str | None = None) -> str:
        (asked,) = self.waiting()
        self.store.decide(asked.id, approve=approve, by="ann", remark=remark, now_s=self.now)
        return asked.id

    @property
    def delivered(self) -> int:
        return len(self.rig.upstream.seen)

    def lines(self) -> list[dict[str, Any]]:
        """The log's decisions; it is closed."""
        assert self.log.close(5.0) == 0
        lines = map(json.loads, self.log_path.read_text().splitlines())
        return [line for line in lines if "code" in line]

    def counted(self) -> dict[str, int]:
        return {code: count for _, _, code, count in self.rig.engine.counters()}


@asynccontextmanager
async def open_office(path: Path, **options: Any) -> AsyncIterator[Office]:
    office = Office(path, **options)
    try:
        yield office
    finally:
        await office.desk.aclose()
        office.store.close()
        office.log.close(5.0)
