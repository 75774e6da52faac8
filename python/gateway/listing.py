"""Answers without what the policy hides, JSON documents and event streams alike.

INVARIANT: what needs no change leaves as it came; what cannot be read exactly does not leave.
Structure decides and not the request: a list is filtered on whatever stream it comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.sse import Event

MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
"""The longest JSON answer that is held in memory to be filtered."""

Filter = Callable[[bytes], bytes]
"""`Engine.filter_list` for one caller: the same object back where nothing was to be done,
`ValueError` for what it cannot read."""


def filter_event(event: Event, keep: Filter) -> Event:
    """The event without what is hidden, the same object where nothing was.

    Raises:
        ValueError: its payload cannot be read exactly.
    """
    if event.ambiguous:
        raise ValueError("a line may end in more than one place")
    data = event.data
    if data is None or not data.strip():
        return event
    kept = keep(data)
    return event if kept == data else event.with_data(kept)


def filter_events(events: Iterable[Event], keep: Filter) -> bytes:
    """The bytes of these events without what is hidden.

    Raises:
        ValueError: one of them cannot be read exactly.
    """
    return b"".join(filter_event(event, keep).raw for event in events)
