"""Answers to what never became a decided message."""

from __future__ import annotations

import json
from typing import get_args

import pytest

from gateway.denial import FAULT_CODES, WORDINGS, refuse, unknown_task
from gateway.errors import UpstreamReason
from support.door import Rig, message, modern, modern_headers, run


@pytest.mark.parametrize("code", sorted(WORDINGS))
def test_every_refusal_is_a_json_rpc_error(code: str) -> None:
    status, headers, body = refuse(code)
    assert 400 <= status < 600
    assert dict(headers)[b"content-type"] == b"application/json"
    answer = json.loads(body)
    assert (answer["jsonrpc"], answer["id"]) == ("2.0", None)
    assert answer["error"]["data"] == {"code": code}
    assert answer["error"]["code"] in (-32600, -32603)
    assert (b"retry-after" in dict(headers)) is (status == 503)


def test_every_fault_of_a_server_has_a_code() -> None:
    assert set(FAULT_CODES) == set(get_args(UpstreamReason))
    assert set(FAULT_CODES.values()) <= set(WORDINGS)


def test_a_refusal_may_say_more() -> None:
    _, headers, body = refuse("malformed-request", "why", headers=[(b"a", b"b")])
    assert json.loads(body)["error"]["message"] == "why"
    assert (b"a", b"b") in headers


def test_an_unknown_task_keeps_the_id_as_it_was_spelt() -> None:
    status, _, body = unknown_task(b'"\\u0061"')
    assert status == 200
    assert body.startswith(b'{"jsonrpc":"2.0","id":"\\u0061","error":{"code":-32602,')


def test_a_refusal_by_no_rule_names_none() -> None:
    async def main() -> None:
        asked = message("Tools/Call")
        for body, headers in ((asked, []), (modern(asked), modern_headers("Tools/Call"))):
            reply = await Rig().client.post(body, headers)
            assert reply.code == "method-unknown"
            assert set(reply.json["error"]["data"]) == {"code", "message", "policy"}

    run(main())
