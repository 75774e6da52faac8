"""Event streams cut into events, whatever the line ends and wherever the pieces break.

INVARIANT: the bytes of all events, joined, are the bytes that came in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_EVENT_BYTES = 4 * 1024 * 1024
"""The longest event that is held in memory to be read."""

_BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2}")
_LOOK_BACK = 3
"""A blank line that a new piece completes begins at most this far before it."""
_OTHER_LINE_END = re.compile(rb"[\x0b\x0c\x1c-\x1e]|\xc2\x85|\xe2\x80[\xa8\xa9]")
"""What Unicode ends lines with and event streams do not, though readers exist that take it for an
end."""
_BOM = b"\xef\xbb\xbf"
_CR = 0x0D


class EventTooLong(ValueError):
    """An event is longer than the bound."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event, its bytes untouched, up to and with the blank line that ends it."""

    raw: bytes

    @property
    def data(self) -> bytes | None:
        """The payload, its lines joined with LF; None if the event has no data field."""
        fields = (_field(line) for line in self.raw.splitlines())
        lines = [value for name, value in fields if name == b"data"]
        return b"\n".join(lines) if lines else None

    @property
    def ambiguous(self) -> bool:
        """Whether some reader could find a field in the middle of a line that is no payload."""
        return _OTHER_LINE_END.search(self.raw) is not None and any(
            _OTHER_LINE_END.search(line) is not None
            for line in self.raw.splitlines()
            if _field(line)[0] != b"data"
        )

    def with_data(self, data: bytes) -> Event:
        """The event with another payload; every other line keeps its bytes and its place."""
        lines: list[bytes] = []
        placed = False
        for line in self.raw.splitlines(keepends=True):
            content = line.rstrip(b"\r\n")
            if _field(content)[0] != b"data":
                lines.append(line)
            elif not placed:
                placed = True
                if content.startswith(_BOM):
                    lines.append(_BOM)
                end = line[len(content) :] or b"\n"
                lines += [b"data: %b%b" % (part, end) for part in data.split(b"\n")]
        return Event(b"".join(lines))


class EventCutter:
    """Cuts a stream that comes in arbitrary pieces into events.

    An event is handed out with the first byte that proves it complete. If that is a CR, an LF that
    belongs to it may still follow, and is handed out as an event of its own that says nothing.

    Args:
        lossy: do not fail on an event over `limit`, but leave it unreported.
        limit: bytes of one event that are kept.
    """

    def __init__(self, *, lossy: bool = False, limit: int = MAX_EVENT_BYTES) -> None:
        self._lossy = lossy
        self._limit = limit
        self._buffer = bytearray()
        self._oversized = False
        self._after_cr = False

    @property
    def pending(self) -> bytes:
        """The beginning of an event whose end has not come yet."""
        return bytes(self._buffer)

    @property
    def between_events(self) -> bool:
        """Whether an event may be inserted into the stream here."""
        return not self._buffer and not self._oversized

    def be_strict(self) -> None:
        """Be lossy no longer.

        Raises:
            EventTooLong: the event that has begun is over `limit` already.
        """
        self._lossy = False
        if self._oversized:
            raise EventTooLong("an event is too long to be read")

    def feed(self, piece: bytes) -> list[Event]:
        """The events that this piece completes.

        Raises:
            EventTooLong: unless `lossy`.
        """
        events: list[Event] = []
        if self._after_cr and piece:
            self._after_cr = False
            if piece.startswith(b"\n"):
                events.append(Event(b"\n"))
                piece = piece[1:]
        buffer = self._buffer
        search_from = max(0, len(buffer) - _LOOK_BACK)
        buffer += piece
        start = 0
        while (blank := _BLANK_LINE.search(buffer, search_from)) is not None:
            end = search_from = blank.end()
            if not self._oversized:
                events.append(Event(bytes(buffer[start:end])))
            self._oversized = False
            start = end
        if start:
            self._after_cr = start == len(buffer) and buffer[-1] == _CR
            del buffer[:start]
        if len(buffer) > self._limit:
            if not self._lossy:
                raise EventTooLong("an event is too long to be read")
            self._oversized = True
            del buffer[:-_LOOK_BACK]
        return events


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.removeprefix(_BOM).partition(b":")
    return name, value.removeprefix(b" ")
