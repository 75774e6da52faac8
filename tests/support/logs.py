"""Decision logs to read: made by the product, of a few calls."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gateway import Caller, Engine, LimitTable, PolicySet
from gateway._core import DecisionLog

if TYPE_CHECKING:
    from pathlib import Path

POLICY = {
    "version": "1",
    "default": "deny",
    "tools": {
        "read": {},
        "send": {"limits": [{"counter": "mails", "window": "day", "max": 1}]},
    },
}
TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Desk:
    """Decides and logs as a door would.

    Args:
        how: of the log.
    """

    def __init__(self, path: Path, **how: Any) -> None:
        self.log = DecisionLog(str(path), **how)
        policy = PolicySet.parse(json.dumps(POLICY).encode(), name="policy.json")
        self.engine = Engine(policy, LimitTable(64), log=self.log)

    def call(self, tool: str, *, grant: str = "default", **arguments: Any) -> bool:
        """Decide a call; whether it was allowed."""
        params = {"name": tool, "arguments": arguments}
        body = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}
        caller = Caller(grant, server="upwork", session="s3ss10n")
        fields = [(b"traceparent", TRACE)]
        decision = self.engine.decide(caller, json.dumps(body).encode(), fields)
        if decision.allowed:
            self.engine.settle(decision, "done", status=200)
        return decision.allowed

    def close(self) -> None:
        assert self.log.close(20) == 0


def written(path: Path, **how: Any) -> Path:
    """A log of six lines."""
    desk = Desk(path, **how)
    assert desk.call("read", path="a", depth=2)
    assert desk.call("send", to="b")
    assert not desk.call("send", to="c")
    assert not desk.call("wipe\x1b[2K\u2028", grant="ci")
    desk.close()
    return path
