"""The protocol's vocabulary: revisions, header names, and what travels with one exchange.

INVARIANT: nothing here decides. What a message asks is read by the core from the body; these names
only say which bytes of the head belong to which revision.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway._core import Decision

PROTOCOL_VERSION = b"mcp-protocol-version"
SESSION_ID = b"mcp-session-id"
LAST_EVENT_ID = b"last-event-id"

LAST_LEGACY = b"2025-11-25"
"""The last revision with sessions; dates compare as text."""

EXTENSION = "interlock"
"""Where an `Exchange` lies in `scope["extensions"]` of what is passed to an upstream."""

LISTEN = "subscriptions/listen"
"""Its stream lasts; a result in it says that it was ended on purpose, a bare end that it was
lost."""

TASKS_LIST = "tasks/list"
"""Of 2025-11-25. A server may know its clients by the gateway's credentials only, and so list the
tasks of all grants."""

CANCELLED = "notifications/cancelled"
"""Of clients with a session; others close the request."""

MAX_SESSION_ID_BYTES = 1024
"""Longer session ids are taken for a fault of the server that chose them."""

_REVISION = re.compile(rb"\d{4}-\d{2}-\d{2}")
_SESSION_ID = re.compile(rb"[\x21-\x7e]{1,%d}" % MAX_SESSION_ID_BYTES)


def is_recent(version: bytes | None) -> bool:
    """Whether a version header names 2025-11-25 or a later revision; only a date can.

    From that one on, an error about a request whose id is unknown has no `id` member; before, null.
    """
    if version is None:
        return False
    date = version.strip()
    return date >= LAST_LEGACY and _REVISION.fullmatch(date) is not None


def is_modern(version: bytes | None) -> bool:
    """Whether a version header names a revision of the stateless era."""
    return version is not None and is_recent(version) and version.strip() > LAST_LEGACY


def is_session_id(value: bytes) -> bool:
    """Visible ASCII, as every revision that has sessions asks."""
    return _SESSION_ID.fullmatch(value) is not None


def revision_number(revision: object) -> int:
    """A revision as a number that a table can hold (`2025-03-26` is 20250326); 0 for anything
    else."""
    if not isinstance(revision, str) or _REVISION.fullmatch(revision.encode()) is None:
        return 0
    return int(revision.replace("-", ""))


def revision_name(number: int) -> str | None:
    """The inverse of `revision_number`; None for 0."""
    if number == 0:
        return None
    return f"{number // 10000:04d}-{number // 100 % 100:02d}-{number % 100:02d}"


def listen_result(request_id: bytes) -> bytes:
    """The message that ends a subscription in order.

    Args:
        request_id: of the `subscriptions/listen`, as it was spelt, raw JSON.
    """
    return (
        b'{"jsonrpc":"2.0","id":%b,"result":{"resultType":"complete",'
        b'"_meta":{"io.modelcontextprotocol/subscriptionId":%b}}}' % (request_id, request_id)
    )


def progress(token: bytes, progress: int, text: str) -> bytes:
    """A notification that a request is being served.

    Args:
        token: that the request gave, as it was spelt, raw JSON.
        progress: more each time.
        text: for whoever watches; printable ASCII without quotes.
    """
    return (
        b'{"jsonrpc":"2.0","method":"notifications/progress","params":'
        b'{"progressToken":%b,"progress":%d,"message":"%b"}}' % (token, progress, text.encode())
    )


@dataclass(slots=True)
class Exchange:
    """What an upstream may need to know of one request beyond its bytes."""

    grant: str
    server: str
    decision: Decision | None = None
    """None for GET and DELETE, which carry no message."""
    session: str | None = None
    modern: bool = False
    body: bytes = b""
    last_event_id: bytes | None = None
