"""Answers without what the policy hides and without other grants' tasks, JSON documents and event
streams alike.

INVARIANT: what needs no change leaves as it came; what cannot be read exactly does not leave.
Structure decides and not the request: a list is filtered on whatever stream it comes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.sse import Event

MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
"""The longest JSON answer that is held in memory to be filtered."""

Filter = Callable[[bytes], bytes]
"""`Engine.filter_list` for one caller, or the like: the same object back where nothing was to be
done, `ValueError` for what it cannot read."""


def filter_tasks(document: bytes, owns: Callable[[str], bool]) -> bytes:
    """A message, or an array of them, without the entries of a list of tasks (MCP 2025-11-25,
    "Listing Tasks") that are not the caller's; the same object where there are none.

    Args:
        owns: whether the caller made the task of this id.

    Raises:
        ValueError: it cannot be read exactly.
    """
    try:
        messages = json.loads(document.decode(), object_pairs_hook=_members)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    removed = False
    for message in messages if isinstance(messages, list) else [messages]:
        result = message.get("result") if isinstance(message, dict) else None
        tasks = result.get("tasks") if isinstance(result, dict) else None
        if isinstance(tasks, list):
            kept = [task for task in tasks if _is_owned(task, owns)]
            removed |= len(kept) < len(tasks)
            tasks[:] = kept
    if not removed:
        return document
    return json.dumps(messages, separators=(",", ":"), allow_nan=False).encode()


def _is_owned(task: object, owns: Callable[[str], bool]) -> bool:
    ident = task.get("taskId") if isinstance(task, dict) else None
    return isinstance(ident, str) and owns(ident)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a key is there twice")
    return members


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
