"""A gateway as operators see it, with figures of a test's choosing."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from gateway._core import Caller, DecisionLog, Engine, LimitTable, PolicySet
from gateway.operate.report import tell
from gateway.policies import PolicyStatus
from gateway.reloads import Reload

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.operate.admin import Ask
    from gateway.operate.view import TracingView

POLICY: dict[str, Any] = {
    "version": "1",
    "default": "deny",
    "tools": {
        "search": {
            "limits": [
                {"counter": "calls", "window": "week", "max": 30},
                {"counter": "few", "window": "week", "max": 1, "mode": "shadow"},
            ]
        }
    },
}


@dataclass
class Route:
    """One grant on one server; the engine is a real one."""

    server: str
    grant: str
    engine: Engine
    last_error: str | None = None
    in_flight: int = 2
    sessions: int = 1
    unpinned: int = 5
    upstream_errors: Mapping[str, int] = field(default_factory=lambda: {"connect": 1})

    @property
    def caller(self) -> Caller:
        return Caller(self.grant, server=self.server)

    def policy(self) -> PolicyStatus:
        return PolicyStatus(
            name="policy.json",
            digest="ab" * 32,
            source=f"/etc/{self.server}/policy.json",
            loaded_at=1000.5,
            last_error=self.last_error,
            reloads={"success": 1, "failure": 0, "unchanged": 2},
        )

    def call(self, *tools: str) -> None:
        """Decide calls of these tools."""
        for tool in tools:
            params = {"name": tool, "arguments": {}}
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
            self.engine.decide(self.caller, json.dumps(body).encode())


def route(
    server: str = "upwork", grant: str = "default", *, policy: Mapping[str, Any] = POLICY
) -> Route:
    """A route on which nothing has happened."""
    compiled = PolicySet.parse(json.dumps(policy).encode(), name="policy.json")
    return Route(server, grant, Engine(compiled, LimitTable(64)))


def busy(server: str = "upwork", grant: str = "default") -> Route:
    """A route on which a little has happened: three calls that passed, and one that did not."""
    made = route(server, grant)
    made.call("search", "search", "search", "made-up")
    return made


@dataclass
class Desk:
    """Where people are asked for approvals."""

    pending: int = 0
    outcomes: Mapping[str, int] = field(default_factory=dict)


@dataclass
class Gateway:
    """What the composition root offers."""

    there: list[Route]
    reasons: list[str]
    table: LimitTable = field(default_factory=lambda: LimitTable(64))
    log: DecisionLog | None = None
    desk: Desk | None = None
    tracing: TracingView | None = None
    deliveries: Mapping[str, int] = field(default_factory=dict)
    files: list[Reload] = field(default_factory=lambda: [Reload("policy", "p.json")])
    late: list[str] = field(default_factory=list)

    def ready(self) -> list[str]:
        return self.reasons

    def reloads(self) -> list[Reload]:
        return self.files

    def awaits_restart(self) -> list[str]:
        return self.late

    def routes(self) -> list[Route]:
        return self.there


def view(*routes: Route, not_ready: tuple[str, ...] = ()) -> Gateway:
    """A gateway of those routes, or of a busy one."""
    return Gateway(list(routes) or [busy()], list(not_ready))


def asked(gateway: Gateway) -> Ask:
    """What the admin port asks."""
    return partial(tell, gateway)
