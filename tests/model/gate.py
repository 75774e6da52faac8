"""The whole decision, one message at a time.

INVARIANT: what is not expressly let through is refused, and only what was let through is counted.
The order is: hidden, default, deny, require, approval, limits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from model.condition import ABSENT, OPAQUE, both, find, holds
from model.document import Document, Entry, Limit
from model.envelope import Headers, Message, agree, fold, known, passes_unnamed, understand
from model.limit import Charge, Ledger, Reservation, State, ceil_div, settle
from model.reader import USUAL, Bounds, Fault, Number

if TYPE_CHECKING:
    from collections.abc import Iterator

MILLISECOND = 1_000_000
PLAIN_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,128}", re.ASCII)
REFUSED_AS = {
    "deny_if": "tool-denied",
    "require": "requirement-unmet",
    "require_approval": "approval-required",
}


@dataclass(frozen=True)
class Caller:
    """Who asks, and where."""

    grant: str = "default"
    server: str = "default"
    session: str | None = None
    revision: str | None = None

    def subject(self, scope: str) -> tuple[str, ...]:
        """Who shares a count of this scope."""
        if scope == "session" and self.session is not None:
            return ("session", self.grant, self.server, self.session)
        if scope in ("session", "grant"):
            return ("grant", self.grant, self.server)
        return ("server", self.server) if scope == "server" else ("global",)


@dataclass
class Answer:
    """What was decided, and what it holds until it is settled."""

    allowed: bool
    code: str
    rule: str | None = None
    counter: str | None = None
    limit: Fraction | None = None
    window: str | None = None
    remaining: Fraction | None = None
    retry_after_ms: int | None = None
    shadow: list[tuple[str, str]] = field(default_factory=list)
    taken: list[tuple[State, Reservation]] = field(default_factory=list)


class Refused(Exception):
    """Carries the refusal out of the stage that found it."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.code)
        self.answer = answer


@dataclass(frozen=True)
class Use:
    """One limit as this call meets it."""

    limit: Limit
    key: tuple[object, ...]
    cost: int
    most: int
    scale: int

    def plain(self, units: int) -> Fraction:
        """Units as the policy's author counts."""
        return Fraction(units, 10**self.scale)


class Gate:
    """The decision point: one policy at a time, one ledger of counts."""

    def __init__(self, policy: str, bounds: Bounds = USUAL) -> None:
        self.document = Document(policy)
        self.ledger = Ledger()
        self.bounds = bounds

    def install(self, policy: str) -> None:
        """Change the policy; counts stay."""
        self.document = Document(policy)

    def settle(self, answer: Answer, outcome: str, now: int) -> None:
        """End an admitted call, once."""
        settle(answer.taken, outcome, max(self.ledger.floor, now))
        answer.taken = []

    def decide(
        self, caller: Caller, body: bytes, headers: Headers | None = None, *, now: int = 0
    ) -> Answer:
        """Decide one message."""
        try:
            message = understand(body, self.bounds)
            if headers is not None:
                agree(message, headers)
        except Fault as fault:
            return Answer(False, fault.code)
        if message.kind == "response":
            return Answer(True, "allowed")
        shadow: list[tuple[str, str]] = []
        try:
            entries = list(self.named(message, caller, shadow))
            self.judge(message, entries, shadow)
            return self.charge(message, caller, entries, shadow, now)
        except Refused as refused:
            return refused.answer

    def refuse(self, shadowed: bool, shadow: list[tuple[str, str]], rule: str, code: str) -> None:
        """Refuse, or where the rule is in shadow mode, only say so."""
        if not shadowed:
            raise Refused(Answer(False, code, rule))
        shadow.append((rule, code))

    def named(
        self, message: Message, caller: Caller, shadow: list[tuple[str, str]]
    ) -> Iterator[Entry]:
        """The entries that apply; refuses what is hidden or not named."""
        document = self.document
        if message.method == "tools/call":
            tool = str(message.target)
            if not self.name_is_plain(tool):
                raise Refused(Answer(False, "tool-name-invalid"))
            if (place := document.hidden(tool)) is not None:
                self.refuse(document.shadow, shadow, place, "hidden")
            entries = document.entries(document.tools, tool)
            if not entries and document.default == "deny":
                self.refuse(document.shadow, shadow, "/default", "default-deny")
            yield document.all_tools
            yield from entries
            return
        method = str(message.method)
        entries = document.entries(document.methods, method)
        if not entries and document.default == "deny":
            if not known(method, modern=message.modern, revision=caller.revision):
                raise Refused(Answer(False, "method-unknown"))
            if not passes_unnamed(method):
                self.refuse(document.shadow, shadow, "/default", "method-denied")
        yield from entries

    def name_is_plain(self, tool: str) -> bool:
        """A name that is listed as it is, or that nobody could take for a listed one."""
        document = self.document
        listed = {name for name in (*document.tools, *document.hide) if "*" not in name}
        if tool in listed:
            return True
        if not PLAIN_NAME.fullmatch(tool):
            return False
        folded = fold(tool)
        return not any(folded == fold(name) for name in listed)

    def judge(self, message: Message, entries: list[Entry], shadow: list[tuple[str, str]]) -> None:
        """The argument rules of every entry, stage by stage."""
        method = message.method != "tools/call"
        root = message.argument_root()
        for stage, code in REFUSED_AS.items():
            if stage == "deny_if":
                for entry in entries:
                    if entry.action == "deny":
                        code_now = "method-denied" if method else "tool-denied"
                        self.refuse(entry.shadow, shadow, entry.pointer, code_now)
            if stage == "require_approval":
                for entry in entries:
                    if entry.action == "require_approval":
                        self.refuse(entry.shadow, shadow, entry.pointer, code)
            for entry in entries:
                for rule in entry.rules[stage]:
                    truth = both(holds(condition, root) for condition in rule.conditions)
                    if truth is None:
                        self.refuse(rule.shadow, shadow, rule.pointer, "indeterminate")
                    elif truth is not (stage == "require"):
                        code_now = "method-denied" if method and stage == "deny_if" else code
                        self.refuse(rule.shadow, shadow, rule.pointer, code_now)

    def cost(self, limit: Limit, root: Any, scale: int) -> int | None:
        """Units the call costs; None where the argument is no exact amount."""
        cost: Fraction | None
        if isinstance(limit.cost, Fraction):
            cost = limit.cost
        else:
            value = find(limit.cost, root)
            if not isinstance(value, Number) or value.negative():
                return None
            cost = value.exact()
        units = None if cost is None else cost * 10**scale
        return int(units) if units is not None and units.denominator == 1 else None

    def key_value(self, limit: Limit, root: Any) -> tuple[object, ...] | None:
        """What tells one value's quota from another's; None where that cannot be said."""
        if limit.key is None:
            return ()
        value = find(limit.key, root)
        if value is ABSENT:
            return ("absent",)
        if isinstance(value, Number):
            exact = value.exact()
            return None if exact is None else ("number", exact)
        if value is OPAQUE or isinstance(value, (dict, list)):
            return None
        return (type(value).__name__, value)

    def uses(
        self, message: Message, caller: Caller, entries: list[Entry], shadow: list[tuple[str, str]]
    ) -> Iterator[Use]:
        root = message.argument_root()
        for entry in entries:
            for limit in entry.limits:
                scale = self.document.scale(limit)
                cost, value = self.cost(limit, root, scale), self.key_value(limit, root)
                if cost is None:
                    self.refuse(limit.shadow, shadow, limit.pointer, "cost-invalid")
                elif value is None:
                    self.refuse(limit.shadow, shadow, limit.pointer, "indeterminate")
                else:
                    who = caller.subject(limit.scope)
                    key = (limit.identity(), limit.algorithm, scale, who, value)
                    yield Use(limit, key, cost, int(limit.max * 10**scale), scale)

    def charge(
        self,
        message: Message,
        caller: Caller,
        entries: list[Entry],
        shadow: list[tuple[str, str]],
        now: int,
    ) -> Answer:
        """Charge every quota once, if every place that names one has room."""
        uses = list(self.uses(message, caller, entries, shadow))
        if not uses:
            return Answer(True, "allowed", shadow=shadow)
        t = self.ledger.clock(now)
        charges: dict[tuple[object, ...], Charge] = {}
        for use in uses:
            same = [other for other in uses if other.key == use.key]
            charges[use.key] = Charge(
                key=use.key,
                state=use.limit.fresh(use.most),
                cost=use.cost,
                maxima=tuple(u.most for u in same if not u.limit.shadow),
                shadow_maxima=tuple(u.most for u in same if u.limit.shadow),
            )
        waits: list[tuple[Use, int | None]] = []
        for use in uses:
            state = self.ledger.state(charges[use.key])
            if not state.has_room(t, use.cost, use.most):
                if use.limit.shadow:
                    shadow.append((use.limit.pointer, "limit-exceeded"))
                else:
                    waits.append((use, state.wait(t, use.cost, use.most)))
        if waits:
            return self.exceeded(waits, charges, shadow, t)
        taken = self.ledger.take(list(charges.values()), t)
        answer = Answer(True, "allowed", shadow=shadow, taken=taken)
        enforced = [use for use in uses if not use.limit.shadow]
        if enforced:
            self.report(answer, self.tightest(enforced, charges, t), charges, t)
        return answer

    def tightest(self, uses: list[Use], charges: dict[tuple[object, ...], Charge], t: int) -> Use:
        """The limit with the least left, the first of equals."""
        return min(
            uses,
            key=lambda use: use.plain(self.ledger.state(charges[use.key]).remaining(t, use.most)),
        )

    def exceeded(
        self,
        waits: list[tuple[Use, int | None]],
        charges: dict[tuple[object, ...], Charge],
        shadow: list[tuple[str, str]],
        t: int,
    ) -> Answer:
        """The first limit without room, and how long until all of them would have it."""
        use = waits[0][0]
        times = [wait for _, wait in waits]
        answer = Answer(False, "limit-exceeded", use.limit.pointer, shadow=shadow)
        self.report(answer, use, charges, t)
        known_times = [wait for wait in times if wait is not None]
        if len(known_times) == len(times):
            answer.retry_after_ms = ceil_div(max(known_times), MILLISECOND)
        return answer

    def report(
        self, answer: Answer, use: Use, charges: dict[tuple[object, ...], Charge], t: int
    ) -> None:
        state = self.ledger.state(charges[use.key])
        answer.counter, answer.window = use.limit.counter, use.limit.window
        answer.limit = use.limit.max
        answer.remaining = use.plain(state.remaining(t, use.most))
