"""Calls that show how two policies differ."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from gateway._core import Caller, Decision, Engine, PolicySet
from gateway.author.calls import method_body, tool_body

if TYPE_CHECKING:
    from gateway.author.document import Node


@dataclass(frozen=True)
class Made:
    """One call of an example.

    Attributes:
        at_ns: nanoseconds since 1970 UTC.
        who: grant, server and session.
        name: a tool, or a method where `tool` is False.
        stays: it does not end before the example does.
    """

    at_ns: int
    who: tuple[str, str, str]
    name: str
    tool: bool
    arguments: Any
    stays: bool = False

    def without(self, name: str) -> Made:
        """The same call without an argument."""
        return replace(self, arguments={k: v for k, v in self.arguments.items() if k != name})

    def decided(self, engines: list[Engine]) -> list[Decision]:
        """What engines decide of it; it ends at once, unless it stays."""
        grant, server, session = self.who
        caller, body = Caller(grant, server=server, session=session), self.body()
        decisions = [engine.decide(caller, body, now_ns=self.at_ns) for engine in engines]
        if not self.stays:
            for engine, decision in zip(engines, decisions, strict=True):
                engine.settle(decision, "done", now_ns=self.at_ns)
        return decisions

    def body(self) -> bytes:
        """The message."""
        given = json.dumps(self.arguments, ensure_ascii=False)
        if self.tool:
            return tool_body(self.name, given)
        return method_body(self.name, given)


@dataclass(frozen=True)
class Side:
    """How one policy decides the last call of an example."""

    code: str
    rule: str | None
    message: str

    @staticmethod
    def of(decision: Decision) -> Side:
        """What is told of a decision."""
        return Side(decision.code, decision.rule, decision.message)


@dataclass
class Difference:
    """Calls after which one policy allows what the other refuses.

    Attributes:
        allows: `old` or `new`.
        old: how the old policy decides the last of the calls.
        names: tools or methods that are refused by the same rule in the same way.
    """

    allows: str
    old: Side
    new: Side
    calls: list[Made]
    names: list[str] = field(default_factory=list)

    @property
    def refusing(self) -> Side:
        """The side that refuses."""
        return self.new if self.allows == "old" else self.old


@dataclass
class Found:
    """What a search came upon."""

    differences: list[Difference] = field(default_factory=list)
    tried: int = 0
    not_covered: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Policy:
    """A policy, and the document that it was compiled from."""

    policies: PolicySet
    root: Node


def weight(calls: list[Made]) -> tuple[int, int]:
    """Examples are the better the fewer calls and the shorter arguments they have."""
    return len(calls), len(json.dumps(calls[-1].arguments))
