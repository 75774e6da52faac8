"""The command shows people what an agent wrote, exactly, and lets nothing of it act on them."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.approvals.calls import canonical
from gateway.approvals.store import Approvals, Wanted
from gateway.cli import interlock
from gateway.errors import StartError

WANTED = Wanted(
    digest=b"d" * 32, server="bank", grant="laptop", tool="pay", rule="/tools/pay/action",
    reason="money needs a person", policy="ab" * 32, call='{"sum":1.10,"to":"DE02"}',
)  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.db"


@pytest.fixture
def store(path: Path) -> Iterator[Approvals]:
    with closing(Approvals(path)) as store:
        yield store


def run(path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(
        interlock, ["approvals", *arguments], env={"INTERLOCK_APPROVALS": str(path)}
    )


def rows(text: str) -> dict[str, str]:
    return {line[:12].strip(): line[13:] for line in text.splitlines()}


def test_what_waits_is_listed_shown_and_approved(path: Path, store: Approvals) -> None:
    id = store.ask(WANTED, time.time()).id
    listed = run(path, "list")
    assert listed.exit_code == 0
    assert listed.output.startswith(f"{id}  pending ")
    assert listed.output.endswith('laptop on bank: pay {"sum":1.10,"to":"DE02"}\n')
    shown = rows(run(path, "show", id[:4]).output)
    assert (shown["id"], shown["arguments"]) == (id, '{"sum":1.10,"to":"DE02"}')
    assert "reads" not in shown
    done = run(path, "approve", id, "--by", "ann", "--remark", "ok", "--format", "json")
    told = json.loads(done.output)
    assert (done.exit_code, told["state"], told["decided_by"]) == (0, "approved", "ann")
    assert '"sum":1.10' in done.output, "numbers as they were spelt"
    taken = store.take(WANTED.digest, time.time())
    assert taken is not None
    assert taken.remark == "ok"


def test_who_decides_is_who_is_logged_in(
    path: Path, store: Approvals, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = store.ask(WANTED, time.time()).id
    monkeypatch.setenv("LOGNAME", "carla")
    assert rows(run(path, "deny", id).output)["decided by"] == "carla"
    for name in ("", "  "):
        assert run(path, "deny", id, "--by", name).exit_code == 2


def test_nobody_in_particular_decides_nothing(
    path: Path, store: Approvals, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = store.ask(WANTED, time.time()).id

    def nobody() -> str:
        raise KeyError

    monkeypatch.setattr("getpass.getuser", nobody)
    done = run(path, "approve", id)
    assert done.exit_code == 2
    assert "--by" in done.output
    assert store.waiting(time.time()) == {id}
    assert run(path, "list").exit_code == 0


HOSTILE = {
    "to": "\u202eknab\u202c",
    "x": "\x7f\x1b]0;pwned\x07\x1b[2J\r\n\u200b",
    "m": "Müller \u0430",
}


def test_nothing_an_agent_wrote_acts_on_who_reads_it(path: Path, store: Approvals) -> None:
    call = canonical(json.dumps(HOSTILE).encode())
    wanted = replace(
        WANTED, call=call, tool="pay\x1b[1A", reason="a\nstate        approved", grant="l\u202ea"
    )
    id = store.ask(wanted, time.time()).id
    store.decide(id, approve=True, by="e\x1b[2Jve", remark="\u202e", now_s=time.time())
    for command in (["list"], ["show", id]):
        text = run(path, *command).output
        for letter in text.replace("\n", ""):
            assert letter.isascii() or letter in "üа"
            assert letter.isprintable()
    text = run(path, "show", id).output
    shown = rows(text)
    assert json.loads(shown["arguments"]) == HOSTILE
    call = call.replace("\x7f", r"\u007f")
    assert shown["arguments"] == call
    assert shown["reads"] == call.replace(r"\u00fc", "ü").replace(r"\u0430", "\u0430")
    assert shown["reason"] == r"a\nstate        approved"
    assert text.count("\nstate  ") == 1
    raw = run(path, "show", id, "--format", "json").output
    assert raw.isascii()
    assert raw.replace("\n", "").isprintable()
    assert json.loads(raw)["arguments"] == HOSTILE
    assert json.loads(raw)["remark"] == "\u202e"


@pytest.mark.parametrize("length", range(30, 90))
def test_a_list_says_how_much_it_leaves_out(path: Path, store: Approvals, length: int) -> None:
    call = canonical(json.dumps({"a": "é" * (length // 6) + "x" * (length % 6)}).encode())
    store.ask(replace(WANTED, call=call), time.time())
    shown = run(path, "list").output.partition("pay ")[2].rstrip("\n")
    begin, cut, rest = shown.partition(" and ")
    assert call.startswith(begin)
    left = int(rest.split()[0]) if cut else 0
    assert len(begin) + left == len(call)
    assert not begin.endswith(("\\", "\\u", "\\u0", "\\u00", "\\u00e"))
    id = run(path, "list").output[:10]
    assert rows(run(path, "show", id).output)["arguments"] == call, "nothing is cut there"


def test_a_long_list_says_that_there_is_more(
    path: Path, store: Approvals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.cli.approvals.MAX_LISTED", 2)
    for number in range(3):
        store.ask(replace(WANTED, digest=bytes([number]) * 32), time.time())
    assert "more than these 2" in run(path, "list").stderr
    assert len(json.loads(run(path, "list", "--format", "json").stdout)) == 2
    assert run(path, "list", "--state", "used").output == "nothing is used\n"


@pytest.mark.parametrize("verb", ["show", "approve", "deny"])
@pytest.mark.parametrize("id", ["", "zzz", "zzzz", "%", "____", "\x1b[2J", "../../x", "' OR 1=1"])
def test_what_is_no_id_is_nothing(path: Path, store: Approvals, verb: str, id: str) -> None:
    there = store.ask(WANTED, time.time()).id
    done = run(path, verb, id)
    assert done.exit_code == 1
    assert done.stderr.startswith("error: there is nothing of the id")
    assert "\x1b" not in done.stderr
    assert store.waiting(time.time()) == {there}


def test_a_beginning_that_several_have_is_none(
    path: Path, store: Approvals, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = iter(["aaaa222222", "aaaa333333"])
    monkeypatch.setattr("gateway.approvals.store._new_id", lambda: next(ids))
    store.ask(WANTED, time.time())
    store.ask(replace(WANTED, digest=b"e" * 32), time.time())
    done = run(path, "approve", "aaaa")
    assert done.exit_code == 1
    assert "several" in done.stderr
    assert run(path, "approve", "aaaa3").exit_code == 0


def test_what_is_decided_is_decided(path: Path, store: Approvals) -> None:
    id = store.ask(WANTED, time.time()).id
    assert run(path, "deny", id).exit_code == 0
    done = run(path, "approve", id)
    assert done.exit_code == 1
    assert f"`{id}` is denied and cannot be approved" in done.stderr


def fails(path: Path, *arguments: str) -> str:
    """The problem that ends the command with exit code 69."""
    done = run(path, *arguments)
    assert isinstance(done.exception, StartError), done.output
    return done.exception.problem.message


def test_a_store_that_is_none_is_said_so_and_left_alone(tmp_path: Path) -> None:
    assert "there is no file" in fails(tmp_path / "none.db", "list")
    assert not (tmp_path / "none.db").exists()
    text = tmp_path / "text"
    text.write_text("no database " * 100)
    text.chmod(0o600)
    assert "not a database" in fails(text, "list")
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as database:
        database.execute("PRAGMA user_version = 8")
    other.chmod(0o600)
    assert "another release" in fails(other, "approve", "aaaaaa")


def test_a_locked_store_is_an_error(
    path: Path, store: Approvals, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = store.ask(WANTED, time.time()).id
    monkeypatch.setattr("gateway.approvals.database.BUSY_S", 0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert "locked" in fails(path, "approve", id)
        other.execute("ROLLBACK")
    assert store.waiting(time.time()) == {id}


def test_a_damaged_store_decides_nothing(path: Path) -> None:
    with closing(Approvals(path)) as store:
        id = store.ask(WANTED, time.time()).id
    damaged = bytearray(path.read_bytes())
    damaged[4096:] = os.urandom(len(damaged) - 4096)
    path.write_bytes(bytes(damaged))
    assert fails(path, "approve", id)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_store_that_may_only_be_read_is_an_error(path: Path) -> None:
    with closing(Approvals(path)) as store:
        id = store.ask(WANTED, time.time()).id
    path.chmod(0o400)
    assert fails(path, "approve", id)


def test_help_teaches_what_to_do() -> None:
    told = CliRunner().invoke(interlock, ["approvals", "--help"]).output
    for word in ("interlock approvals show ID", "once", "Exit codes", "INTERLOCK_APPROVALS"):
        assert word in told
