"""The store's file: opened by many at once, and left alone where it is none."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from gateway.approvals.database import StoreError
from gateway.approvals.store import Approvals

OPEN = """
import sys
from pathlib import Path
from gateway.approvals.store import Approvals
sys.stdin.read()
Approvals(Path(sys.argv[1])).close()
"""


def test_many_processes_open_a_new_file_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-c", OPEN, str(tmp_path / "a.db")]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(6)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
    for process in processes:
        assert process.stderr is not None
        told = process.stderr.read()
        assert process.wait(30) == 0, told.decode()
        process.stderr.close()


def test_many_threads_open_a_new_file_at_once(tmp_path: Path) -> None:
    failed: list[Exception] = []
    start = threading.Barrier(8)

    def go() -> None:
        start.wait()
        try:
            Approvals(tmp_path / "a.db").close()
        except StoreError as error:
            failed.append(error)

    threads = [threading.Thread(target=go) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_another_object_of_this_process_keeps_its_locks(tmp_path: Path) -> None:
    """The kernel drops all locks of a process on a file when it closes any descriptor of it."""
    path = tmp_path / "a.db"
    with closing(Approvals(path)):
        inode = path.stat().st_ino
        before = held(inode)
        assert before
        with closing(Approvals(path)):
            pass
        assert held(inode) == before


def held(inode: int) -> list[str]:
    """Locks of this process on a file."""
    return sorted(
        " ".join(line.split()[1:])
        for line in Path("/proc/locks").read_text().splitlines()
        if f":{inode} " in line and line.split()[4] == str(os.getpid())
    )


def test_a_file_of_another_release_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 7")
    path.chmod(0o600)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="written by another release"):
        Approvals(path)
    assert path.read_bytes() == before


def test_a_database_of_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE songs (name TEXT)")
        other.commit()
    path.chmod(0o600)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="of something else"):
        Approvals(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o666, 0o601])
def test_a_file_that_is_open_to_everybody_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "a.db"
    Approvals(path).close()
    path.chmod(mode)
    with pytest.raises(StoreError, match="chmod 600"):
        Approvals(path)
    path.chmod(0o660)
    Approvals(path).close()


def test_a_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.db"
    Approvals(path).close()
    monkeypatch.setattr("os.geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(StoreError, match="another user"):
        Approvals(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    Approvals(tmp_path / "a.db").close()
    (tmp_path / "link").symlink_to(tmp_path / "a.db")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "."):
        with pytest.raises(StoreError, match="not a file of its own"):
            Approvals(tmp_path / name)
    with pytest.raises(StoreError, match="No such file"):
        Approvals(tmp_path / "none" / "a.db")


def test_a_file_that_somebody_keeps_locked_is_an_error_and_not_a_wait_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.approvals.database.BUSY_S", 0.05)
    path = tmp_path / "a.db"
    Approvals(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        store = Approvals(path)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked"):
            store.sweep(0.0)
        assert store.waiting(0.0) == set(), "readers do not wait for writers"
        other.execute("ROLLBACK")
        assert store.sweep(0.0) == 0
        store.close()
