"""Cutting event streams."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sse import Event, EventCutter, EventTooLong

ENDS = ["\n", "\r", "\r\n"]


def cut(stream: bytes, size: int) -> tuple[list[bytes | None], bytes]:
    """Payloads of the events of a stream that comes in pieces of this size, and all bytes."""
    cutter = EventCutter()
    events = [e for at in range(0, len(stream), size) for e in cutter.feed(stream[at : at + size])]
    return [e.data for e in events if e.data is not None], b"".join(
        e.raw for e in events
    ) + cutter.pending


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_every_line_end_at_every_cut(end: str, size: int) -> None:
    stream = end.join(["id: 1", "data: a", "data: b", "", ": c", "", "data:d", "", "", "data"])
    raw = stream.encode()
    assert cut(raw, size) == ([b"a\nb", b"d"], raw)


lines = st.sampled_from(["", "", "data: x", "data", "id: 1", ":", "event: e", "data: {}"])


@given(st.lists(st.tuples(lines, st.sampled_from(ENDS))), st.integers(1, 9), st.booleans())
def test_where_pieces_break_changes_nothing(
    parts: list[tuple[str, str]], size: int, mark: bool
) -> None:
    raw = (b"\xef\xbb\xbf" if mark else b"") + "".join(a + b for a, b in parts).encode()
    payloads, whole = cut(raw, size)
    assert whole == raw
    assert payloads == expected(raw.removeprefix(b"\xef\xbb\xbf"))


def expected(raw: bytes) -> list[bytes]:
    """The payloads by the letter of the standard: line by line, dispatched at a blank one."""
    text = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    payloads: list[bytes] = []
    data: list[bytes] = []
    for line in text.split(b"\n")[:-1]:
        name, _, value = line.partition(b":")
        if not line:
            if data:
                payloads.append(b"\n".join(data))
            data = []
        elif name == b"data":
            data.append(value.removeprefix(b" "))
    return payloads


def test_an_event_is_handed_out_with_the_byte_that_completes_it() -> None:
    cutter = EventCutter()
    assert cutter.feed(b"data: 1\r\n\r") == [Event(b"data: 1\r\n\r")]
    assert cutter.between_events
    assert cutter.feed(b"\ndata: 2\n") == [Event(b"\n")]
    assert not cutter.between_events
    assert cutter.feed(b"\n") == [Event(b"data: 2\n\n")]


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_a_new_payload_leaves_the_other_lines_alone(end: str) -> None:
    raw = end.join(["\ufeffid: 1", "data: a", "retry: 5", "data: b", ": c", "", ""]).encode()
    changed = Event(raw).with_data(b"x\ny")
    wanted = end.join(["\ufeffid: 1", "data: x", "data: y", "retry: 5", ": c", "", ""]).encode()
    assert changed.raw == wanted
    assert changed.data == b"x\ny"


def test_a_mark_before_the_payload_stays() -> None:
    assert Event(b"\xef\xbb\xbfdata:a\n\n").with_data(b"b").raw == b"\xef\xbb\xbfdata: b\n\n"


def test_an_event_over_the_bound() -> None:
    strict, lossy = EventCutter(limit=8), EventCutter(limit=8, lossy=True)
    with pytest.raises(EventTooLong):
        strict.feed(b"data: 1234")
    assert lossy.feed(b"data: 1234") == []
    assert not lossy.between_events
    assert lossy.feed(b"5\n") == []
    assert lossy.feed(b"\ndata: 6\n\n") == [Event(b"data: 6\n\n")]
    assert lossy.between_events


def test_the_longest_event_counts_by_itself() -> None:
    cutter = EventCutter(limit=16)
    assert len(cutter.feed(b"data: 1\n\n" * 10)) == 10
