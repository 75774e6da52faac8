"""A message as one line: what it says, and how its ids are exchanged without touching another byte.

Invariant: what leaves here is what came in, but for the spans that were asked to be replaced, and
CR and LF outside strings, which become spaces.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator

Id = str | int | float
"""A JSON-RPC id or progress token; `1` and `"1"` differ."""

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"

_BLANK = re.compile(r"[ \t\r\n]*+")
_SCAN = json.JSONDecoder().raw_decode
"""A JSON value from an offset on, and where it ends."""
_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")


class Broken(ValueError):
    """A line that was meant to be a message and cannot be read, so that an answer may be lost."""


@dataclass(frozen=True, slots=True)
class Line:
    """One message that a child wrote."""

    raw: bytes
    kind: Literal["request", "notification", "response"]
    id: Id | None
    method: str | None
    body: dict[str, Any]
    """`params` of a request or notification, `result` of a response; empty where there is none."""
    error: int | None
    """The code, if it is an error."""

    @property
    def token(self) -> Id | None:
        """What a progress notification belongs to."""
        return identifier(self.body.get("progressToken"))

    @property
    def subscription(self) -> Id | None:
        """The listen request that a notification belongs to."""
        meta = self.body.get("_meta")
        return identifier(meta.get(SUBSCRIPTION)) if isinstance(meta, dict) else None


def one_line(body: bytes) -> bytes:
    """A JSON text without line ends; in valid JSON they can only be blanks between tokens."""
    return body.translate(_ONE_LINE)


def identifier(value: object) -> Id | None:
    """A value that can stand for a request, else None."""
    return value if isinstance(value, str | int | float) and not isinstance(value, bool) else None


def spelled(raw: bytes | None) -> Id | None:
    """What a raw JSON id or token stands for."""
    return None if raw is None else identifier(orjson.loads(raw))


def read(raw: bytes) -> list[Line]:
    """What a line says: one message, several where it is an array, none where it is stray text.

    Raises:
        Broken: it begins as JSON begins, and is not JSON.
    """
    if raw[:1] not in (b"{", b"["):
        return []
    raw = one_line(raw)
    try:
        value = _parse(raw)
        elements = [(raw, value)] if isinstance(value, dict) else _elements(raw.decode())
    except (ValueError, RecursionError) as error:
        raise Broken("it wrote a line that is not JSON") from error
    return [
        line
        for text, element in elements
        if isinstance(element, dict) and (line := _line(text, element)) is not None
    ]


def _parse(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        # JavaScript cuts strings inside a surrogate pair, Python writes NaN: the client's to judge.
        return json.loads(raw.decode())


def _line(raw: bytes, value: dict[str, Any]) -> Line | None:
    ident = identifier(value.get("id"))
    method = value.get("method")
    if isinstance(method, str):
        params = value.get("params")
        body = params if isinstance(params, dict) else {}
        kind: Literal["request", "notification"] = "notification" if ident is None else "request"
        return Line(raw, kind, ident, method, body, None)
    if "result" not in value and "error" not in value:
        return None
    result, error = value.get("result"), value.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    body = result if isinstance(result, dict) else {}
    return Line(raw, "response", ident, None, body, code if isinstance(code, int) else None)


def exchange(raw: bytes, *edits: tuple[tuple[str, ...], bytes]) -> bytes:
    """Replace values by their place, for example `(("params", "_meta", "progressToken"), b"7")`.

    Args:
        raw: a valid JSON object.
        edits: where, as names of nested members, and the JSON text to put there; a place that does
            not
            exist is left out.

    Raises:
        Broken: a name on the way occurs twice, so that readers may differ on what is meant.
    """
    text = raw.decode()
    try:
        spans = sorted(
            (span, value) for path, value in edits if (span := _locate(text, path)) is not None
        )
    except RecursionError as error:
        raise Broken("it wrote a line that is nested too deeply") from error
    parts, at = [], 0
    for (start, end), value in spans:
        parts += [text[at:start].encode(), value]
        at = end
    return b"".join([*parts, text[at:].encode()])


def _locate(text: str, path: tuple[str, ...]) -> tuple[int, int] | None:
    at, end = _blank(text, 0), len(text)
    for name in path:
        if text[at] != "{":
            return None
        found = [(start, stop) for key, start, stop in _members(text, at) if key == name]
        if len(found) > 1:
            raise Broken(f"it wrote a message with two members `{name}`")
        if not found:
            return None
        at, end = found[0]
    return at, end


def _members(text: str, at: int) -> Iterator[tuple[str, int, int]]:
    at = _blank(text, at + 1)
    while text[at : at + 1] == '"':
        name, end = _SCAN(text, at)
        start = _blank(text, _blank(text, end) + 1)
        _, end = _SCAN(text, start)
        yield name, start, end
        at = _blank(text, _blank(text, end) + 1)


def _elements(text: str) -> list[tuple[bytes, Any]]:
    found = []
    at = _blank(text, 1)
    while text[at : at + 1] not in ("]", ""):
        value, end = _SCAN(text, at)
        found.append((text[at:end].encode(), value))
        at = _blank(text, _blank(text, end) + 1)
    return found


def _blank(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    assert match is not None
    return match.end()
