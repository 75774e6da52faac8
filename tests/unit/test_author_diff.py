"""`interlock diff`: what is told really differs, and what plainly differs is told."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from differential.made import policies
from gateway import Caller, Engine, LimitTable, PolicySet
from gateway.author import pacing, witness
from gateway.author.difference import search
from gateway.author.document import Document, Node
from gateway.author.examples import Difference, Policy
from gateway.cli.diff import command

BASE: dict[str, Any] = {
    "version": "1",
    "default": "deny",
    "hide": ["secret"],
    "tools": {
        "free": {},
        "read_*": {},
        "secret": {},
        "pay": {
            "require": [
                {"conditions": [{"path": "args.to", "op": "regex", "value": "^[a-z]+@x\\.com$"}]}
            ],
            "deny_if": [
                {
                    "conditions": [
                        {"path": "args.amount", "op": "gt", "value": 100},
                        {"path": "args.cur", "op": "in", "value": ["EUR", "USD"]},
                    ]
                }
            ],
            "require_approval": [
                {"conditions": [{"path": "args.o.kind", "op": "eq", "value": "big"}]}
            ],
            "limits": [{"counter": "paid", "window": "minute", "max": 5}],
        },
        "spend": {
            "limits": [{"counter": "s", "window": "day", "max": 100, "cost": "args.n"}],
        },
        "run": {"limits": [{"counter": "r", "algorithm": "concurrency", "max": 2}]},
        "each": {"limits": [{"counter": "e", "window": "day", "max": 1, "key": "args.k"}]},
        "drip": {
            "limits": [
                {
                    "counter": "d",
                    "algorithm": "token_bucket",
                    "window": "minute",
                    "max": 6,
                    "burst": 3,
                }
            ]
        },
        "short": {"rate_limit": "3/minute"},
    },
    "methods": {"resources/read": {}},
}


def policy(document: Any) -> Policy:
    policies = PolicySet.parse(json.dumps(document).encode(), name="p.json")
    return Policy(policies, Node(Document("p.json", {}), document))


def changed(pointer: str, value: Any) -> dict[str, Any]:
    """The base with something else at a place; None takes it away."""
    document = copy.deepcopy(BASE)
    *above, last = pointer.split("/")[1:]
    holder: Any = document
    for step in above:
        step = step.replace("~1", "/")
        holder = holder[int(step)] if isinstance(holder, list) else holder[step]
    last = last.replace("~1", "/")
    key: Any = int(last) if isinstance(holder, list) else last
    if value is None:
        del holder[key]
    else:
        holder[key] = value
    return document


def codes(side: Policy, difference: Difference) -> list[str]:
    """The codes of an example's calls, decided anew; calls that stay are not told of, so run."""
    engine = Engine(side.policies, LimitTable(256))
    found, kept = [], []
    for call in difference.calls:
        grant, server, session = call.who
        caller = Caller(grant, server=server, session=session)
        decision = engine.decide(caller, call.body(), now_ns=call.at_ns)
        found.append(decision.code)
        if call.stays:
            kept.append(decision)
        else:
            engine.settle(decision, "done", now_ns=call.at_ns)
    return found


def check(old: Policy, new: Policy, differences: list[Difference]) -> None:
    for one in differences:
        sides = codes(old, one)[-1], codes(new, one)[-1]
        assert sides == (one.old.code, one.new.code)
        assert (sides[0] == "allowed") != (sides[1] == "allowed")
        assert one.allows == ("old" if sides[0] == "allowed" else "new")


PLAIN = {
    "a tool more": ("/tools/more", {}, "new", "more"),
    "a tool less": ("/tools/free", None, "old", "free"),
    "a pattern more": ("/tools/write_*", {}, "new", "write_x"),
    "all by default": ("/default", "allow", "new", witness.OTHER_TOOL),
    "hidden": ("/hide/0", "free", "old", "free"),
    "no longer hidden": ("/hide/0", "other", "new", "secret"),
    "denied": ("/tools/free/action", "deny", "old", "free"),
    "approval": ("/tools/free/action", "require_approval", "old", "free"),
    "a bound that is moved": ("/tools/pay/deny_if/0/conditions/0/value", 99.5, "old", "pay"),
    "a bound that is reached": ("/tools/pay/deny_if/0/conditions/0/op", "gte", "old", "pay"),
    "one of a list": ("/tools/pay/deny_if/0/conditions/1/value", ["EUR"], "new", "pay"),
    "another expression": (
        "/tools/pay/require/0/conditions/0/value",
        "^[a-z]+@x\\.org$",
        "new",
        "pay",
    ),
    "no approval": ("/tools/pay/require_approval", None, "new", "pay"),
    "a nested argument": (
        "/tools/pay/require_approval/0/conditions/0/path",
        "args.o.sort",
        "new",
        "pay",
    ),
    "a method": ("/methods/resources~1read", None, "old", "resources/read"),
    "shadow mode": ("/tools/pay/deny_if/0/mode", "shadow", "new", "pay"),
    "shadow of a limit": ("/tools/pay/limits/0/mode", "shadow", "new", "pay"),
    "max up": ("/tools/pay/limits/0/max", 6, "new", "pay"),
    "max down": ("/tools/pay/limits/0/max", 4, "old", "pay"),
    "no limit": ("/tools/pay/limits", None, "new", "pay"),
    "longer window": ("/tools/pay/limits/0/window", "hour", "old", "pay"),
    "shorter window": ("/tools/pay/limits/0/window", "10s", "new", "pay"),
    "sliding": ("/tools/pay/limits/0/algorithm", "sliding_window", "old", "pay"),
    "scope wider": ("/tools/pay/limits/0/scope", "server", "old", "pay"),
    "scope narrower": ("/tools/pay/limits/0/scope", "session", "new", "pay"),
    "all servers": ("/tools/pay/limits/0/scope", "global", "old", "pay"),
    "cost": ("/tools/pay/limits/0/cost", 2, "old", "pay"),
    "spent": ("/tools/spend/limits/0/max", 99, "old", "spend"),
    "scale": ("/tools/spend/limits/0/scale", 0, "old", "spend"),
    "not spent": ("/tools/spend/limits/0/cost", None, "new", "spend"),
    "at the same time": ("/tools/run/limits/0/max", 3, "new", "run"),
    "key": ("/tools/each/limits/0/key", None, "old", "each"),
    "burst": ("/tools/drip/limits/0/burst", 2, "old", "drip"),
    "refill": ("/tools/drip/limits/0/max", 5, "old", "drip"),
    "short form": ("/tools/short/rate_limit", "4/minute", "new", "short"),
    "everything": (
        "/all_tools",
        {"limits": [{"counter": "a", "window": "day", "max": 3}]},
        "old",
        "free",
    ),
}


@pytest.mark.parametrize("case", PLAIN, ids=str)
def test_a_plain_difference_is_found(case: str) -> None:
    pointer, value, allows, name = PLAIN[case]
    old, new = policy(BASE), policy(changed(pointer, value))
    found = search(old, new)
    check(old, new, found.differences)
    assert any(one.allows == allows and name in one.names for one in found.differences), [
        (one.allows, one.names) for one in found.differences
    ]
    # And the other way round, it is the other that allows more.
    back = search(new, old)
    check(new, old, back.differences)
    other = {"old": "new", "new": "old"}[allows]
    assert any(one.allows == other and name in one.names for one in back.differences)


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("/tools/pay/deny_if/0/on_deny", "no"),
        ("/tools/pay/limits/0/window", "60s"),
        ("/tools/pay/limits/0/scope", "grant"),
        ("/tools/pay/deny_if/0/conditions/1/value", ["USD", "EUR"]),
        ("/tools/pay/deny_if/0/conditions/0/value", 100.0),
        ("/tools/read_*/description", "all that read"),
        ("/tools/read_me", {}),
    ],
)
def test_what_means_the_same_does_not_differ(pointer: str, value: Any) -> None:
    found = search(policy(BASE), policy(changed(pointer, value)))
    assert found.differences == []
    assert found.tried


@settings(max_examples=20)
@given(policies(), policies())
def test_every_example_really_differs(first: str, second: str) -> None:
    old, new = policy(json.loads(first)), policy(json.loads(second))
    found = search(old, new, budget=800)
    check(old, new, found.differences)
    assert found.tried <= 800 + 3_000
    keys = [(one.allows, one.refusing.code, one.refusing.rule) for one in found.differences]
    assert len(keys) == len(set(keys))


@given(policies())
def test_a_policy_does_not_differ_from_itself(document: str) -> None:
    same = policy(json.loads(document))
    assert search(same, same, budget=500).differences == []


@pytest.mark.parametrize("where", ["/tools/a/limits/0/counter", "/tools/b/limits/0/counter"])
def test_a_quota_that_becomes_shared_is_found(where: str, tmp_path: Path) -> None:
    limit = {"window": "minute", "max": 2}
    needs = {"conditions": [{"path": "args.x", "op": "gt", "value": 5}]}
    entries = {
        name: {"require": [needs], "limits": [{"counter": name, **limit}]} for name in ("a", "b")
    }
    document = {"version": "1", "default": "deny", "tools": entries}
    shared = json.loads(json.dumps(document))
    shared["tools"][where.split("/")[2]]["limits"][0]["counter"] = "ab"[where.split("/")[2] == "a"]
    old, new = policy(document), policy(shared)
    for found, sides in ((search(old, new), (old, new)), (search(new, old), (new, old))):
        check(*sides, found.differences)
        assert {one.allows for one in found.differences} == {"old" if sides[0] is old else "new"}
        (call, *_) = found.differences[0].calls
        assert len(found.differences[0].calls) == 3
        assert call.name != found.differences[0].calls[-1].name
    done = run(tmp_path, document, shared)
    assert "calls, 2 of them of `" in done.output


def test_an_example_is_as_small_as_was_found() -> None:
    document = changed("/tools/pay/deny_if/0/conditions/0/value", 50)
    found = search(policy(BASE), policy(document)).differences
    (one,) = [each for each in found if each.new.code == "tool-denied"]
    (call,) = one.calls
    assert set(call.arguments) == {"amount", "cur", "to"}
    assert 50 < call.arguments["amount"] <= 100


def test_what_was_not_looked_at_is_said() -> None:
    large = changed("/tools/pay/limits/0/max", 1_000_000)
    assert any(
        "were not used up" in line for line in search(policy(BASE), policy(large)).not_covered
    )
    many = {"version": "1", "default": "deny", "tools": {f"t{n}": {} for n in range(300)}}
    few = search(policy(many), policy({"version": "1", "default": "deny"}), budget=100)
    assert any("such as `t1" in line for line in few.not_covered)
    wide = copy.deepcopy(BASE)
    wide["tools"]["pay"]["require"] = [
        {"conditions": [{"path": f"args.a{n}", "op": "gt", "value": n}]} for n in range(5)
    ]
    other = copy.deepcopy(wide)
    other["tools"]["pay"]["require"][4]["conditions"][0]["value"] = 12
    found = search(policy(wide), policy(other), budget=20_000)
    assert any("only some combinations" in line for line in found.not_covered)
    # Behind four other requirements, it is found all the same.
    assert any("pay" in one.names for one in found.differences)


def run(folder: Path, old: Any, new: Any, *options: str) -> Result:
    (folder / "old.json").write_text(json.dumps(old))
    (folder / "new.json").write_text(json.dumps(new))
    files = [str(folder / "old.json"), str(folder / "new.json")]
    return CliRunner().invoke(command, [*files, *options])


SAID = {
    "a bound that is moved": "`pay`: where `amount` is above 99.5 and `cur` is one of",
    "another expression": '`pay`: unless `to` matches "^[a-z]+@x',
    "no approval": '`pay`: needs approval where `o.kind` is "big"',
    "max down": "`pay`: more than 4 a minute, counted as `paid`",
    "at the same time": "`run`: more than 2 at the same time, counted as `r`",
    "short form": "`short`: more than 3/minute (/tools/short/rate_limit)",
    "denied": "`free`: denied as a whole (/tools/free/action)",
    "approval": "`free`: needs approval as a whole",
    "hidden": "`free`: hidden (/hide/0)",
    "a tool more": "`more`: no entry names it (/default)",
    "a method": "`resources/read`: no entry names it (/default)",
    "not spent": "`spend`: cost-invalid (/tools/spend/limits/0)",
}


@pytest.mark.parametrize("case", SAID, ids=str)
def test_it_is_said_in_words(case: str, tmp_path: Path) -> None:
    pointer, value, *_ = PLAIN[case]
    done = run(tmp_path, BASE, changed(pointer, value))
    assert done.exit_code == 1
    assert SAID[case] in done.output, done.output


def test_as_data(tmp_path: Path) -> None:
    done = run(tmp_path, BASE, changed("/tools/pay/limits/0/max", 4), "--format", "json")
    found = json.loads(done.stdout)
    (one,) = found["differences"]
    assert (one["allows"], one["names"]) == ("old", ["pay"])
    assert (one["old"]["code"], one["new"]["rule"]) == ("allowed", "/tools/pay/limits/0")
    assert len(one["calls"]) == 5
    assert one["calls"][0]["tool"] == "pay"
    assert found["not_covered"]


def test_the_same_is_0_and_no_policy_is_64(tmp_path: Path) -> None:
    same = run(tmp_path, BASE, BASE)
    assert same.exit_code == 0
    assert same.output.startswith("no difference was found")
    assert run(tmp_path, BASE, {"version": "1"}).exit_code == 64


@given(
    st.lists(
        st.sampled_from(["args.a", "args.a.b", "args.a[0]", "args.a[*].b", "args.c"]), unique=True
    ),
    st.integers(),
)
def test_arguments_have_what_they_are_asked_for(paths: list[str], value: int) -> None:
    made = witness.arguments(dict.fromkeys(paths, value))
    assert isinstance(made, dict)
    if paths:
        last: Any = made
        for step in paths[-1].removeprefix("args.").replace("[", ".[").split("."):
            last = last[0] if step.startswith("[") else last[step]
        assert last == value


@pytest.mark.parametrize(
    ("window", "seconds"), [("minute", 60), ("90s", 90), ("2w", 1_209_600), ("month", 2_678_400)]
)
def test_windows_are_as_long_as_they_are(window: str, seconds: int) -> None:
    assert pacing.window_s({"window": window}) == seconds
