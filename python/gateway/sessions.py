"""Which grant a session, a task and a server's own request belong to.

INVARIANT: an id is usable by the grant it was given to and by no other, on every worker and after a
restart; for everyone else it does not exist. The limit table holds all of it, so that its bounds
hold too.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from gateway._core import LimitTable

MAX_OUTSTANDING = 64
"""Server requests of one stream that wait for the client's reply; the oldest is forgotten first."""
MAX_REPLIES = 1024
"""The same of all streams of one server together: without it, a server that asks and asks would
take every place that limits need."""


class Sessions:
    """What one server's clients were given, in the shared table."""

    def __init__(self, table: LimitTable, server: str) -> None:
        self.live = 0
        """Sessions that this process saw open and not end."""
        self._table = table
        self._server = server
        self._replies: OrderedDict[str, None] = OrderedDict()

    def open(self, session: str, grant: str, revision: int = 0) -> bool:
        """Remember a session id that the server gave to a grant; False if it cannot be the grant's.

        Args:
            revision: the negotiated one as a number, 0 while it is not known.
        """
        known = self._table.owned("session", self._server, session, grant) is not None
        bound = self._table.bind("session", self._server, session, grant, revision)
        self.live += bound and not known
        return bound

    def revision(self, session: str, grant: str) -> int | None:
        """The session's revision (0: not known), or None if the grant has no such session."""
        return self._table.owned("session", self._server, session, grant)

    def close(self, session: str, grant: str) -> None:
        """Forget a session of this grant's that ended."""
        if self.revision(session, grant) is None:
            return
        self.live = max(0, self.live - 1)
        self._table.unbind("session", self._server, session)

    def open_task(self, task: str, grant: str) -> bool:
        """Remember a task that a grant's call made."""
        return self._table.bind("task", self._server, task, grant)

    def owns_task(self, task: str, grant: str) -> bool:
        """Whether a call of this grant made the task."""
        return self._table.owned("task", self._server, task, grant) is not None

    def expect_reply(self, session: str | None, request_id: object, grant: str) -> str | None:
        """Remember that the server asked the client something; the key, for `forget_reply`."""
        key = _reply_key(session, request_id)
        if key is None or not self._table.bind("reply", self._server, key, grant):
            return None
        self._replies[key] = None
        self._replies.move_to_end(key)
        if len(self._replies) > MAX_REPLIES:
            self.forget_reply(next(iter(self._replies)))
        return key

    def expects_reply(self, session: str | None, request_id: object, grant: str) -> str | None:
        """The key of the outstanding request that a reply with this id answers, if there is one."""
        key = _reply_key(session, request_id)
        if key is None or self._table.owned("reply", self._server, key, grant) is None:
            return None
        return key

    def forget_reply(self, key: str) -> None:
        """The request was answered, or cannot be any more."""
        self._replies.pop(key, None)
        self._table.unbind("reply", self._server, key)


class Outstanding:
    """The server's requests on one stream, bounded."""

    def __init__(self, sessions: Sessions, session: str | None, grant: str) -> None:
        self._sessions = sessions
        self._session = session
        self._grant = grant
        self._keys: deque[str] = deque()

    def add(self, request_id: object) -> None:
        """Let one reply with this id pass."""
        key = self._sessions.expect_reply(self._session, request_id, self._grant)
        if key is None or key in self._keys:
            return
        if len(self._keys) == MAX_OUTSTANDING:
            self._sessions.forget_reply(self._keys.popleft())
        self._keys.append(key)


def read_id(raw: bytes | None) -> object:
    """A JSON-RPC id from its raw spelling; None if there is none."""
    if raw is None:
        return None
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None


def _reply_key(session: str | None, request_id: object) -> str | None:
    """Ids compare by value and JSON type, since a client may spell a string in another way."""
    if isinstance(request_id, bool) or not isinstance(request_id, str | int):
        return None
    kind = "s" if isinstance(request_id, str) else "n"
    return f"{session or ''}\n{kind}{request_id}"
