"""The approvals that were asked for and given, in one file for all workers and commands.

INVARIANT: an approval lets one call through once. Whoever takes it has it alone, whichever process
asks, because the change of its state and the look at it are one statement of the database; and it
belongs to one digest, which says grant, server, rule and every argument.

SQLite with a write-ahead log: readers never wait, writers wait for each other for milliseconds, and
what was committed outlives every process. Time is handed in, in seconds since 1970 UTC.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from gateway.approvals.database import StoreError as StoreError
from gateway.approvals.database import open_database

MAX_PENDING = 1000
"""Requests that may wait at once: nobody reads more, and a loop would fill a disk."""
MAX_OF_GRANT = 100  # which leaves room for the others'
MAX_CALL_BYTES = 64 << 10
"""Longest call that is kept to be shown; who approves must see all of it."""
KEPT_S = 30 * 86400.0
"""How long what has ended is shown; the decision log has it for good."""
QUIET_S = 1.0
"""So soon after a try of a call the next one is not written down: an agent may try without end, and
what is written has to reach the disk, one after the other."""
MAX_KEPT_BYTES = 16 << 20
"""Of calls that have ended: else an agent whose requests end would fill the disk."""

_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"
"""What cannot be taken for something else when it is read out."""


class State(StrEnum):
    """Where an approval is on its way."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    USED = "used"
    WITHDRAWN = "withdrawn"
    """It ended unused."""


class StoreFull(StoreError):
    """So many requests wait that no more are taken."""


class Unshowable(StoreError):
    """Nobody could read the call whole, so nobody may approve it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A call that needs approval.

    Attributes:
        digest: SHA-256 of the canonical call (`gateway.approvals.calls`).
        rule: RFC 6901 pointer of what asks for the approval.
        reason: the rule's own words.
        policy: digest of the policy.
        call: the arguments in canonical form, for people.
    """

    digest: bytes
    server: str
    grant: str
    tool: str
    rule: str
    reason: str
    policy: str
    call: str


@dataclass(frozen=True, slots=True)
class Approval:
    """A request for approval, and what became of it. Times in seconds since 1970 UTC."""

    id: str
    wanted: Wanted
    state: State
    asked_at: float
    asked: int
    """How often the agent asked; of several times within a second, one is counted."""
    until: float
    """When it ends, if it is pending, approved or denied."""
    decided_at: float | None
    decided_by: str | None
    remark: str | None
    used_at: float | None
    told_at: float | None
    tellings: int
    """How often the webhook's receiver was told; `told_at` is when it took it."""


class Approvals:
    """The store.

    Args:
        path: of the file, made with mode 0600 if absent; its folder must exist.
        pending_s: how long a request waits for a person.
        approved_s: how long an approval or refusal of what is asked here holds.
        max_pending: requests that wait at once.

    Raises:
        StoreError: the file cannot be used; the message is for people.

    Attributes:
        ended: how many requests and approvals this object found at their end.
    """

    def __init__(
        self,
        path: Path,
        *,
        pending_s: float = 3600.0,
        approved_s: float = 900.0,
        max_pending: int = MAX_PENDING,
    ) -> None:
        self.path = path
        self.ended = 0
        self._pending_s = pending_s
        self._approved_s = approved_s
        self._max_pending = max_pending
        self._turn = threading.Lock()
        with _told(path):
            self._database = open_database(path)
            self._database.row_factory = sqlite3.Row

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    # For the data plane.

    def ask(self, wanted: Wanted, now_s: float) -> Approval:
        """Ask for an approval; the open one of the same call if there is one, whatever its state.

        Raises:
            StoreFull: too many wait.
            StoreError: it cannot be written down.
        """
        with self._writing(now_s):
            return self._ask(wanted, now_s)

    def _ask(self, wanted: Wanted, now_s: float) -> Approval:
        if len(wanted.call) > MAX_CALL_BYTES:
            raise Unshowable("the call is too long to be shown to whoever approves it")
        again = self._one(
            "UPDATE approval SET asked = asked + 1, last_asked = ? WHERE digest = ?"
            " AND state IN ('pending', 'approved', 'denied') RETURNING *",
            *(now_s, wanted.digest),
        )
        if again is not None:
            return again
        if self._pending(wanted.grant) >= MAX_OF_GRANT:
            raise StoreFull(f"{MAX_OF_GRANT} requests of this grant wait for approval already")
        if (waiting := self._pending()) >= self._max_pending:
            raise StoreFull(f"{waiting} requests for approval wait already")
        self._database.execute(
            "DELETE FROM approval WHERE id IN (SELECT id FROM (SELECT id, sum(length(call))"
            " OVER (ORDER BY asked_at DESC, id) AS total FROM approval"
            " WHERE state IN ('used', 'withdrawn')) WHERE total > ?)",
            (MAX_KEPT_BYTES,),
        )
        asked = self._one(
            "INSERT INTO approval (id, digest, server, grant_name, tool, rule, reason, policy,"
            " call, state, asked_at, last_asked, asked, until, holds_s)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'pending', ?, ?, 1, ?, ?) RETURNING *",
            *(_new_id(), wanted.digest, wanted.server, wanted.grant, wanted.tool),
            *(wanted.rule, wanted.reason, wanted.policy, wanted.call),
            *(now_s, now_s, now_s + self._pending_s, self._approved_s),
        )
        assert asked is not None
        return asked

    def take(self, digest: bytes, now_s: float) -> Approval | None:
        """Use up the approval of a call, if it has one. At most one caller gets it.

        Raises:
            StoreError: it cannot be written down, so nobody has it.
        """
        with self._writing(now_s):
            return self._take(digest, now_s)

    def _take(self, digest: bytes, now_s: float) -> Approval | None:
        return self._one(
            "UPDATE approval SET state = 'used', used_at = ?"
            " WHERE digest = ? AND state = 'approved' RETURNING *",
            *(now_s, digest),
        )

    def claim(self, wanted: Wanted, now_s: float) -> Approval:
        """Use up the call's approval if it has one, or else ask for one.

        Returns:
            What is used by this very call, or what waits, or the refusal that holds.

        Raises:
            StoreFull, Unshowable: nobody is asked.
            StoreError: it cannot be written down, so nobody has it.
        """
        with self._turn, _told(self.path):
            found = self._one(
                "SELECT * FROM approval WHERE digest = ? AND state IN ('pending', 'approved',"
                " 'denied') AND state != 'approved' AND until > ? AND last_asked > ?",
                *(wanted.digest, now_s, now_s - QUIET_S),
            )
        if found is not None:
            return replace(found, asked=found.asked + 1)
        with self._writing(now_s):
            return self._take(wanted.digest, now_s) or self._ask(wanted, now_s)

    def give_back(self, taken: Approval, now_s: float) -> bool:
        """Let an approval that was taken count again, because its call was not delivered.

        Returns:
            Whether it counts: not if it has ended meanwhile, or the same call was asked for anew.
        """
        with self._writing(now_s):
            back = self._one(
                "UPDATE OR IGNORE approval SET state = 'approved', used_at = NULL"
                " WHERE id = ? AND state = 'used' AND used_at = ? AND until > ? RETURNING *",
                *(taken.id, taken.used_at, now_s),
            )
            return back is not None

    def sweep(self, now_s: float) -> int:
        """Withdraw what has ended, and say how many requests wait."""
        with self._writing(now_s):
            return self._pending()

    def waiting(self, now_s: float) -> set[str]:
        """The ids of the requests that wait. Nobody is kept from writing meanwhile."""
        with self._turn, _told(self.path):
            rows = self._database.execute(
                "SELECT id FROM approval WHERE state = 'pending' AND until > ?", (now_s,)
            )
            return {row["id"] for row in rows}

    # For people.

    def all(self, now_s: float, state: State | None = None, limit: int = 100) -> list[Approval]:
        """Those that wait first, then the others, the latest first."""
        with self._writing(now_s):
            rows = self._database.execute(
                "SELECT * FROM approval WHERE ? IS NULL OR state = ?"
                " ORDER BY state = 'pending' DESC, asked_at DESC, id LIMIT ?",
                (state, state, limit),
            )
            return [_approval(row) for row in rows]

    def get(self, id: str, now_s: float) -> Approval | None:
        """The one of this id."""
        with self._writing(now_s):
            return self._one("SELECT * FROM approval WHERE id = ?", id)

    def find(self, prefix: str, now_s: float) -> list[Approval]:
        """Those whose ids begin so: none, one, or two of several."""
        with self._writing(now_s):
            sought = "SELECT * FROM approval WHERE substr(id, 1, ?) = ? LIMIT 2"
            return [_approval(row) for row in self._database.execute(sought, (len(prefix), prefix))]

    def decide(
        self, id: str, *, approve: bool, by: str, remark: str | None, now_s: float
    ) -> Approval | None:
        """Approve or deny a request that waits, or take back an approval that was not used.

        Returns:
            As it is now; None if there is nothing of this id that can be decided so.
        """
        with self._writing(now_s):
            return self._one(
                "UPDATE approval SET state = ?, decided_at = ?, decided_by = ?, remark = ?,"
                " until = ? + holds_s WHERE id = ? AND state IN ('pending', ?) RETURNING *",
                *(State.APPROVED if approve else State.DENIED, now_s, by, remark),
                *(now_s, id, "pending" if approve else "approved"),
            )

    # For the webhook.

    def to_tell(self, now_s: float, *, lease_s: float, most: int) -> Approval | None:
        """A request that waits and that nobody was told of, for whoever asks first.

        Args:
            lease_s: how long nobody else gets it, in seconds; then whoever got it has died.
            most: how often telling it is tried.
        """
        with self._writing(now_s):
            return self._one(
                "UPDATE approval SET tell_after = ?, tellings = tellings + 1 WHERE id ="
                " (SELECT id FROM approval WHERE state = 'pending' AND told_at IS NULL"
                " AND tell_after <= ? AND tellings < ? ORDER BY tell_after, asked_at LIMIT 1)"
                " RETURNING *",
                *(now_s + lease_s, now_s, most),
            )

    def told(self, id: str, now_s: float) -> None:
        """The receiver took it."""
        with self._writing(now_s):
            self._one("UPDATE approval SET told_at = ? WHERE id = ? RETURNING *", now_s, id)

    def tell_later(self, id: str, at_s: float, now_s: float) -> None:
        """The receiver did not take it: not again before then."""
        with self._writing(now_s):
            self._one("UPDATE approval SET tell_after = ? WHERE id = ? RETURNING *", at_s, id)

    def next_telling(self, most: int) -> float | None:
        """When there is something to tell; None if there is nothing."""
        with self._turn, _told(self.path):
            (at_s,) = self._database.execute(
                "SELECT min(tell_after) FROM approval WHERE state = 'pending'"
                " AND told_at IS NULL AND tellings < ?",
                (most,),
            ).fetchone()
            return None if at_s is None else float(at_s)

    # Inside.

    @contextmanager
    def _writing(self, now_s: float) -> Iterator[None]:
        """One transaction, before which everything that has ended is withdrawn."""
        with self._turn, _told(self.path):
            self._database.execute("BEGIN IMMEDIATE")
            try:
                ended = self._database.execute(
                    "UPDATE approval SET state = 'withdrawn'"
                    " WHERE state IN ('pending', 'approved', 'denied') AND until <= ?",
                    (now_s,),
                ).rowcount
                self._database.execute(
                    "DELETE FROM approval WHERE state IN ('used', 'withdrawn') AND until <= ?",
                    (now_s - KEPT_S,),
                )
                yield
                self._database.execute("COMMIT")
            finally:
                # After some errors, a full disk for one, SQLite has rolled back by itself.
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
            self.ended += ended

    def _pending(self, grant: str | None = None) -> int:
        sought = "SELECT count(*) FROM approval WHERE state = 'pending' AND ifnull(?, grant_name)"
        return int(self._database.execute(f"{sought} = grant_name", (grant,)).fetchone()[0])

    def _one(self, statement: str, *values: Any) -> Approval | None:
        row = self._database.execute(statement, values).fetchone()
        return None if row is None else _approval(row)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"the approvals in `{path}` cannot be used: {error}") from error


def _new_id() -> str:
    """Ten characters, so that nobody guesses one: 49 bits."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(10))


def _approval(row: sqlite3.Row) -> Approval:
    wanted = Wanted(
        digest=row["digest"],
        server=row["server"],
        grant=row["grant_name"],
        tool=row["tool"],
        rule=row["rule"],
        reason=row["reason"],
        policy=row["policy"],
        call=row["call"],
    )
    return Approval(
        id=row["id"],
        wanted=wanted,
        state=State(row["state"]),
        asked_at=row["asked_at"],
        asked=row["asked"],
        until=row["until"],
        decided_at=row["decided_at"],
        decided_by=row["decided_by"],
        remark=row["remark"],
        used_at=row["used_at"],
        told_at=row["told_at"],
        tellings=row["tellings"],
    )
