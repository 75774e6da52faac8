"""What exactly is approved: one call, said in one way.

INVARIANT: two calls have the same digest only if grant, server, rule, policy and every parameter
but `_meta`, which is about the message and changes with each, are the same. Parameters are compared
in canonical form, so that the order of keys and blanks do not matter; numbers are not read but
taken as they are spelt, so `1` and `1.0` are two calls.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any


class Spelt(float):
    """A number, as it was spelt."""

    def __new__(cls, text: str) -> Spelt:
        made = super().__new__(cls, 0.0)
        made.text = text
        return made

    text: str

    def __repr__(self) -> str:
        return self.text


def canonical(source: bytes) -> str:
    """A JSON value on one line, in ASCII: keys sorted by code point, no blanks, numbers as spelt.

    Args:
        source: valid, without duplicate keys, as a decision has seen it.

    Raises:
        ValueError: it is not JSON.
    """
    return _text(_read(source))


def parameters(message: bytes) -> tuple[str, str]:
    """What a request asks for: its parameters but `_meta`, in canonical form, and what of that is
    for people to read.

    That is the arguments alone where a call has nothing besides them and its name; else all of it.

    Args:
        message: as for `canonical`, a JSON-RPC request.

    Raises:
        ValueError: it is not JSON.
    """
    found = _read(message).get("params", {})
    if not isinstance(found, dict):
        return _text(found), _text(found)
    found.pop("_meta", None)
    whole = _text(found)
    if found.keys() <= {"name", "arguments"} and "name" in found:
        return whole, _text(found.get("arguments", {}))
    return whole, whole


def _read(source: bytes) -> Any:
    return json.loads(source, parse_int=Spelt, parse_float=Spelt)


def _text(value: Any) -> str:
    if isinstance(value, Spelt):
        return value.text
    if isinstance(value, dict):
        members = (f"{_text(key)}:{_text(value[key])}" for key in sorted(value))
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_text, value)) + "]"
    # Everything beyond ASCII is escaped, so that nothing that is shown looks like something else.
    return json.dumps(value)


def digest(*, grant: str, server: str, tool: str, rule: str, policy: str, call: str) -> bytes:
    """SHA-256 over all that an approval is for, each part with its length before it.

    Args:
        policy: digest of the policy, so that nothing is let through by a rule that has changed.
        call: the parameters, as `canonical` says them.
    """
    found = hashlib.sha256(b"interlock approval 1")
    for part in (grant, server, tool, rule, policy, call):
        text = part.encode()
        found.update(len(text).to_bytes(8, "big"))
        found.update(text)
    return found.digest()
