"""docs/policy.md: its examples decide as they say, and it has a section for every key there is."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from gateway import Caller, Engine, LimitTable, PolicyError, PolicySet
from gateway._core import policy_schema
from support.pages import (
    Block,
    blocks,
    codes,
    headings,
    message,
    page,
    plain,
    sections,
    table,
    walk,
)

PAGE = "docs/policy.md"
EXAMPLES = [block for block in blocks(PAGE) if block.language in ("json", "yaml")]
TRUTHS = {"tool-denied": "true", "allowed": "false", "indeterminate": "indeterminate"}


@pytest.mark.parametrize("block", EXAMPLES, ids=str)
def test_an_example_decides_as_it_says(block: Block) -> None:
    assert block.rows, "an example says what it decides"
    walk(block)


def test_every_key_has_a_section_and_no_other_has() -> None:
    schema = json.loads(policy_schema())
    parts = [schema, *schema["$defs"].values()]
    parts += [part for part in schema["$defs"]["rateLimit"]["anyOf"] if "properties" in part]
    keys = {key for part in parts for key in part.get("properties", {})}
    assert keys == {key for level, text in headings(PAGE) if level == 3 for key in codes(text)}


def truth_rows() -> list[dict[str, str]]:
    """The truth table, which follows no block."""
    return list(table(sections(PAGE, 3)["`op`"].splitlines()))


def truth(op: str, value: Any, argument: str | None) -> str:
    """What a condition says, made visible by `deny_if`."""
    condition = {"path": "args.x", "op": op, "value": value}
    entry = {"deny_if": [{"conditions": [condition]}]}
    policy = {"version": "1", "default": "deny", "tools": {"t": entry}}
    engine = Engine(PolicySet.parse(json.dumps(policy).encode(), name="t.json"), LimitTable(64))
    arguments = "{}" if argument is None else f'{{"x": {argument}}}'
    return TRUTHS[engine.decide(Caller("g", server="s"), message(f"t {arguments}")).code]


@pytest.mark.parametrize("row", truth_rows(), ids=lambda row: plain(row["op"]))
def test_the_truth_table(row: dict[str, str]) -> None:
    op, value = plain(row["op"]), json.loads(plain(row["value"]))
    for column, expected in {"holds": "true", "does not hold": "false"}.items():
        for argument in codes(row[column]):
            assert truth(op, value, argument) == expected, f"{op} {argument}"
    assert truth(op, value, None) == row["absent"]
    assert truth(op, value, "9007199254740993") == row["inexact"]
    if row["another type"] != "none":
        argument, _, expected = row["another type"].rpartition(" ")
        assert truth(op, value, plain(argument)) == expected


def test_the_truth_table_has_every_operator() -> None:
    condition = json.loads(policy_schema())["$defs"]["condition"]
    assert {plain(row["op"]) for row in truth_rows()} == set(condition["properties"]["op"]["enum"])


def test_a_list_of_several_types_is_as_the_page_says() -> None:
    assert truth("in", ["a", 5], "5") == "true"
    assert truth("in", ["a", 5], "6") == "indeterminate"


def test_every_warning_is_named() -> None:
    source = page("rust/core/src/policy/diagnostic.rs")
    warnings = re.findall(r'^ +\w+ "([a-z-]+)" Warning "', source, re.M)
    named = page(PAGE).split("## What `check` says")[1]
    assert warnings
    assert warnings == re.findall(r"^\| `([a-z-]+)` \|", named, re.M)


@pytest.mark.parametrize(
    ("limit", "figure"),
    [
        ({"algorithm": "sliding_window", "window": "second"}, "67,108,863"),
        ({"window": "day"}, "8,796,093,022,207"),
        ({"algorithm": "concurrency"}, "2,147,483,647"),
    ],
)
def test_the_largest_max(limit: dict[str, Any], figure: str) -> None:
    assert figure in sections(PAGE, 3)["`max`"]
    most = int(figure.replace(",", ""))

    def load(number: int) -> PolicySet:
        limits = [{"counter": "c", "max": number, **limit}]
        policy = {"version": "1", "default": "deny", "tools": {"t": {"limits": limits}}}
        return PolicySet.parse(json.dumps(policy).encode(), name="t.json")

    load(most)
    with pytest.raises(PolicyError, match="more than this limit can count"):
        load(most + 1)
