"""Attacks of the adversary's notebook (docs/adversary.md) that no other test had.

Each is made where the policy would let everything through but what it names, so that whatever
passes was taken for something else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest

from gateway import Caller, Engine, LimitTable, PolicySet
from support.door import Rig, answer_json, run

NOW_NS = 1_772_409_600 * 10**9  # 2026-03-02T00:00:00Z
POLICY = {
    "version": "1",
    "default": "allow",
    "hide": ["secret"],
    "tools": {
        "delete": {"action": "deny"},
        "pay": {
            "limits": [{"counter": "paid", "window": "day", "max": 100, "cost": "args.amount"}]
        },
        "mail": {"limits": [{"counter": "to", "window": "day", "max": 1, "key": "args.to"}]},
        "ask": {"deny_if": [{"conditions": [{"path": "args.kind", "op": "eq", "value": "k"}]}]},
        "few": {"require": [{"conditions": [{"path": "args.n", "op": "lte", "value": 5}]}]},
        "send": {
            "deny_if": [{"conditions": [{"path": "args.to[*]", "op": "eq", "value": "mallory"}]}]
        },
        "find": {
            "deny_if": [{"conditions": [{"path": "args.q", "op": "regex", "value": "(a+)+$"}]}]
        },
    },
}
SET = PolicySet.parse(json.dumps(POLICY).encode(), name="notebook.json")


def codes(messages: Iterable[str]) -> list[str]:
    """What is decided of these, one after the other."""
    engine = Engine(SET, LimitTable(64))
    caller = Caller("g", server="s")
    return [engine.decide(caller, each.encode(), now_ns=NOW_NS).code for each in messages]


def code(message: str) -> str:
    return codes([message])[0]


def call(params: str) -> str:
    return f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}'


def tool(name: str, arguments: str = "{}") -> str:
    return call(f'{{"name":"{name}","arguments":{arguments}}}')


def test_a_name_from_a_prototype_is_no_name() -> None:
    """What a program in JavaScript would find through an object's prototype."""
    assert code(call('{"__proto__":{"name":"delete"}}')) == "malformed-request"
    assert code(call('{"constructor":{"name":"delete"}}')) == "malformed-request"


@pytest.mark.parametrize(
    "name",
    [
        r"de\u00adlete",
        r"delete\ufe0f",
        r"dele\u0301te",
        r"delete\n",
        r"delete\u0000",
        "delet%65",
        "x/../delete",
        "server:delete",
        "delete()",
        "@delete",
    ],
)
def test_a_name_that_a_server_might_clean_up(name: str) -> None:
    assert code(tool(name)) == "tool-name-invalid"


@pytest.mark.parametrize(
    "value", ['{"valueOf":1}', "[5]", "true", "null", '"5"', '"0x5"', '""', "{}", '" 5"']
)
def test_a_value_that_a_server_might_make_a_number_of(value: str) -> None:
    assert code(tool("few", f'{{"n":{value}}}')) == "indeterminate"


@pytest.mark.parametrize(
    "value",
    ['{"0":"mallory","length":1}', '"mallory"', '[["mallory"]]', '[{"to":"mallory"}]', "[null]"],
)
def test_a_list_that_a_server_might_make_of_something_else(value: str) -> None:
    assert code(tool("send", f'{{"to":{value}}}')) == "indeterminate"


@pytest.mark.parametrize("key", [r"\u212aind", r"K\u0131nd", "KIND", r"k\u0130nd"])
def test_an_argument_whose_letters_fold_to_the_rules(key: str) -> None:
    assert code(tool("ask", f'{{"{key}":"k"}}')) == "indeterminate"


def test_an_expression_that_other_engines_try_for_years() -> None:
    assert code(tool("find", json.dumps({"q": "a" * 60_000 + "b"}))) == "allowed"
    assert code(tool("find", json.dumps({"q": "a" * 60_000}))) == "tool-denied"


def test_one_amount_in_every_spelling_spends_the_same() -> None:
    spellings = ["1e1", "10.0", "0.10e2", "1000e-2", "60", "0", "0e99999"]
    paid = [tool("pay", f'{{"amount":{each}}}') for each in spellings]
    assert set(codes(paid)) == {"allowed"}
    assert codes([*paid, tool("pay", '{"amount":0.0001}')])[-1] == "limit-exceeded"
    assert code(tool("pay", '{"amount":-0}')) == "cost-invalid"


def test_one_key_in_every_spelling_is_one_quota() -> None:
    one = ["1", "1.0", "1e0", "10e-1"]
    mailed = codes(tool("mail", f'{{"to":{each}}}') for each in one)
    assert mailed == ["allowed", "limit-exceeded", "limit-exceeded", "limit-exceeded"]
    spelt = codes(tool("mail", f'{{"to":{each}}}') for each in ['"bob"', r'"b\u006fb"'])
    assert spelt == ["allowed", "limit-exceeded"]
    absent = codes([tool("mail"), tool("mail")])
    assert absent == ["allowed", "limit-exceeded"]
    assert code(tool("mail", '{"to":{"a":1}}')) == "indeterminate"


@pytest.mark.parametrize(
    "message",
    [
        '{"jsonrpc":"2.0","id":1,"result":{},"method":"tools/call","params":{"name":"delete"}}',
        '{"jsonrpc":"2.0","id":1,"error":{},"method":"tools/call","params":{"name":"delete"}}',
        '{"jsonrpc":"2.0","id":[1],"method":"tools/call","params":{"name":"t"}}',
        '{"jsonrpc":2.0,"id":1,"method":"tools/call","params":{"name":"t"}}',
        r'{"jsonrpc":"2.0","id":1,"method":"tools/call","method\u0000":"x","params":{"name":"t"}}',
    ],
)
def test_two_kinds_of_message_in_one(message: str) -> None:
    assert code(message) == "malformed-request"


@pytest.mark.parametrize(
    "method", ["tools//call", "tools/./call", "/tools/call", "tools/call/", "tools\u2215call"]
)
def test_a_method_that_a_router_might_clean_up(method: str) -> None:
    asked = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"name": "delete"}}
    assert code(json.dumps(asked)) == "method-unknown"


def test_no_line_inside_a_message_is_a_message_for_any_reader() -> None:
    """Readers of lines that know Unicode's line ends find more lines on standard input than there
    are; but what stands inside a string has its quotes escaped, and so is no JSON by itself."""
    inner = tool("delete")
    outer = json.dumps(json.loads(tool("t", json.dumps({"x": f"\u2028{inner}\x85{inner}\u2029"}))))
    spelt = outer.replace(r"\u2028", "\u2028").replace(r"\u2029", "\u2029")
    spelt = spelt.replace(r"\u0085", "\x85")
    assert code(spelt) == "allowed"
    lines = spelt.splitlines()
    assert len(lines) > 3
    for line in lines:
        with pytest.raises(ValueError, match=r"."):
            json.loads(line)


@pytest.mark.parametrize(
    "field",
    [
        (b"mcp_name", b"delete"),
        (b"mcp_session_id", b"another"),
        (b"content_length", b"3"),
        (b"transfer_encoding", b"chunked"),
        (b"x-original-url", b"/admin"),
        (b"x-http-method-override", b"DELETE"),
        (b"x-forwarded-host", b"evil.test"),
        (b"forwarded", b"host=evil.test"),
        (b"proxy-authorization", b"Basic eA=="),
        (b"x-api-key", b"k"),
    ],
)
def test_a_field_that_a_server_might_take_for_another(field: tuple[bytes, bytes]) -> None:
    """An underscore is a hyphen to servers that put fields into environment variables."""

    async def main() -> None:
        reply = answer_json(b'{"jsonrpc":"2.0","id":1,"result":{"content":[]}}')
        rig = Rig(reply, policy=json.dumps(POLICY).encode())
        await rig.client.post(tool("t").encode(), headers=[field])
        assert [each.body for each in rig.upstream.seen] == [tool("t").encode()]
        names = {name for each in rig.upstream.seen for name, _ in each.headers}
        assert field[0] not in names

    run(main())
