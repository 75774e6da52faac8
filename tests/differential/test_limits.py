"""A machine that calls, lets time pass and changes the policy, on both sides at once.

The clock may step back; calls may end in any order, twice, late, or never.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from differential.made import limits
from differential.sides import Core, Model, Side, agree

MILLISECOND = 1_000_000
START = 1_772_409_540_000_000_000  # 2026-03-01T23:59:00Z: a day, and soon a week, ends
TOOLS = ("a", "ab")
WINDOWS = ("second", "10s", "minute", "90s", "day", "month")


@st.composite
def policies(draw: st.DrawFn) -> str:
    """Policies that only limit: two tools, and what is common to them."""
    some = st.lists(limits(WINDOWS), max_size=2)
    document: dict[str, Any] = {
        "version": "1",
        "default": "deny",
        "all_tools": {"limits": draw(some)},
        "tools": {"a": {"limits": draw(some)}, "a*": {"limits": draw(some)}},
    }
    return json.dumps(document)


def call_body(tool: str, amount: str, key: str) -> bytes:
    params = f'{{"name":"{tool}","arguments":{{"n":{amount},"k":{key}}}}}'
    return f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}'.encode()


@pytest.mark.parametrize("side", [Model, Core])
@given(
    policy=policies(),
    calls=st.lists(
        st.tuples(
            st.sampled_from(TOOLS),
            st.sampled_from(["1", "2", "0.5"]),
            st.sampled_from([0, 1, 400, 3_000, 20_000]),
        ),
        min_size=1,
        max_size=20,
    ),
)
def test_a_refused_call_is_admitted_when_it_was_told_and_no_sooner(
    side: type[Side], policy: str, calls: list[tuple[str, str, int]]
) -> None:
    decider, now = side(policy), START
    for tool, amount, ms in calls:
        now += ms * MILLISECOND
        body = call_body(tool, amount, '"p"')
        wait = decider.decide({}, body, now=now)["retry_after_ms"]
        if wait is not None:
            assert wait > 0
            now += wait * MILLISECOND
            early = decider.decide({}, body, now=now - MILLISECOND)
            assert not early["allowed"]
            assert early["retry_after_ms"] == 1
            assert decider.decide({}, body, now=now)["allowed"]


class Limits(RuleBasedStateMachine):
    """Both sides, one clock."""

    @initialize(policy=policies())
    def begin(self, policy: str) -> None:
        self.now = START
        self.model, self.core = Model(policy), Core(policy)
        self.open: list[str] = []
        self.calls = 0
        self.wait: int | None = None

    @rule(
        tool=st.sampled_from(TOOLS),
        amount=st.sampled_from(["1", "2", "0.5", "3", "9", "0", "-1", '"1"']),
        key=st.sampled_from(['"p"', '"q"', "1", "1.0"]),
        caller=st.sampled_from([{"grant": "g"}, {"grant": "h"}, {"grant": "g", "session": "1"}]),
    )
    def call(self, tool: str, amount: str, key: str, caller: dict[str, str | None]) -> None:
        self.calls += 1
        label = str(self.calls)
        body = call_body(tool, amount, key)
        model = self.model.decide(caller, body, now=self.now, label=label)
        core = self.core.decide(caller, body, now=self.now, label=label)
        agree(model, core, body)
        if model["allowed"]:
            self.open.append(label)
        self.wait = model["retry_after_ms"]

    @rule(ms=st.sampled_from([1, 999, 1_000, 5_000, 8_572, 10_000, 60_000, 86_400_000]))
    def advance(self, ms: int) -> None:
        self.now += ms * MILLISECOND

    @precondition(lambda self: self.wait is not None)
    @rule(early=st.booleans())
    def advance_by_the_wait(self, early: bool) -> None:
        assert self.wait is not None
        self.now += (self.wait - early) * MILLISECOND
        self.wait = None

    @rule(ms=st.sampled_from([1_000, 60_000, 90_000_000]))
    def step_back(self, ms: int) -> None:
        self.now -= ms * MILLISECOND

    @precondition(lambda self: self.open)
    @rule(
        data=st.data(),
        outcome=st.sampled_from(["done", "unknown", "not-sent"]),
        again=st.booleans(),
    )
    def settle(self, data: st.DataObject, outcome: str, again: bool) -> None:
        label = data.draw(st.sampled_from(self.open))
        if not again:
            self.open.remove(label)
        self.model.settle(label, outcome, self.now)
        self.core.settle(label, outcome, self.now)

    @rule(policy=policies())
    def install(self, policy: str) -> None:
        self.model.install(policy)
        self.core.install(policy)


TestLimits = Limits.TestCase
TestLimits.settings = settings()
