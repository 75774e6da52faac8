"""The JSON Schema and the reader of policies agree: on the data cases, and on made policies."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from casefile import FOLDER, load_all
from differential.made import policies
from gateway._core import PolicyError, PolicySet, policy_schema

SCHEMA = Draft202012Validator(json.loads(policy_schema()))

BEYOND = {
    "bad-burst", "bad-number", "bad-regex", "bad-window", "duplicate-key", "inexact-number",
    "limit-too-large", "name-too-long", "quota-conflict", "too-deep", "too-large", "too-many-keys",
    "too-many-problems", "too-many-rules",
}  # fmt: skip
"""Problems that a schema cannot see, or only some of them: they hang on numbers and on other
places of the document."""

WHOLE: dict[str, Any] = {
    "$schema": "urn:interlock:policy:1",
    "version": "1",
    "default": "deny",
    "mode": "enforce",
    "description": "all keys there are",
    "hide": ["a*"],
    "all_tools": {"require_approval": [], "rate_limit": "10/minute", "description": ""},
    "tools": {
        "t": {
            "action": "allow",
            "reason": "r",
            "mode": "shadow",
            "require": [{"conditions": [], "on_deny": "d", "mode": "shadow", "description": ""}],
            "deny_if": [{"conditions": [{"path": "args.x[*]", "op": "in", "value": [1, "a"]}]}],
            "require_approval": [{}],
            "rate_limit": {"max": 1, "window": 60},
            "limits": [
                {"counter": "f", "window": "month", "max": 1, "scope": "server", "key": "args.k"},
                {"counter": "s", "algorithm": "sliding_window", "window": "90s", "max": 1.5,
                 "cost": "args.n", "scale": 1},
                {"counter": "b", "algorithm": "token_bucket", "window": "minute", "max": 4,
                 "burst": 2, "on_deny": "d", "mode": "enforce"},
                {"counter": "c", "algorithm": "concurrency", "max": 2, "increment_from": 1},
            ],
        },
    },
    "methods": {"resources/read": {"action": "deny"}},
}  # fmt: skip
"""A valid policy with every key, to be damaged."""

SCALARS: list[Any] = [
    None, True, False, 0, 1, -1, 2.5, 60.0, 1e300, "", "1", "deny", "allow", "shadow", "t*",
    "args", "args.x", "args[0]", "args.x[*]", "args.", "minute", "month", "90s", "0s", "060s",
    "400d", "10/minute", "1.5/90s", "-1/minute", "/minute", "token_bucket", "concurrency",
    "sliding_window", "session", "eq", "exists", "regex", "(", "not_in", "tools/call",
]  # fmt: skip
KEYS = sorted(
    {
        key
        for part in [SCHEMA.schema, *SCHEMA.schema["$defs"].values()]
        for key in part.get("properties", {})
    }
    | {"", "x", "Default", "tools/call", "t"}
)


def refusals(policy: Any) -> set[str]:
    """The codes that the reader refuses a policy with."""
    try:
        PolicySet.parse(json.dumps(policy).encode(), name="p.json")
    except PolicyError as error:
        return {problem.code for problem in error.diagnostics}
    return set()


def check(policy: Any) -> None:
    """The reader takes nothing that the schema refuses, and refuses only what the schema does."""
    codes, valid = refusals(policy), SCHEMA.is_valid(policy)
    if not codes:
        assert valid, [error.message for error in SCHEMA.iter_errors(policy)]
    elif not codes <= BEYOND:
        assert not valid, codes


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in a document, the document itself included."""
    yield path
    if isinstance(node, dict | list):
        for key in node if isinstance(node, dict) else range(len(node)):
            yield from places(node[key], (*path, key))


@st.composite
def damaged(draw: st.DrawFn, whole: dict[str, Any]) -> Any:
    """The document with a few things removed, renamed, replaced or added."""
    document = copy.deepcopy(whole)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(places(document))))
        values = st.sampled_from(SCALARS) | st.sampled_from([[], {}, [1], [{}], {"t": {}}])
        node = document
        for key in path[:-1]:
            node = node[key]
        here = node[path[-1]] if path else document
        how = draw(st.sampled_from(["replace", "remove", "add", "wrap"]))
        if how == "add" and isinstance(here, dict):
            here[draw(st.sampled_from(KEYS))] = draw(values)
        elif how == "add" and isinstance(here, list):
            here.append(draw(values))
        elif not path:
            continue
        elif how == "remove":
            del node[path[-1]]
        else:
            node[path[-1]] = [here] if how == "wrap" else draw(values)
    return document


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA.schema)


def test_the_whole_policy_has_every_key_and_is_valid() -> None:
    assert refusals(WHOLE) == set()
    written = {key for path in places(WHOLE) for key in path if isinstance(key, str)}
    assert set(KEYS) - written == {"", "x", "Default", "tools/call"}


@given(damaged(WHOLE))
@example({"version": "1", "default": "deny", "tools": {"": {}}})
@example([])
def test_a_damaged_policy_is_judged_alike(policy: Any) -> None:
    check(policy)


@given(policies().map(json.loads))
def test_a_made_policy_is_valid_for_both(policy: Any) -> None:
    assert refusals(policy) == set()
    check(policy)


def of_cases() -> list[Any]:
    """Every policy of the data cases, good and bad, that is JSON or YAML at all."""
    found = [json.loads(case.policy) for case in load_all()]
    for case in yaml.safe_load((FOLDER / "policy_errors.yaml").read_text(encoding="utf-8")):
        try:
            found.append(yaml.safe_load(case["source"]))
        except (yaml.YAMLError, ValueError):
            continue
    return found


@pytest.mark.parametrize("policy", of_cases(), ids=lambda policy: str(policy)[:80])
def test_a_case_is_judged_alike(policy: Any) -> None:
    try:
        json.dumps(policy, allow_nan=False)
    except ValueError:
        pytest.skip("YAML has numbers that JSON has not")
    check(policy)
