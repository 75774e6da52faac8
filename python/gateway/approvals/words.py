"""An approval, said to people and to programs.

INVARIANT: what an agent wrote is shown exactly and safely: nothing of it reaches a terminal but
printable ASCII, or beside that letters that can be seen; nothing is left out without saying so.
"""

from __future__ import annotations

import json
import re
import unicodedata
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from gateway.approvals.store import Approval

_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0\u17b4\u17b5")
"""Letters and signs by their category, and nothing to the eye."""
_SEEN = frozenset({"L", "N", "P", "S"})
_MOVES = frozenset({"R", "AL", "AN"})
"""What runs from right to left takes the digits beside it along."""
_ESCAPE = re.compile(r"\\(?:ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}|u[0-9a-f]{4}|.)")


def at(seconds: float) -> str:
    """A time for people and programs (RFC 3339, UTC)."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def visible(text: str) -> str:
    """The text, with everything that cannot be seen or that moves what is shown as `\\uXXXX`."""
    return "".join(each if _seen(each) else _escaped(each) for each in text)


def exact(call: str) -> str:
    """A canonical call as it is; the one sign of ASCII that JSON leaves unseen is spelt out."""
    return call.replace("\x7f", "\\u007f")


def ascii_json(value: Any) -> str:
    """JSON that does nothing to a terminal: what is not printable ASCII is escaped."""
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    # Outside strings there is nothing else.
    return re.sub("[^\n\x20-\x7e]", lambda found: _escaped(found[0]), text)


def readable(call: str) -> str:
    """A canonical call as it reads: what can be seen of the letters beyond ASCII is shown."""
    return _ESCAPE.sub(_read, call)


def data(approval: Approval) -> dict[str, Any]:
    """An approval for `orjson`, with the call's arguments as they were spelt."""
    wanted = approval.wanted
    times = {
        "asked_at": approval.asked_at,
        "until": approval.until,
        "decided_at": approval.decided_at,
        "used_at": approval.used_at,
        "told_at": approval.told_at,
    }
    return {
        "id": approval.id,
        "state": approval.state.value,
        "grant": wanted.grant,
        "server": wanted.server,
        "tool": wanted.tool,
        "arguments": orjson.Fragment(wanted.call),
        "rule": wanted.rule,
        "reason": wanted.reason,
        "policy": wanted.policy,
        "asked": approval.asked,
        "decided_by": approval.decided_by,
        "remark": approval.remark,
        **{name: None if value is None else at(value) for name, value in times.items()},
    }


def _seen(letter: str) -> bool:
    if letter.isascii():
        return letter.isprintable()
    return (
        letter not in _BLANK
        and unicodedata.category(letter)[0] in _SEEN
        and unicodedata.bidirectional(letter) not in _MOVES
    )


def _read(escape: re.Match[str]) -> str:
    written = escape[0]
    if written[1] != "u":
        return written
    letter: str = json.loads(f'"{written}"')
    return letter if _seen(letter) else written


def _escaped(letter: str) -> str:
    return json.dumps(letter)[1:-1] if letter != "\x7f" else "\\u007f"
