"""`interlock convert`: what comes of a policy from elsewhere always loads and is never laxer."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from gateway import Caller, Engine, LimitTable, PolicySet
from gateway.author.calls import tool_body
from gateway.author.convert import convert
from gateway.author.goregex import translated
from gateway.cli.convert import command

STRIPE = """
version: "1"
description: "payments"
hide: [list_webhooks]
tools:
  create_charge:
    rules:
      - name: "max single charge"
        conditions:
          - {path: "args.amount", op: "lte", value: 50_000}
        on_deny: "Single charge cannot exceed $500.00"
      - name: "daily spend cap"
        conditions:
          - {path: "state.create_charge.daily_spend", op: "lt", value: 100000}
          - {path: "args.currency", op: "in", value: [usd, eur]}
        on_deny: "Daily cap reached"
        state: {counter: daily_spend, window: day, increment_from: args.amount}
  create_refund:
    rules:
      - {name: "refunds", rate_limit: 2/day, on_deny: "two a day"}
  delete_customer:
    rules:
      - {name: "block", action: deny, on_deny: "not by agents"}
      - {name: "rate", rate_limit: 5/hour}
  free: {rules: []}
  "*":
    rules:
      - {name: "global", rate_limit: 9/minute}
"""


def run(folder: Path, text: str, *options: str) -> Result:
    (folder / "old.yaml").write_text(text)
    return CliRunner().invoke(command, [str(folder / "old.yaml"), *options])


def told(folder: Path, text: str) -> Any:
    return json.loads(run(folder, text, "--format", "json").stdout)


def levels(folder: Path, text: str) -> list[str]:
    return [note["level"] for note in told(folder, text)["notes"]]


def decide(policy: Any, *calls: tuple[str, Any], second: int = 0) -> list[str]:
    """The codes of calls at one instant, by what a conversion made."""
    engine = Engine(PolicySet.parse(json.dumps(policy).encode(), name="p.json"), LimitTable(64))
    return [
        engine.decide(
            Caller(grant, server="s"), tool_body(tool, json.dumps(arguments)), now_ns=10**18
        ).code
        for grant, (tool, arguments) in zip("gh" * len(calls), calls, strict=False)
    ]


def test_a_policy_of_intercept_means_what_it_did(tmp_path: Path) -> None:
    policy = told(tmp_path, STRIPE)["policy"]
    assert policy["default"] == "allow"
    assert policy["description"] == "payments"
    usd = {"currency": "usd"}
    assert decide(
        policy,
        ("create_charge", {"amount": 50_000, **usd}),
        ("create_charge", {"amount": 50_001, **usd}),
        ("create_charge", {"amount": 50_000, **usd}),
        ("create_charge", {"amount": 49_999, **usd}),
        ("create_charge", {"amount": 1, "currency": "gbp"}),
        ("create_charge", usd),
        ("create_refund", {}),
        ("create_refund", {}),
        ("create_refund", {}),
        ("delete_customer", {}),
        ("list_webhooks", {}),
    ) == [
        "allowed",
        "requirement-unmet",
        "limit-exceeded",
        "allowed",
        "requirement-unmet",
        "requirement-unmet",
        # Another grant's calls count as well: there was one counter for all of them.
        "allowed",
        "allowed",
        "limit-exceeded",
        "tool-denied",
        "hidden",
    ]
    assert decide(policy, *[("anything", {})] * 10)[8:] == ["allowed", "limit-exceeded"]
    assert policy["tools"]["delete_customer"] == {
        "action": "deny",
        "reason": "not by agents",
        "description": "block",
    }
    assert policy["tools"]["free"] == {}


def test_what_is_not_exactly_so_is_told_with_its_place(tmp_path: Path) -> None:
    done = run(tmp_path, STRIPE)
    assert done.exit_code == 0
    for line in done.stderr.splitlines():
        assert re.match(r".*old\.yaml:\d+:\d+: (note|stricter): [a-z`]", line), line
    assert "a call that the server answered with an error stays counted" in done.stderr
    assert json.loads(done.stdout)["version"] == "1"


def test_a_file_is_written(tmp_path: Path) -> None:
    target = tmp_path / "policy.json"
    done = run(tmp_path, STRIPE, "-o", str(target))
    assert done.stdout == ""
    assert json.loads(target.read_text()) == told(tmp_path, STRIPE)["policy"]
    assert run(tmp_path, STRIPE, "-o", str(tmp_path / "no" / "p.json")).exit_code == 64


SHORT = """
tools:
  a: {rate_limit: {max: 1, window: 60}}
  b: {action: deny, reason: "ask somebody"}
  c: {rate_limit: 1/hour, action: allow}
  d: {rate_limit: {max: 5, window: 90}}
  e:
"""


def test_the_short_form(tmp_path: Path) -> None:
    found = told(tmp_path, SHORT)
    tools = found["policy"]["tools"]
    limit = {"counter": "a_rate_limit", "window": "minute", "max": 1, "scope": "session"}
    assert tools["a"] == {"limits": [limit]}
    assert tools["b"] == {"action": "deny", "reason": "ask somebody"}
    assert tools["c"]["limits"][0]["window"] == "hour"
    assert tools["d"]["limits"][0]["window"] == "90s"
    assert tools["e"] == {}
    assert found["policy"]["default"] == "deny"
    assert "without `default`" in found["notes"][0]["message"]
    # It loads as it is as well, and means the same.
    old = {"version": "1", "default": "deny", "tools": {"a": {"rate_limit": "1/minute"}}}
    calls = [("a", {}), ("a", {}), ("a", {}), ("a", {})]
    assert decide(old, *calls) == decide(found["policy"], *calls)


def rule(text: str) -> str:
    return f"version: '1'\ntools: {{t: {{rules: [{{name: r, {text}}}]}}}}\n"


LOST = {
    "conditions: [{path: args.x, op: eq, value: [1]}]": "`eq` compares",
    "conditions: [{path: 'args.a[0]', op: eq, value: 1}]": "reads something else",
    "conditions: [{path: args.x, op: regex, value: '\\Qa\\E'}]": r"`\Q` in a regular",
    "conditions: [{path: args.x, op: regex, value: '[\\W]'}]": r"`\W` within brackets",
    "conditions: [{path: args.x, op: regex, value: '('}]": "regular expression",
    "conditions: [{path: args.x, op: lt, value: soon}]": "`soon` is no number",
    "conditions: [{path: args.x, op: lt, value: .inf}]": "`.inf` is no number",
    "conditions: [{path: state.t.c, op: lte, value: 5}]": "that another rule counts",
    "conditions: [{path: state.u.c, op: lte, value: 5}], state: {counter: c, window: day}": (
        "that another rule counts"
    ),
    "conditions: [{path: state.t.c, op: gt, value: 5}], state: {counter: c, window: day}": (
        "`gt` on a counter"
    ),
    "rate_limit: 5/week": "no rate",
    "rate_limit: 0/day": "no rate",
    "rate_limit: 99999999999999999999/day": "more digits than",
    "action: deny, conditions: [{path: args.x, op: eq, value: 1}]": "has no conditions",
}


@pytest.mark.parametrize(("text", "why"), LOST.items())
def test_what_has_no_counterpart_is_refused_and_said(text: str, why: str, tmp_path: Path) -> None:
    found = told(tmp_path, rule(text))
    (lost,) = [note for note in found["notes"] if note["level"] == "lost"]
    assert why in lost["message"], lost["message"]
    assert lost["path"] == "/tools/t/rules/0"
    assert decide(found["policy"], ("t", {"x": 1}), ("t", {})) == ["tool-denied"] * 2
    assert run(tmp_path, rule(text)).exit_code == 1


BAD = {
    "tols: {}": "unknown-key",
    "version: '2'\ntools: {}": "unsupported-version",
    "default: maybe\ntools: {}": "unknown-value",
    rule("acton: deny"): "unknown-key",
    rule("action: refuse"): "unknown-value",
    rule("conditions: [{path: args.x, op: like, value: 1}]"): "unknown-value",
    rule("conditions: [{path: args.x, op: eq}]"): "missing-key",
    rule("state: {counter: c, window: week}"): "unknown-value",
    rule("name: again"): "duplicate-key",
    "tools: {t: {rule: []}}": "unknown-key",
    "tools: {t: {rate_limit: often}}": "bad-rate",
    "tools: {t: {rate_limit: e/minute}}": "bad-rate",
    "tools: {t: {rate_limit: 1/fortnight}}": "bad-window",
    "tools: {t: {rate_limit: {max: x, window: 5}}}": "wrong-type",
    "tools: {t: {rate_limit: {max: 1}}}": "missing-key",
    "tools: {t: {deny_if: [{conditions: [{path: x, op: eq, value: 1}]}]}}": "bad-path",
    "hide: ['']\ntools: {}": "empty-text",
    "tools: [": "syntax",
}


@pytest.mark.parametrize(("text", "code"), BAD.items())
def test_what_is_no_such_policy_is_said(text: str, code: str, tmp_path: Path) -> None:
    done = run(tmp_path, text)
    assert done.exit_code == 64
    assert f"error[{code}]: " in done.stderr
    assert done.stdout == ""


def test_names_with_stars_were_names(tmp_path: Path) -> None:
    text = "version: '1'\ndefault: deny\nhide: ['a*']\ntools: {'b*': {rules: []}, c: {rules: []}}"
    found = told(tmp_path, text)
    assert set(found["policy"]["tools"]) == {"c"}
    assert decide(found["policy"], ("ab", {}), ("bc", {})) == ["hidden", "default-deny"]
    assert levels(tmp_path, text) == ["stricter", "stricter", "note"]


def test_approvals(tmp_path: Path) -> None:
    text = (
        "version: '1'\napprovals: {webhook: x}\n"
        "tools: {t: {rules: [{name: r, action: require_approval, approval_timeout: 10m, "
        "conditions: [{path: args.x, op: gt, value: 5}]}]}, "
        "'*': {rules: [{name: all, action: deny}]}}"
    )
    found = told(tmp_path, text)
    assert found["policy"]["tools"]["t"]["require_approval"]
    assert decide(found["policy"], ("u", {})) == ["tool-denied"]
    assert levels(tmp_path, text).count("note") == 2


@pytest.mark.parametrize(
    ("go", "here"),
    [
        (r"^\d+\w\s$", r"^[0-9]+[0-9A-Za-z_][\t\n\f\r ]$"),
        (r"[\d.-]\D", r"[0-9.-][^0-9]"),
        (r"\bx\B", r"(?-u:\b)x(?-u:\B)"),
        (r"[]a]", r"[\]a]"),
        (r"[^]a]", r"[^\]a]"),
        (r"[a[b]", r"[a\[b]"),
        (r"[[:alpha:]_]\[", r"[[:alpha:]_]\["),
        (r"[a&&b~~]", r"[a\&&b\~~]"),
    ],
)
def test_regular_expressions_are_said_here(go: str, here: str) -> None:
    assert translated(go) == here
    condition = {"path": "args.x", "op": "regex", "value": here}
    policy = {
        "version": "1",
        "default": "deny",
        "tools": {"t": {"require": [{"conditions": [condition]}]}},
    }
    PolicySet.parse(json.dumps(policy).encode(), name="p.json")


def test_what_only_unicode_calls_a_digit_is_none(tmp_path: Path) -> None:
    text = rule("conditions: [{path: args.x, op: regex, value: '^\\d$'}]")
    policy = told(tmp_path, text)["policy"]
    assert decide(policy, ("t", {"x": "5"}), ("t", {"x": "\u0665"})) == [
        "allowed",
        "requirement-unmet",
    ]


SCALARS = st.one_of(
    st.sampled_from(["a", "b", "ab", "5", ""]), st.sampled_from([0, 1, 5, 2.5, -1]), st.booleans()
)
PATHS = st.sampled_from(["args.x", "args.y", "args.o.x"])


@st.composite
def conditions(draw: st.DrawFn) -> dict[str, Any]:
    takes: dict[str, st.SearchStrategy[Any]] = {
        **dict.fromkeys(["eq", "neq", "contains"], SCALARS),
        **dict.fromkeys(["lt", "lte", "gt", "gte"], st.sampled_from([0, 1, 5, 2.5])),
        **dict.fromkeys(["in", "not_in"], st.lists(SCALARS, min_size=1, max_size=3)),
        "exists": st.booleans(),
        "regex": st.sampled_from(["a", "^a", r"\d", "b$", r"^\w*$"]),
    }
    op = draw(st.sampled_from(sorted(takes)))
    return {"path": draw(PATHS), "op": op, "value": draw(takes[op])}


RULES = st.one_of(
    st.fixed_dictionaries({"conditions": st.lists(conditions(), min_size=1, max_size=2)}),
    st.just({"action": "deny"}),
    st.just({"rate_limit": "2/day"}),
)
DOCUMENTS = st.fixed_dictionaries(
    {
        "version": st.just("1"),
        "tools": st.dictionaries(
            st.sampled_from(["t", "u", "*"]),
            st.fixed_dictionaries({"rules": st.lists(RULES, max_size=2)}),
            max_size=3,
        ),
    },
    optional={
        "default": st.sampled_from(["allow", "deny"]),
        "hide": st.lists(st.sampled_from(["t", "v", "*"]), max_size=1),
    },
)
ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "x": SCALARS | st.lists(SCALARS, max_size=2),
        "y": SCALARS,
        "o": st.fixed_dictionaries({}, optional={"x": SCALARS}) | SCALARS,
    },
)


def passes(condition: dict[str, Any], arguments: Any) -> bool:
    """What the published reference says of a condition, taken by its most generous reading."""
    found: Any = arguments
    for step in condition["path"].split(".")[1:]:
        if not isinstance(found, dict) or step not in found:
            return bool(condition["op"] == "exists" and condition["value"] is False)
        found = found[step]
    value, op = condition["value"], condition["op"]

    def same(one: Any, other: Any) -> bool:
        return str(one) == str(other) or (
            isinstance(one, int | float) and isinstance(other, int | float) and one == other
        )

    match op:
        case "exists":
            return bool(value)
        case "eq" | "neq":
            return same(found, value) is (op == "eq")
        case "in" | "not_in":
            return any(same(found, one) for one in value) is (op == "in")
        case "regex":
            return isinstance(found, str) and re.search(value, found, re.A) is not None
        case "contains":
            inside = isinstance(found, str) and isinstance(value, str) and value in found
            return inside or (isinstance(found, list) and any(same(one, value) for one in found))
        case _:
            if not isinstance(found, int | float) or isinstance(found, bool):
                return False
            return bool(
                {"lt": found < value, "lte": found <= value, "gt": found > value}.get(
                    op, found >= value
                )
            )


def intercept(document: dict[str, Any], tool: str, arguments: Any) -> bool:
    """Whether the first call of a tool passed there."""
    if {tool, "*"} & set(document.get("hide", [])):
        return False
    if document.get("default") == "deny" and tool not in document["tools"]:
        return False
    rules = [
        rule for name in (tool, "*") for rule in document["tools"].get(name, {"rules": []})["rules"]
    ]
    return not any(rule.get("action") == "deny" for rule in rules) and all(
        passes(condition, arguments) for rule in rules for condition in rule.get("conditions", [])
    )


@given(DOCUMENTS, st.sampled_from(["t", "u", "v"]), ARGUMENTS)
def test_what_is_allowed_was_allowed(
    tmp_path_factory: pytest.TempPathFactory, document: Any, tool: str, arguments: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / "old.json"
    for name, entry in document["tools"].items():
        for number, one in enumerate(entry["rules"]):
            one["name"] = f"{name} {number}"
    path.write_text(json.dumps(document))
    converted = convert(path)
    (code,) = decide(converted.policy, (tool, arguments))
    assert code != "allowed" or intercept(document, tool, arguments)
    # And where no value has another type than its condition, the other way round as well.
    if not any(note.level == "stricter" for note in converted.notes):
        assert (code == "allowed") == intercept(document, tool, arguments)
