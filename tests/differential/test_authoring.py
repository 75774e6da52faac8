"""`explain`, `test`, `replay` and the running door decide every call alike."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from differential.made import TOOLS, arguments, policies
from gateway import Caller, Engine, LimitTable, PolicySet
from gateway.author import testing
from gateway.author.calllog import Logged
from gateway.author.calls import tool_body
from gateway.author.cases import Call, Case, Step, Who
from gateway.author.document import Document, Node
from gateway.author.replay import NOT_KNOWN, Replayer
from support.door import Rig

START = 1_772_445_612_000_000_000  # 2026-03-02T10:00:12Z
SECOND = 1_000_000_000
Made = list[tuple[str, str]]


def replayer(policy: str) -> Replayer:
    policies = PolicySet.parse(policy.encode(), name="p.json")
    return Replayer(policies, Node(Document("p.json", {}), json.loads(policy)), slots=256)


def logged(tool: str, names: tuple[str, ...], values: dict[str, Any], now: int) -> Logged:
    return Logged(now, 0, "g", "default", None, tool, "tools/call", names, values, None, None)


def spelt(text: str) -> dict[str, Any] | None:
    """Arguments as a log brings them; None where a reader of logs would not get them back."""
    try:
        read = json.loads(text)
    except ValueError:
        return None
    return read if json.loads(json.dumps(read)) == read and same_numbers(text) else None


def same_numbers(text: str) -> bool:
    """Whether no number loses digits on its way through a reader."""
    found: list[str] = []
    json.loads(text, parse_float=found.append, parse_int=found.append)
    return all(len(number) < 15 for number in found)


def explained(policy: str, made: Made, grant: str = "g") -> list[str]:
    """Explaining each call before it is decided."""
    engine = Engine(PolicySet.parse(policy.encode(), name="p.json"), LimitTable(256))
    caller, found = Caller(grant, server="default"), []
    for number, (tool, text) in enumerate(made):
        now = START + number * SECOND
        body = tool_body(tool, text)
        found.append(json.loads(engine.explain(caller, body, now_ns=now))["decision"]["code"])
        engine.settle(engine.decide(caller, body, now_ns=now), "done", now_ns=now)
    return found


def as_cases(policy: str, made: Made, codes: list[str], grant: str = "g") -> testing.Result:
    """Running the calls as a test case that expects these codes."""
    steps = [
        Step(
            1,
            START + n * SECOND,
            call=Call(Who(grant), tool_body(*one), ""),
            expect={"code": code},
        )
        for n, (one, code) in enumerate(zip(made, codes, strict=True))
    ]
    policies = PolicySet.parse(policy.encode(), name="p.json")
    (result,) = testing.run(policies, [Case("all", "c.yaml", 1, 1, START, tuple(steps))])
    return result


async def served(policy: str, made: Made) -> list[str]:
    """Sending the calls through the HTTP door, at the same instants."""
    rig = Rig(policy=policy.encode(), grant="g")
    inner = rig.engine._engine
    now = START

    def decide(caller: Caller, body: bytes, headers: Any, **how: Any) -> Any:
        return inner.decide(caller, body, headers, now_ns=now, **how)

    rig.engine.decide = decide  # type: ignore[attr-defined]
    found = []
    for tool, text in made:
        reply = await rig.client.post(tool_body(tool, text))
        refused = "error" in reply.json or reply.json["result"].get("isError")
        found.append(str(reply.code) if refused else "allowed")
        now += SECOND
    return found


@given(policies(), st.lists(st.tuples(st.sampled_from(TOOLS), arguments()), max_size=6))
def test_all_of_them_decide_alike(policy: str, made: Made) -> None:
    made = [(tool, text) for tool, text in made if spelt(text) is not None]
    codes = asyncio.run(served(policy, made))
    assert explained(policy, made) == codes
    assert as_cases(policy, made, codes).failures == []
    again = replayer(policy)
    for number, ((tool, text), code) in enumerate(zip(made, codes, strict=True)):
        values = spelt(text) or {}
        now = START + number * SECOND
        assert again.decide(logged(tool, tuple(values), values, now)) == code


def test_the_comparison_can_fail() -> None:
    policy = '{"version": "1", "default": "deny", "tools": {"a": {}}}'
    made = [("a", "{}"), ("b", "{}")]
    assert asyncio.run(served(policy, made)) == ["allowed", "default-deny"]
    assert len(as_cases(policy, made, ["denied-by-nobody", "default-deny"]).failures) == 1


def without_limits(policy: str) -> str:
    """What is not known counts as passed where limits are counted; rules are certain."""
    document = json.loads(policy)
    groups = (document.get("tools"), document.get("methods"), {"": document.get("all_tools") or {}})
    for entry in (entry for group in groups for entry in (group or {}).values()):
        entry.pop("limits", None)
    return json.dumps(document)


@given(policies().map(without_limits), st.sampled_from(TOOLS), arguments(), st.data())
def test_what_is_told_as_certain_is_so_whatever_is_hidden(
    policy: str, tool: str, given: str, data: st.DataObject
) -> None:
    values = spelt(given)
    if values is None:
        return
    hidden = data.draw(st.sets(st.sampled_from(sorted(values)))) if values else set()
    known = {name: value for name, value in values.items() if name not in hidden}
    told = replayer(policy).decide(logged(tool, tuple(values), known, START))
    truth = replayer(policy).decide(logged(tool, tuple(values), values, START))
    assert truth != NOT_KNOWN
    # Whether it passes is certain, not which of several rules is named.
    assert told == NOT_KNOWN or (told == "allowed") == (truth == "allowed")
    assert hidden or told == truth
    unnamed = logged(tool, (), known, START)._replace(names=None)
    told = replayer(policy).decide(unnamed)
    assert told == NOT_KNOWN or (told == "allowed") == (truth == "allowed")


@pytest.mark.parametrize(
    ("rule", "known", "code"),
    [
        ({"deny_if": [{"path": "args.x", "op": "gt", "value": 5}]}, {}, NOT_KNOWN),
        ({"deny_if": [{"path": "args.x", "op": "exists", "value": True}]}, {}, "tool-denied"),
        ({"require": [{"path": "args.x", "op": "exists", "value": True}]}, {}, "allowed"),
        ({"require": [{"path": "args.x", "op": "gt", "value": 5}]}, {}, NOT_KNOWN),
        ({"require_approval": [{"path": "args.x", "op": "gt", "value": 5}]}, {}, NOT_KNOWN),
        ({"deny_if": [{"path": "args.y", "op": "gt", "value": 5}]}, {}, "allowed"),
        (
            {
                "deny_if": [
                    {"path": "args.x", "op": "gt", "value": 5},
                    {"path": "args.z", "op": "eq", "value": 1},
                ]
            },
            {"z": 2},
            "allowed",
        ),
        (
            {
                "deny_if": [
                    {"path": "args.x", "op": "gt", "value": 5},
                    {"path": "args.z", "op": "eq", "value": 1},
                ]
            },
            {"z": 1},
            NOT_KNOWN,
        ),
    ],
)
def test_what_a_log_without_values_still_tells(
    rule: dict[str, Any], known: dict[str, Any], code: str
) -> None:
    entry = {kind: [{"conditions": conditions}] for kind, conditions in rule.items()}
    policy = {"version": "1", "default": "deny", "tools": {"t": entry}}
    again = replayer(json.dumps(policy))
    assert again.decide(logged("t", ("x", "z"), known, START)) == code
    told = {f"/tools/t/{next(iter(rule))}/0"} if code == NOT_KNOWN else set()
    assert set(again.result.unknown) == told


def test_without_names_nothing_is_known_to_be_there() -> None:
    asks = {"conditions": [{"path": "args.x", "op": "exists", "value": True}]}
    policy = {"version": "1", "default": "deny", "tools": {"t": {"require": [asks]}}}
    again = replayer(json.dumps(policy))
    unnamed = logged("t", (), {}, START)._replace(names=None)
    assert again.decide(unnamed) == NOT_KNOWN
    # An `X` could be among the names, and then it could not be decided.
    assert again.decide(unnamed._replace(values={"x": 1})) == NOT_KNOWN
