"""What exactly is approved: one call, said in one way.

INVARIANT: two calls have the same digest only if grant, server, rule and every argument are the
same. The arguments are compared in canonical form, so that the order of keys and blanks do not
matter; numbers are not read but taken as they are spelt, so `1` and `1.0` are two calls.
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


def canonical(arguments: bytes) -> str:
    """A JSON value on one line, in ASCII: keys sorted by code point, no blanks, numbers as spelt.

    Args:
        arguments: valid, without duplicate keys, as an allowed or refused decision has seen them.

    Raises:
        ValueError: it is not JSON.
    """
    return _text(json.loads(arguments, parse_int=Spelt, parse_float=Spelt))


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


def digest(*, grant: str, server: str, tool: str, rule: str, call: str) -> bytes:
    """SHA-256 over all that an approval is for, each part with its length before it.

    Args:
        call: as `canonical` says it.
    """
    found = hashlib.sha256(b"interlock approval 1")
    for part in (grant, server, tool, rule, call):
        text = part.encode()
        found.update(len(text).to_bytes(8, "big"))
        found.update(text)
    return found.digest()
