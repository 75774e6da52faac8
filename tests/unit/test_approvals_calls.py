"""One call is said in one way, and no two calls in the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.approvals.calls import canonical, digest, parameters

PARTS = {"grant": "g", "server": "s", "tool": "t", "rule": "/tools/t/action"}
PARTS |= {"policy": "ab" * 32, "call": "{}"}

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def shuffled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(list(value))}
    return [shuffled(each) for each in value] if isinstance(value, list) else value


@given(VALUES)
def test_order_and_blanks_do_not_matter(value: Any) -> None:
    one = json.dumps(value).encode()
    other = json.dumps(shuffled(value), indent=3, ensure_ascii=False)
    assert canonical(one) == canonical(other.encode("utf-8", "surrogatepass"))
    assert json.loads(canonical(one)) == value
    assert canonical(one).isascii()
    assert "\n" not in canonical(one)


@given(VALUES, VALUES)
def test_other_values_are_other_calls(one: Any, other: Any) -> None:
    a, b = json.dumps(one), json.dumps(other)
    if json.dumps(one, sort_keys=True) != json.dumps(other, sort_keys=True):
        assert canonical(a.encode()) != canonical(b.encode())


@pytest.mark.parametrize("pair", [("1", "1.0"), ("1e2", "100"), ("0", "-0"), ('"1"', "1")])
def test_numbers_are_compared_as_they_are_spelt(pair: tuple[str, str]) -> None:
    one, other = (canonical(text.encode()) for text in pair)
    assert one != other
    assert (one, other) == pair


def test_a_number_keeps_every_digit() -> None:
    text = "123456789012345678901234567890.10"
    assert canonical(b'{"a":' + text.encode() + b"}") == '{"a":' + text + "}"


@pytest.mark.parametrize("part", PARTS)
def test_every_part_counts(part: str) -> None:
    assert digest(**PARTS) != digest(**{**PARTS, part: PARTS[part] + "x"})


def test_no_part_runs_into_the_next() -> None:
    assert digest(**{**PARTS, "grant": "gs", "server": ""}) != digest(**{**PARTS, "grant": "g"})
    assert digest(**{**PARTS, "grant": "g", "server": "st", "tool": ""}) != digest(**PARTS)


def request(**params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "m", "params": params}).encode()


def test_people_read_the_arguments_and_everything_counts_but_what_is_about_the_message() -> None:
    plain = request(name="t", arguments={"b": 1, "a": 2})
    assert parameters(plain) == ('{"arguments":{"a":2,"b":1},"name":"t"}', '{"a":2,"b":1}')
    named = request(name="t", arguments={"a": 2, "b": 1}, _meta={"progressToken": 7})
    assert parameters(named) == parameters(plain)
    whole = '{"arguments":{},"name":"t","requestState":"s"}'
    assert parameters(request(name="t", arguments={}, requestState="s")) == (whole, whole)
    assert parameters(request(uri="file:///x")) == ('{"uri":"file:///x"}',) * 2
    assert parameters(b'{"jsonrpc":"2.0","id":1,"method":"m"}') == ("{}", "{}")


@pytest.mark.parametrize("params", ["null", "[]", '["_meta"]', "5"])
def test_parameters_that_are_none_are_a_call_too(params: str) -> None:
    assert parameters(b'{"params":' + params.encode() + b"}") == (params, params)
