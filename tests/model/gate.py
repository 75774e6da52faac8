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
from model.document import Document, Entry, Limit, matches
from model.envelope import (
    Headers,
    Message,
    agree,
    claims_one_message,
    disguised,
    fold,
    known,
    messages,
    once,
    opens_or_is_stateless,
    passes_unnamed,
    understand,
)
from model.limit import Charge, Ledger, Reservation, State, ceil_div, settle
from model.reader import USUAL, Bounds, Fault, Number

if TYPE_CHECKING:
    from collections.abc import Iterator

Charges = dict[tuple[object, ...], Charge]

MILLISECOND = 1_000_000
PLAIN_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,128}", re.ASCII)


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


@dataclass(frozen=True)
class Left:
    """What one limit has left."""

    counter: str
    limit: Fraction
    window: str | None
    remaining: Fraction


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
    left: list[Left] = field(default_factory=list)
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
        """Decide one message, or the array of them that one revision has."""
        try:
            if headers is not None:
                once(headers)
            found = messages(body, self.bounds, arrays=caller.revision == "2025-03-26")
        except Fault as fault:
            return Answer(False, fault.code)
        if body.lstrip().startswith(b"["):
            if headers is not None and claims_one_message(headers):
                return Answer(False, "header-mismatch")
            return self.decide_all(caller, found, now)
        return self.decide_one(caller, found[0], headers, now)

    def decide_all(self, caller: Caller, documents: list[Any], now: int) -> Answer:
        """An array passes whole or not at all: what its first messages took goes back."""
        whole = Answer(True, "allowed")
        for document in documents:
            part = self.decide_one(caller, document, None, now)
            if part.allowed and opens_or_is_stateless(document):
                part = Answer(False, "batch-not-allowed", taken=part.taken)
            whole.taken += part.taken
            if not part.allowed:
                self.settle(whole, "not-sent", now)
                return Answer(False, part.code)
        return whole

    def decide_one(
        self, caller: Caller, document: Any, headers: Headers | None, now: int
    ) -> Answer:
        try:
            message = understand(document)
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
        if message.method == "tools/call":
            yield from self.named_tool(str(message.target), shadow)
            return
        document, method = self.document, str(message.method)
        entries = document.entries(document.methods, method)
        if not entries and document.default == "deny" and not passes_unnamed(message):
            there = known(method, modern=message.modern, revision=caller.revision)
            code = "method-denied" if there else "method-unknown"
            self.refuse(document.shadow, shadow, "/default", code)
        if disguised(method):
            raise Refused(Answer(False, "method-unknown"))
        yield from entries

    def named_tool(self, tool: str, shadow: list[tuple[str, str]]) -> Iterator[Entry]:
        document = self.document
        literal = tool in document.tools or tool in document.hide
        if not literal and not PLAIN_NAME.fullmatch(tool):
            self.refuse(document.shadow, shadow, "/tools", "tool-name-invalid")
        if (place := document.hidden(tool)) is not None:
            self.refuse(document.shadow, shadow, place, "hidden")
        entries = document.entries(document.tools, tool)
        if not entries and document.default == "deny":
            self.refuse(document.shadow, shadow, "/default", "default-deny")
        if not literal and self.looks_like_another(tool):
            self.refuse(document.shadow, shadow, "/tools", "tool-name-invalid")
        yield document.all_tools
        yield from entries

    def looks_like_another(self, tool: str) -> bool:
        """Whether some name of the policy would match, were case not regarded."""
        return any(
            matches(fold(pattern), fold(tool)) and not matches(pattern, tool)
            for pattern in (*self.document.tools, *self.document.hide)
        )

    def judge(self, message: Message, entries: list[Entry], shadow: list[tuple[str, str]]) -> None:
        """The argument rules of every entry, stage by stage."""
        root = message.argument_root()
        denied = "tool-denied" if message.method == "tools/call" else "method-denied"
        for entry in entries:
            if entry.action == "deny":
                self.refuse(entry.shadow, shadow, f"{entry.pointer}/action", denied)
        for stage, code in (
            ("deny_if", denied),
            ("require", "requirement-unmet"),
            ("require_approval", "approval-required"),
        ):
            for entry in entries:
                for rule in entry.rules[stage]:
                    truth = both(holds(condition, root) for condition in rule.conditions)
                    if truth is None:
                        self.refuse(rule.shadow, shadow, rule.pointer, "indeterminate")
                    elif truth is not (stage == "require"):
                        self.refuse(rule.shadow, shadow, rule.pointer, code)
                if stage == entry.action == "require_approval":
                    self.refuse(entry.shadow, shadow, f"{entry.pointer}/action", code)

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
        charges: Charges = {}
        for use in uses:
            same = [other for other in uses if other.key == use.key]
            charges[use.key] = Charge(
                key=use.key,
                state=use.limit.fresh(use.most),
                cost=use.cost,
                maxima=tuple(u.most for u in same if not u.limit.shadow),
                shadow_maxima=tuple(u.most for u in same if u.limit.shadow),
            )
        full: list[Use] = []
        for use in uses:
            if not self.state(use, charges).has_room(t, use.cost, use.most):
                if use.limit.shadow:
                    shadow.append((use.limit.pointer, "limit-exceeded"))
                else:
                    full.append(use)
        if full:
            answer = self.exceeded(full, charges, shadow, t)
            # Admitted when all of them have room; there is no wait where that is no matter of time.
            waits = [self.state(use, charges).wait(t, use.cost, use.most) for use in full]
            known_waits = [wait for wait in waits if wait is not None]
            if len(known_waits) == len(waits):
                # The caller waits by its own clock, which may lag behind the ledger's.
                answer.retry_after_ms = ceil_div(t + max(known_waits) - now, MILLISECOND)
            return answer
        taken = self.ledger.take(list(charges.values()), t)
        answer = Answer(True, "allowed", shadow=shadow, taken=taken)
        answer.left = [self.left(use, charges, t) for use in uses if not use.limit.shadow]
        if answer.left:
            self.report(answer, min(answer.left, key=lambda left: left.remaining))
        return answer

    def state(self, use: Use, charges: Charges) -> State:
        return self.ledger.state(charges[use.key])

    def left(self, use: Use, charges: Charges, t: int) -> Left:
        """What a limit has left."""
        remaining = use.plain(self.state(use, charges).remaining(t, use.most))
        return Left(use.limit.counter, use.limit.max, use.limit.window, remaining)

    def exceeded(
        self, full: list[Use], charges: Charges, shadow: list[tuple[str, str]], t: int
    ) -> Answer:
        """The refusal: of the quotas without room the one that the policy names first speaks.

        It does so by its place with the least maximum.
        """
        mentions = list(charges)
        use = min(full, key=lambda each: (mentions.index(each.key), each.most))
        answer = Answer(False, "limit-exceeded", use.limit.pointer, shadow=shadow)
        self.report(answer, self.left(use, charges, t))
        return answer

    def report(self, answer: Answer, left: Left) -> None:
        answer.counter, answer.limit = left.counter, left.limit
        answer.window, answer.remaining = left.window, left.remaining
