"""Runs test cases of a policy on a simulated clock.

INVARIANT: a case is decided by the same engine that a sidecar decides by, on a limit table of its
own; nothing here knows what a policy means.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway._core import Approval, Caller, Decision, Engine, LimitTable, PolicySet
from gateway.author.coverage import bitten

if TYPE_CHECKING:
    from gateway.author.cases import Call, Case, Step

SLOTS = 4_096
"""Quotas that one case can use."""

Differences = dict[str, tuple[Any, Any]]


@dataclass(frozen=True)
class Failure:
    """A step that did not go as expected.

    Attributes:
        line: of the step.
        number: which of its repetitions, from 1; 0 where it has only one.
        now_ns: when, nanoseconds since 1970 UTC.
        differences: what was expected and what came, by the names of an `expect`.
        told: the explanation of the engine, made before the call.
    """

    line: int
    number: int
    now_ns: int
    call: Call
    differences: Differences
    told: Mapping[str, Any]


@dataclass
class Result:
    """How a case went."""

    case: Case
    calls: int = 0
    failures: list[Failure] = field(default_factory=list)
    bitten: set[str] = field(default_factory=set)
    """RFC 6901 pointers of what showed itself: entries that matched, and rules that refused."""

    @property
    def passed(self) -> bool:
        return not self.failures


def run(policies: PolicySet, cases: Iterable[Case]) -> list[Result]:
    """Every case, each with nothing used yet."""
    return [_Run(policies, case).result for case in cases]


class _Run:
    """One case."""

    def __init__(self, policies: PolicySet, case: Case) -> None:
        self.result = Result(case)
        self._engine = Engine(policies, LimitTable(SLOTS))
        self._running: dict[str, Decision] = {}
        now = case.start_ns
        for step in case.steps:
            now = now + step.after_ns if step.at_ns is None else step.at_ns + step.after_ns
            if step.ends is not None:
                ended = self._running.pop(step.ends, None)
                if ended is not None:
                    self._engine.settle(ended, step.outcome, now_ns=now)
                continue
            for number in range(step.repeat):
                now += step.every_ns if number else 0
                self._call(step, number + 1 if step.repeat > 1 else 0, now)

    def _call(self, step: Step, number: int, now: int) -> None:
        call = step.call
        assert call is not None
        who = Caller(call.who.grant, server=call.who.server, session=call.who.session)
        told = json.loads(self._engine.explain(who, call.body, now_ns=now))
        approval = Approval("approved", policy=self._engine.policies.digest)
        decision = self._engine.decide(
            who, call.body, approval=approval if call.approved else None, now_ns=now
        )
        self.result.calls += 1
        self.result.bitten |= bitten(told)
        differences = _differences(step.expect or {}, decision)
        if differences:
            failure = Failure(step.line, number, now, call, differences, told)
            self.result.failures.append(failure)
        if step.label is not None and decision.allowed:
            self._running[step.label] = decision
        else:
            self._engine.settle(decision, "done", now_ns=now)


def _differences(expect: Mapping[str, Any], decision: Decision) -> Differences:
    """What is not as expected."""
    found: Differences = {}
    for name, wanted in expect.items():
        got = _fact(name, decision)
        match name:
            case "code" if wanted == "denied":
                same = not decision.allowed
            case "message":
                same = wanted in got
            case _:
                same = got == wanted
        if not same:
            found[name] = (wanted, got)
    return found


def _fact(name: str, decision: Decision) -> Any:
    match name:
        case "wait":
            return decision.retry_after_ms
        case "shadow":
            return [rule for rule, _ in decision.shadow]
        case _:
            return getattr(decision, name)
