"""What a client read from one connection, as the answers that it holds."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

FRAMING = (b"content-length", b"transfer-encoding", b"connection", b"keep-alive")


@dataclass(frozen=True)
class Answer:
    """One HTTP answer."""

    status: int
    fields: tuple[tuple[bytes, bytes], ...]
    """Sorted, names in lower case, without what says how the body is framed."""
    body: bytes
    whole: bool
    closes: bool
    """Whether it says that it is the connection's last."""

    def times(self, pattern: re.Pattern[bytes]) -> list[float]:
        """Numbers that depend on the clock."""
        values = [value for name, value in self.fields if name.startswith(b"rate")]
        waits = [float(v) for name, v in self.fields if name == b"retry-after" and v != b"1"]
        found = [float(one) for text in (*values, self.body) for one in pattern.findall(text)]
        return waits + found

    def without_times(self, pattern: re.Pattern[bytes]) -> Answer:
        """The same whatever the clock said."""
        fields = tuple(
            (name, b"T" if name == b"retry-after" and value != b"1" else pattern.sub(b"T", value))
            for name, value in self.fields
        )
        return replace(self, fields=fields, body=pattern.sub(b"T", self.body))


class Transcript:
    """Reads answers strictly (RFC 9112), as they come."""

    def __init__(self) -> None:
        self.finals = 0
        """Final answers that are whole."""
        self.says_close = False
        self.partial = False
        """Whether an answer has begun and not ended."""
        self._methods: list[bytes] = []
        self._data = b""

    def asked(self, data: bytes) -> None:
        """Remember which of the requests is one whose answer has no body."""
        self._methods += re.findall(rb"(?:\A|[}\n])([A-Za-z-]+) \S{1,50000} HTTP/1", data)

    def take(self, data: bytes | bytearray) -> None:
        """Look at everything that has come so far."""
        self._data = bytes(data)
        found = self._read()
        finals = [answer for answer in found if answer.status >= 200]
        self.finals = sum(answer.whole for answer in finals)
        self.says_close = any(answer.closes and answer.whole for answer in finals)
        self.partial = any(not answer.whole for answer in found)

    def answers(self) -> list[Answer]:
        """All answers, informational ones too."""
        return self._read()

    def _read(self) -> list[Answer]:
        rest, found = self._data, []
        methods = iter(self._methods)
        while rest:
            informational = re.match(rb"HTTP/1\.1 1", rest) is not None
            method = b"" if informational else next(methods, b"")
            answer, rest = self._one(rest, bodiless=informational or method == b"HEAD")
            found.append(answer)
        return found

    def _one(self, data: bytes, *, bodiless: bool) -> tuple[Answer, bytes]:
        head, blank, rest = data.partition(b"\r\n\r\n")
        line, *lines = head.split(b"\r\n")
        status = int(match[1]) if (match := re.match(rb"HTTP/1\.1 (\d{3}) ", line)) else 0
        if not blank or not status:
            return Answer(status, (), data, whole=False, closes=False), b""
        pairs = [(n.lower(), v.strip()) for n, _, v in (each.partition(b":") for each in lines)]
        fields: dict[bytes, Any] = dict(pairs)
        for name in FRAMING:
            assert sum(name == key for key, _ in pairs) <= 1, f"{name!r} is there twice"
        kept = tuple(sorted(pair for pair in pairs if pair[0] not in FRAMING))
        closes = fields.get(b"connection", b"").lower() == b"close"
        body, whole = b"", True
        if not bodiless and status not in (204, 304):
            body, rest, whole = self._body(fields, rest)
        return Answer(status, kept, body, whole, closes), rest

    def _body(self, fields: dict[bytes, Any], rest: bytes) -> tuple[bytes, bytes, bool]:
        assert not {b"content-length", b"transfer-encoding"} <= set(fields)
        if b"content-length" in fields:
            length = int(fields[b"content-length"])
            return rest[:length], rest[length:], len(rest) >= length
        assert fields.get(b"transfer-encoding") == b"chunked", "a body without an end"
        body = b""
        while match := re.match(rb"([0-9a-f]+)\r\n", rest):
            size = int(match[1], 16)
            piece = rest[match.end() :]
            if len(piece) < size + 2:
                return body + piece[:size], b"", False
            assert piece[size : size + 2] == b"\r\n"
            body, rest = body + piece[:size], piece[size + 2 :]
            if size == 0:
                return body, rest, True
        return body, b"", False
