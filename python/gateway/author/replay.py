"""Calls that were made, decided again by another policy on a simulated clock.

INVARIANT: what rules are said to refuse or to let pass is certain. Where that hangs on an argument
whose value is not known, the call is told as not known. For the limits such a call counts as one
that passed, so that what limits are said to refuse is the most that they would.
"""

from __future__ import annotations

import heapq
import json
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson

from gateway._core import Approval, Caller, Decision, Engine, LimitTable, PolicySet
from gateway.author.calls import method_body, tool_body
from gateway.author.tally import Tally
from gateway.author.unknowns import Part, lenient, parts, strict

if TYPE_CHECKING:
    from gateway.author.calllog import Logged
    from gateway.author.document import Node

SLOTS = 1 << 18
"""Quotas in use at one time; 32 MiB."""
NOT_KNOWN = "not-known"


@dataclass
class Unknown:
    """Calls of which a rule cannot say anything, because the log does not."""

    rule: str
    calls: int = 0
    arguments: set[str] = field(default_factory=set)


@dataclass
class Replay:
    """What a policy makes of the calls of a log."""

    calls: int = 0
    at_ns: array[int] = field(default_factory=lambda: array("q"))
    was: Counter[str] = field(default_factory=Counter)
    """Calls by what was decided of them; empty for a plain list."""
    now: Counter[str] = field(default_factory=Counter)
    """Calls by what would be decided of them, or `not-known`."""
    grants: Counter[str] = field(default_factory=Counter)
    applied: Counter[str] = field(default_factory=Counter)
    """Calls by each entry of the policy that applied to them."""
    findings: dict[tuple[str, str, str], Tally] = field(default_factory=dict)
    """Calls by kind, rule and code. The kinds: `refused` what was allowed; `allowed` what was
    refused, with the rule and code that had refused it; `recoded`, refused for another reason;
    `shadow`, what would be refused if it were enforced; `same`, what was refused before as well,
    or, in a plain list, all that is refused."""
    unknown: dict[str, Unknown] = field(default_factory=dict)
    peaks: dict[tuple[str, str, str], array[int]] = field(default_factory=dict)
    """When calls were made that were admitted and may stay so, by grant, server and tool."""
    out_of_order: int = 0
    """Lines that tell of an earlier instant than the line before."""

    def of(self, rule: str) -> int:
        """How many calls a rule was asked about: those that its entry applied to."""
        entries = [entry for entry in self.applied if rule.startswith(f"{entry}/")]
        return self.applied[max(entries, key=len)] if entries else self.calls


@dataclass(slots=True)
class _Plan:
    """How calls are decided that are alike in tool and in what is known of their arguments."""

    engine: Engine
    strict: Engine | None
    unknown: tuple[Part, ...]
    missing: dict[str, list[str]]
    entries: list[str]
    limits_unknown: bool
    body: bytes | None
    calls: int = 0


class Replayer:
    """Decides calls by a policy, one after the other.

    Args:
        policies: the candidate.
        root: the document that it was compiled from.
        slots: quotas that may be in use at one time.
    """

    def __init__(self, policies: PolicySet, root: Node, *, slots: int = SLOTS) -> None:
        self.result = Replay()
        self._root = root
        self._table = LimitTable(slots)
        self._engine = Engine(policies, self._table)
        self._plans: dict[object, _Plan] = {}
        self._lenient: dict[frozenset[str], Engine] = {}
        self._callers: dict[tuple[str, str, str | None], Caller] = {}
        self._running: list[tuple[int, int, Engine, Decision, bool]] = []
        self._concurrency = '"concurrency"' in json.dumps(root.value)
        self._latest = 0

    def run(self, calls: Iterable[Logged]) -> Replay:
        """Decide all of them."""
        for call in calls:
            self.decide(call)
        for plan in self._plans.values():
            for entry in plan.entries:
                self.result.applied[entry] += plan.calls
        return self.result

    def decide(self, call: Logged) -> str:
        """Decide one call; its code, or `not-known`."""
        result, now = self.result, call.at_ns
        known = frozenset(call.values)
        key = (call.tool or call.method, call.tool is None, call.names, known)
        plan = self._plans.get(key) or self._planned(key, call, known)
        plan.calls += 1
        result.calls += 1
        result.at_ns.append(now)
        result.grants[call.grant] += 1
        if now < self._latest:
            result.out_of_order += 1
        else:
            self._latest = now
        who = (call.grant, call.server, call.session)
        caller = self._callers.get(who)
        if caller is None:
            caller = Caller(call.grant, server=call.server, session=call.session)
            self._callers[who] = caller
        if self._running:
            self._end(now)
        body = plan.body if plan.body is not None else _body(call)
        decision = _decided(plan.engine, call, caller, body)
        code = decision.code
        if code == "allowed":
            if self._concurrency or not call.sent:
                ends = now + round(call.took_ms * 1_000_000)
                running = (ends, result.calls, plan.engine, decision, call.sent)
                heapq.heappush(self._running, running)
            if plan.unknown:
                certain = self._certain(plan, call, caller, body)
                code = code if certain else NOT_KNOWN
                for part in plan.unknown:
                    if part.shadow or not certain:
                        unknown = result.unknown.setdefault(part.pointer, Unknown(part.pointer))
                        unknown.calls += 1
                        unknown.arguments.update(plan.missing[part.pointer])
        self._note(call, code, decision, sure=not plan.unknown)
        return code

    def _certain(self, plan: _Plan, call: Logged, caller: Caller, body: bytes) -> bool:
        """Whether a call passes whatever its unknown arguments are."""
        if plan.limits_unknown or plan.strict is None:
            return False
        return _decided(plan.strict, call, caller, body).allowed

    def _note(self, call: Logged, code: str, decision: Decision, *, sure: bool) -> None:
        """Add up what became of a call.

        Args:
            sure: nothing of it is unknown, so that the code is the one that the call would get, and
                not only one that it could get.
        """
        result, was = self.result, call.code
        result.now[code] += 1
        if was is not None:
            result.was[was] += 1
        if code == "allowed" and was == "allowed" and not decision.shadowed:
            self._peak(call)
            return
        if code in ("allowed", "limit-exceeded", NOT_KNOWN) and was in (None, "allowed"):
            self._peak(call)
        for rule, shadow_code in decision.shadow:
            self._find("shadow", rule, shadow_code, call)
        if code == NOT_KNOWN:
            return
        if code == "allowed":
            if was not in (None, "allowed"):
                self._find("allowed", call.rule or "", was or "", call)
            return
        kind = "same"
        if was is not None and was != code:
            kind = "refused" if was == "allowed" else ("recoded" if sure else "same")
        self._find(kind, decision.rule or "", code, call)

    def _find(self, kind: str, rule: str, code: str, call: Logged) -> None:
        key = (kind, rule, code)
        found = self.result.findings.get(key)
        if found is None:
            found = self.result.findings[key] = Tally(rule, code)
        found.add(call)

    def _peak(self, call: Logged) -> None:
        if call.tool is not None:
            key = (call.grant, call.server, call.tool)
            self.result.peaks.setdefault(key, array("q")).append(call.at_ns)

    def _end(self, now: int) -> None:
        """End the calls that had ended by now."""
        while self._running and self._running[0][0] <= now:
            ended, _, engine, decision, sent = heapq.heappop(self._running)
            engine.settle(decision, "done" if sent else "not-sent", now_ns=ended)

    def _planned(self, key: object, call: Logged, known: frozenset[str]) -> _Plan:
        body = _body(call)
        caller = Caller(call.grant, server=call.server)
        told = json.loads(self._engine.explain(caller, body, now_ns=call.at_ns))
        missing = {
            part.pointer: (part, part.missing(call.names, known))
            for entry in told["entries"]
            for part in parts(self._root, entry)
        }
        unknown = {pointer: part for pointer, (part, names) in missing.items() if names}
        engine, rehearsal = self._engine, None
        if unknown:
            which = frozenset(unknown)
            if which not in self._lenient:
                policies = lenient(self._root, unknown)
                self._lenient[which] = Engine(policies, self._table)
            engine = self._lenient[which]
            policies = strict(self._root, unknown, call.names, known)
            rehearsal = Engine(policies, self._table)
        plan = self._plans[key] = _Plan(
            engine,
            rehearsal,
            tuple(unknown.values()),
            {pointer: names for pointer, (_, names) in missing.items()},
            told["entries"],
            any(part.kind == "limits" and not part.shadow for part in unknown.values()),
            None if call.values else body,
        )
        return plan


def _decided(engine: Engine, call: Logged, caller: Caller, body: bytes) -> Decision:
    """Decide a call, which a person who had approved it would approve again."""
    if not call.approved:
        return engine.decide(caller, body, now_ns=call.at_ns)
    approval = Approval("approved", policy=engine.policies.digest)
    return engine.decide(caller, body, approval=approval, now_ns=call.at_ns)


def _body(call: Logged) -> bytes:
    """The message, with null for what is not known."""
    if call.names is None and not call.values:
        arguments = None
    else:
        arguments = orjson.dumps({**dict.fromkeys(call.names or ()), **call.values}).decode()
    if call.tool is not None:
        return tool_body(call.tool, arguments)
    if call.method == "prompts/get":
        # Which prompt it was is no argument, and no rule can ask for it.
        params = '{"name":"-"}' if arguments is None else f'{{"name":"-","arguments":{arguments}}}'
        return method_body(call.method, params)
    return method_body(call.method, arguments)
