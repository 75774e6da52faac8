"""The two deciders behind one face, so that a test can ask both the same thing.

What is compared is a plain dictionary of what was decided; nothing of either side leaks into it.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Protocol

from gateway import _core
from gateway._core import Engine, LimitTable, PolicySet
from model.gate import Answer, Caller, Gate

Headers = list[tuple[bytes, bytes]] | None
FACTS = ("allowed", "code", "rule", "counter", "limit", "window", "remaining", "retry_after_ms")


class Side(Protocol):
    """A decider with one policy and its own counts."""

    def __init__(self, policy: str) -> None: ...
    def install(self, policy: str) -> None: ...
    def settle(self, label: str, outcome: str, now: int) -> None: ...
    def decide(
        self,
        caller: dict[str, str | None],
        body: bytes,
        headers: Headers = None,
        now: int = 0,
        label: str | None = None,
    ) -> dict[str, Any]: ...


class Model:
    """The executable specification."""

    def __init__(self, policy: str) -> None:
        self.gate = Gate(policy)
        self.answers: dict[str, Answer] = {}

    def install(self, policy: str) -> None:
        self.gate.install(policy)

    def settle(self, label: str, outcome: str, now: int) -> None:
        self.gate.settle(self.answers[label], outcome, now)

    def decide(
        self,
        caller: dict[str, str | None],
        body: bytes,
        headers: Headers = None,
        now: int = 0,
        label: str | None = None,
    ) -> dict[str, Any]:
        answer = self.gate.decide(Caller(**caller), body, headers, now=now)  # type: ignore[arg-type]
        if label is not None:
            self.answers[label] = answer
        facts = {name: plain(getattr(answer, name)) for name in FACTS}
        left = [tuple(plain(value) for value in vars(each).values()) for each in answer.left]
        return {**facts, "shadow": list(answer.shadow), "left": left}


class Core:
    """The engine, through its real boundary."""

    def __init__(self, policy: str) -> None:
        self.engine = Engine(self.parse(policy), LimitTable(1024))
        self.decisions: dict[str, Any] = {}
        # A decision that is dropped ends its call's concurrency; here calls end as a test says.
        self.running: list[Any] = []

    def parse(self, policy: str) -> PolicySet:
        return PolicySet.parse(policy.encode(), name="case.json")

    def install(self, policy: str) -> None:
        self.engine.install(self.parse(policy))

    def settle(self, label: str, outcome: str, now: int) -> None:
        self.engine.settle(self.decisions[label], outcome, now_ns=now)

    def decide(
        self,
        caller: dict[str, str | None],
        body: bytes,
        headers: Headers = None,
        now: int = 0,
        label: str | None = None,
    ) -> dict[str, Any]:
        who = {"grant": "default", "server": "default", **caller}
        asker = _core.Caller(who.pop("grant"), **who)
        decision = self.engine.decide(asker, body, headers, now_ns=now)
        self.running.append(decision)
        if label is not None:
            self.decisions[label] = decision
        facts = {name: getattr(decision, name) for name in FACTS}
        return {**facts, "shadow": list(decision.shadow)}


def plain(value: Any) -> Any:
    """Exact fractions as the numbers that a user is shown."""
    if isinstance(value, Fraction):
        return int(value) if value.denominator == 1 else float(value)
    return value


def agree(model: dict[str, Any], core: dict[str, Any], body: bytes) -> None:
    """Fail, showing both sides, unless they decided the same.

    Of the limits of an admitted call, the engine may report any: the specification knows what each
    has left.
    """
    left, right = comparable(model), comparable(core)
    assert left == right, f"\nbody  {body!r}\nmodel {left}\ncore  {right}"
    if model["allowed"]:
        reported = tuple(core[name] for name in ("counter", "limit", "window", "remaining"))
        known = model["left"] or [(None,) * 4]
        assert reported in known, f"\nbody  {body!r}\nmodel {known}\ncore  {reported}"


def comparable(facts: dict[str, Any]) -> dict[str, Any]:
    """What both sides promise of a decision."""
    if not facts["allowed"]:
        return {name: facts[name] for name in FACTS}
    return {"allowed": True, "shadow": sorted(facts["shadow"])}
