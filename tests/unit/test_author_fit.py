"""Where a policy and a server's tools do not meet."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import PolicySet
from gateway.author.fit import Misfit, misfits
from gateway.author.schema import argument, steps
from gateway.author.tools import Tool

PAY = Tool(
    "pay",
    schema={
        "type": "object",
        "required": ["amount", "to"],
        "properties": {
            "amount": {"type": "number"},
            "to": {"$ref": "#/$defs/party"},
            "note": {"type": ["string", "null"], "default": "none"},
            "limit": {"type": "integer", "default": 100},
            "items": {
                "type": "array",
                "items": {"type": "object", "properties": {"price": {"type": "string"}}},
            },
            "any": {},
        },
        "$defs": {
            "party": {
                "type": "object",
                "properties": {"id": {"type": "string"}},
                "required": ["id"],
            }
        },
    },
)
SEARCH = Tool("search_jobs")


def found(entry: Any, *, name: str = "pay", more: dict[str, Any] | None = None) -> list[Misfit]:
    document = {
        "version": "1",
        "default": "deny",
        "tools": {name: entry, "search_jobs": {}},
        **(more or {}),
    }
    policy = PolicySet.parse(json.dumps(document).encode(), name="p.json")
    return misfits(document, policy, [PAY, SEARCH])


def condition(path: str, op: str, value: Any, part: str = "require") -> Any:
    return {part: [{"conditions": [{"path": path, "op": op, "value": value}]}]}


def test_what_fits_is_not_spoken_of() -> None:
    entry = {
        "require": [{"conditions": [{"path": "args.to.id", "op": "regex", "value": "^a$"}]}],
        "deny_if": [{"conditions": [{"path": "args.amount", "op": "gt", "value": 5}]}],
        "limits": [
            {"counter": "c", "window": "day", "max": 9, "cost": "args.amount", "key": "args.to.id"}
        ],
    }
    assert found(entry) == []


def test_a_name_that_no_tool_has() -> None:
    one, uncovered = found({}, name="pya")
    assert (one.code, one.pointer, one.help) == (
        "entry-unused",
        "/tools/pya",
        "did you mean `pay`?",
    )
    assert uncovered.code == "tool-uncovered"
    assert "`pay`" in uncovered.message
    assert found({}, name="zzz*")[0].help is None


def test_a_hidden_name_that_no_tool_has() -> None:
    (one,) = found({}, more={"hide": ["serach_jobs", "p*y"]})[:1]
    assert (one.code, one.pointer) == ("hide-unused", "/hide/0")
    assert one.help == "did you mean `search_jobs`?"


def test_an_entry_of_a_hidden_tool_is_used() -> None:
    entry = {"action": "deny", "description": "why"}
    assert [one.code for one in found(entry, more={"hide": ["pay"]})] == []


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("args.amonut", "amount"),
        ("args.to.ids", "id"),
        ("args.items[*].prise", "price"),
        ("args.zzzzzz", None),
    ],
)
def test_an_argument_that_the_tool_has_not(path: str, meant: str | None) -> None:
    (one,) = found(condition(path, "exists", True))
    assert one.code == "argument-unknown"
    assert one.pointer == "/tools/pay/require/0/conditions/0"
    assert one.message == f"`{path}` is no argument of `pay`"
    assert one.help == (f"did you mean `{meant}`?" if meant else None)


@pytest.mark.parametrize(
    "path", ["args.any.thing", "args.any[0].x", "args.to.id", "args.items[0]", "args"]
)
def test_an_argument_that_may_be_there(path: str) -> None:
    assert found(condition(path, "exists", True)) == []


def test_a_schema_that_says_nothing_makes_nothing_wrong() -> None:
    assert found(condition("args.x.y[0]", "gt", 5), name="search_*") != []
    codes = {one.code for one in found(condition("args.x", "gt", 5), name="search_*")}
    assert codes == {"tool-uncovered"}


@pytest.mark.parametrize(
    ("path", "op", "value", "wrong"),
    [
        ("args.amount", "eq", "5", True),
        ("args.amount", "eq", 5, False),
        ("args.amount", "gt", "5", True),
        ("args.amount", "in", [1, "a"], False),
        ("args.amount", "in", ["a"], True),
        ("args.amount", "regex", "^5$", True),
        ("args.amount", "contains", "5", True),
        ("args.items", "contains", "5", False),
        ("args.items[*].price", "gt", 5, True),
        ("args.note", "regex", "^a$", False),
        ("args.note", "eq", None, False),
        ("args.to", "eq", "a", True),
        ("args.any", "gt", 5, False),
    ],
)
def test_an_argument_of_another_type(path: str, op: str, value: Any, wrong: bool) -> None:
    codes = [one.code for one in found(condition(path, op, value))]
    assert codes == (["argument-type"] if wrong else [])


def test_a_cost_and_a_key_of_another_type() -> None:
    limits = [
        {"counter": "c", "window": "day", "max": 9, "cost": "args.note"},
        {"counter": "d", "window": "day", "max": 9, "key": "args.items"},
    ]
    assert [(one.code, one.pointer) for one in found({"limits": limits})] == [
        ("argument-type", "/tools/pay/limits/0/cost"),
        ("argument-type", "/tools/pay/limits/1/key"),
    ]


def test_an_optional_argument_under_a_bound() -> None:
    bound = condition("args.limit", "gt", 50, "deny_if")
    (one,) = found(bound)
    assert one.code == "optional-argument"
    assert one.message == (
        "`args.limit` is optional in `pay`, and a call without it passes; "
        "the server then takes `100`"
    )
    assert found({**bound, **condition("args.limit", "exists", True)}) == []
    assert found(condition("args.limit", "neq", 50, "deny_if")) == []
    assert found(condition("args.amount", "gt", 50, "deny_if")) == []


def test_a_pattern_is_told_once() -> None:
    document = {
        "version": "1",
        "default": "deny",
        "tools": {"*": condition("args.x", "exists", True)},
    }
    tools = [Tool(f"t{n}", schema={"properties": {"y": {}}}) for n in range(9)]
    policy = PolicySet.parse(json.dumps(document).encode(), name="p.json")
    assert [one.code for one in misfits(document, policy, tools)] == ["argument-unknown"]


def test_a_schema_that_refers_to_itself_comes_to_an_end() -> None:
    loops: list[Any] = [{"$ref": "#/anyOf/0"}, {"$ref": "#/anyOf/1"}]
    schema = {"$ref": "#", "anyOf": loops, "properties": {"a": {"$ref": "#"}}}
    assert argument(schema, "args" + ".a" * 50).found
    assert not argument(schema, "args.b").found
    loops.append({"$ref": "#/$defs/missing"})
    assert argument(schema, "args.b").found


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["properties", "items", "a", "$ref", "anyOf", "type", "required", "enum", "default"]
            ),
            inner | st.just("#") | st.just("#/properties/a"),
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["properties", "anyOf", "$ref", "items", "required"]), JSON))
def test_any_schema_can_be_looked_into(schema: dict[str, Any]) -> None:
    argument(schema, "args.a.a[0].a")


def test_the_steps_of_a_path() -> None:
    assert steps("args.a.b[0][*].c d") == ["a", "b", 0, 0, "c d"]
    assert steps("args") == []
