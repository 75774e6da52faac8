"""The database under the store: a file that one process makes, and any number of them open at once.

INVARIANT: what is opened is a store of this form that is this user's own, or it is left as it is.
The file is never opened but by SQLite, whose locks a close of any other descriptor of this process
would drop.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from pathlib import Path

from gateway.errors import GatewayError

BUSY_S = 2.0
"""How long a writer waits for another one."""
_STEP_S = 0.01
_SCHEMA = """
CREATE TABLE IF NOT EXISTS approval (
    id TEXT PRIMARY KEY,
    digest BLOB NOT NULL,
    server TEXT NOT NULL, grant_name TEXT NOT NULL, tool TEXT NOT NULL, rule TEXT NOT NULL,
    reason TEXT NOT NULL, policy TEXT NOT NULL, call TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'approved', 'denied', 'used', 'withdrawn')),
    asked_at REAL NOT NULL, last_asked REAL NOT NULL, asked INTEGER NOT NULL,
    until REAL NOT NULL, holds_s REAL NOT NULL,
    decided_at REAL, decided_by TEXT, remark TEXT, used_at REAL,
    told_at REAL, tellings INTEGER NOT NULL DEFAULT 0, tell_after REAL NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS one_open ON approval (digest)
    WHERE state IN ('pending', 'approved', 'denied');
CREATE INDEX IF NOT EXISTS by_state ON approval (state, until);
"""
_VERSION = 1
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class StoreError(GatewayError):
    """The store cannot be used; what would have needed it is refused."""


def open_database(path: Path) -> sqlite3.Connection:
    """Open the file, and make it first if it is not there.

    Raises:
        StoreError: it is something else.
        sqlite3.Error, OSError: it cannot be opened.
    """
    _make(path)
    database = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        _prepare(database, path)
    except BaseException:
        database.close()
        raise
    return database


def _make(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            raise StoreError(f"`{path}` is not a file of its own") from None
        # Root may be whoever decides. The group's rights are Kubernetes', which gives a volume one.
        if os.geteuid() not in (0, found.st_uid):
            raise StoreError(f"`{path}` belongs to another user, who could approve") from None
        if found.st_mode & stat.S_IRWXO:
            message = f"`{path}` is open to everybody, who could approve: `chmod 600` it"
            raise StoreError(message) from None


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    """Bring a new file into form, while others may be doing the same."""
    end = time.monotonic() + BUSY_S
    while True:
        try:
            found, others = database.execute(
                "SELECT user_version, (SELECT count(*) FROM sqlite_master) FROM pragma_user_version"
            ).fetchone()
            if found not in (0, _VERSION):
                raise StoreError(f"`{path}` was written by another release (form {found})")
            if found == 0:
                if others:
                    raise StoreError(f"`{path}` is a database of something else")
                # Of this SQLite says at once that it is busy, whatever the timeout.
                database.execute("PRAGMA journal_mode = WAL")
                database.executescript(
                    f"BEGIN IMMEDIATE;{_SCHEMA}PRAGMA user_version = {_VERSION};COMMIT;"
                )
            database.execute("PRAGMA synchronous = FULL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _BUSY or time.monotonic() > end:
                raise
        time.sleep(_STEP_S)
