"""The JSON Schema and the reader of configurations agree: on made ones, and on damaged ones."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from contract.test_schema import places
from gateway.cli import interlock
from gateway.config.document import CONFIG, GRANTS_FILE, config_schema
from gateway.config.reading import Reading

SCHEMA = Draft202012Validator(json.loads(config_schema()))
HASH = "ab" * 32
WHOLE: dict[str, Any] = {
    "$schema": "x", "version": "1", "listen": "127.0.0.1:8080", "admin": "none",
    "admin_token_sha256": HASH,
    "state": "memory", "slots": 4096, "workers": 2, "grace_s": 2.5, "shadow": False,
    "denials": "result", "allow_host": ["h"], "allow_origin": [], "allow_anonymous": True,
    "max_body_bytes": 1024, "max_in_flight": 1, "otel": True, "fast_path": True,
    "log": {"path": "-", "on_overflow": "deny", "include_args": [], "buffer_bytes": 65536,
            "rotate_bytes": 65536, "rotate_s": 1, "keep": 0},
    "approvals": {"path": "a", "pending_s": 60, "approved_s": 60, "wait_s": 0,
                  "webhook": {"url": "https://h/", "secret": "whsec_" + "QUJD" * 8, "ca_file": "c",
                              "include_arguments": True}},
    "servers": {
        "a": {"url": "http://h/mcp", "headers": {"A": "b"}, "policy": "p", "ca_file": "c",
              "timeout_s": 1, "connect_timeout_s": 1, "idle_timeout_s": 1,
              "lock": "l", "pin": "warn"},
        "b": {"command": ["sh", ""], "env": {"A": ""}, "max_children": 1, "session_idle_s": 1},
    },
    "grants": [
        {"name": "a", "servers": {"a": "p", "b": None}, "token_sha256": HASH,
         "expires": "2030-01-01T00:00:00Z", "tokens": [{"sha256": HASH}],
         "certificate": {"spiffe": "spiffe://a/*"},
         "jwt": {"issuer": "i", "audience": ["a"], "subject": "s", "claims": {"a": "b", "c": True},
                 "algorithms": ["ES256"], "jwks_url": "https://h/", "ca_file": "c",
                 "headers": {"A": "b"}}},
        {"name": "b", "servers": ["a"]},
    ],
    "tls": {"certificate": "c", "key": "k", "client_ca": "a", "client_certificates": "optional"},
    "grants_file": "g", "authorization_servers": ["https://a"], "public_url": "https://b",
    "anonymous": None,
}  # fmt: skip
SCALARS: list[Any] = [
    None, True, 0, 1, -1, 2.5, 1e9, "", "1", "x y", "127.0.0.1:1", "none", "${env:NONE}",
    "$${x}", "a", HASH, "2030-01-01T00:00:00Z", "2030-13-01T00:00:00Z", "deny",
]  # fmt: skip
KEYS = ["version", "url", "command", "env", "name", "sha256", "expires", "x", "", "a b", "policy"]
BEYOND = {"unset-variable", "unreadable-secret", "bad-substitution"}
"""Problems that a schema cannot see. Of `bad-value` it sees the shape only: a port may be too
large, a day not exist."""


def codes(document: Any) -> set[str]:
    reading = Reading(Path("/nowhere/interlock.yaml"), {})
    CONFIG.read(document, "", reading)
    return {problem.code for problem in reading.problems}


def check(document: Any) -> None:
    """The reader takes nothing that the schema refuses, and refuses only what the schema does."""
    found, valid = codes(document), SCHEMA.is_valid(document)
    if not found:
        assert valid, [error.message for error in SCHEMA.iter_errors(document)]
    elif not found <= BEYOND | {"bad-value"}:
        assert not valid, found


@st.composite
def damaged(draw: st.DrawFn) -> Any:
    """The configuration with a few things removed, renamed, replaced or added."""
    document = copy.deepcopy(WHOLE)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from([place for place in places(document) if place]))
        value = draw(st.sampled_from(SCALARS) | st.sampled_from([[], {}, [1], ["a"], {"a": "b"}]))
        node = document
        for key in path[:-1]:
            node = node[key]
        how = draw(st.sampled_from(["replace", "remove", "add"]))
        here = node[path[-1]]
        if how == "add" and isinstance(here, dict):
            here[draw(st.sampled_from(KEYS))] = value
        elif how == "add" and isinstance(here, list):
            here.append(value)
        elif how == "remove":
            del node[path[-1]]
        else:
            node[path[-1]] = value
    return document


def test_a_configuration_with_every_key_is_taken_by_both() -> None:
    assert codes(WHOLE) == set()
    check(WHOLE)
    assert WHOLE.keys() == CONFIG.keys.keys()  # type: ignore[attr-defined]


@given(damaged())
def test_a_damaged_configuration_is_judged_alike(document: Any) -> None:
    check(document)


@pytest.mark.parametrize("key", sorted(WHOLE))
@pytest.mark.parametrize("value", SCALARS)
def test_each_value_of_each_key_is_judged_alike(key: str, value: Any) -> None:
    check({**WHOLE, key: value})


def test_every_key_is_described() -> None:
    def undescribed(schema: Any) -> list[str]:
        found = []
        for name, inner in schema.get("properties", {}).items():
            found += [] if inner.get("description") else [name]
        for inner in schema.values():
            parts = inner if isinstance(inner, list) else [inner]
            found += [one for part in parts if isinstance(part, dict) for one in undescribed(part)]
        return found

    assert undescribed(SCHEMA.schema) == []
    assert undescribed(GRANTS_FILE.schema()) == []


def test_the_command_prints_it() -> None:
    printed = CliRunner().invoke(interlock, ["schema", "config"])
    assert json.loads(printed.output) == SCHEMA.schema
    Draft202012Validator.check_schema(SCHEMA.schema)
