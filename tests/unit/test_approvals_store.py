"""Approvals are given by people, used once, and lost by nothing."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.approvals.store import Approval, Approvals, State, StoreError, StoreFull, Wanted

NOON = 1_772_452_800.0
WANTED = Wanted(
    digest=b"d" * 32,
    server="bank",
    grant="laptop",
    tool="pay",
    rule="/tools/pay/action",
    reason="money needs a person",
    policy="ab" * 32,
    call='{"amount":5}',
)
OTHER = replace(WANTED, digest=b"e" * 32, call='{"amount":6}')


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Approvals]:
    store = Approvals(tmp_path / "approvals.db", pending_s=60, approved_s=30, max_pending=3)
    yield store
    store.close()


def approve(store: Approvals, id: str, now_s: float = NOON) -> Approval:
    approved = store.decide(id, approve=True, by="ann", remark=None, now_s=now_s)
    assert approved is not None
    return approved


def test_a_request_waits_and_an_equal_one_is_the_same(store: Approvals) -> None:
    asked = store.ask(WANTED, NOON)
    assert (asked.state, asked.asked, asked.until) == (State.PENDING, 1, NOON + 60)
    again = store.ask(WANTED, NOON + 1)
    assert (again.id, again.asked, again.until) == (asked.id, 2, NOON + 60)
    assert store.ask(OTHER, NOON).id != asked.id
    assert store.take(WANTED.digest, NOON) is None


def test_an_approval_lets_one_call_through_once(store: Approvals) -> None:
    asked = store.ask(WANTED, NOON)
    approved = approve(store, asked.id, NOON + 5)
    assert (approved.decided_by, approved.until) == ("ann", NOON + 35)
    assert store.take(OTHER.digest, NOON + 6) is None
    taken = store.take(WANTED.digest, NOON + 6)
    assert taken is not None
    assert (taken.id, taken.state, taken.used_at) == (asked.id, State.USED, NOON + 6)
    assert store.take(WANTED.digest, NOON + 6) is None
    assert store.ask(WANTED, NOON + 7).id != asked.id, "the next one needs its own"


def test_an_approval_ends(store: Approvals) -> None:
    id = store.ask(WANTED, NOON).id
    approve(store, id)
    assert store.take(WANTED.digest, NOON + 30) is None
    found = store.get(id, NOON + 30)
    assert found is not None
    assert found.state is State.WITHDRAWN
    assert store.decide(id, approve=True, by="ann", remark=None, now_s=NOON + 31) is None


def test_a_request_ends_undecided(store: Approvals) -> None:
    id = store.ask(WANTED, NOON).id
    assert store.decide(id, approve=True, by="ann", remark=None, now_s=NOON + 60) is None
    assert store.ask(WANTED, NOON + 60).id != id


def test_a_refusal_holds_for_a_while(store: Approvals) -> None:
    id = store.ask(WANTED, NOON).id
    store.decide(id, approve=False, by="ann", remark="too much", now_s=NOON)
    again = store.ask(WANTED, NOON + 1)
    assert (again.id, again.state, again.remark) == (id, State.DENIED, "too much")
    assert store.take(WANTED.digest, NOON + 1) is None
    assert store.ask(WANTED, NOON + 31).state is State.PENDING


def test_what_was_not_delivered_is_given_back_once(store: Approvals) -> None:
    approve(store, store.ask(WANTED, NOON).id)
    taken = store.take(WANTED.digest, NOON + 1)
    assert taken is not None
    assert store.give_back(taken, NOON + 2)
    assert not store.give_back(taken, NOON + 2)
    later = store.take(WANTED.digest, NOON + 3)
    assert later is not None
    assert not store.give_back(taken, NOON + 4), "that was the other one's"
    assert not store.give_back(later, NOON + 40), "it has ended"


def test_nothing_is_given_back_beside_a_new_request(store: Approvals) -> None:
    approve(store, store.ask(WANTED, NOON).id)
    taken = store.take(WANTED.digest, NOON + 1)
    assert taken is not None
    store.ask(WANTED, NOON + 2)
    assert not store.give_back(taken, NOON + 3)
    assert store.take(WANTED.digest, NOON + 3) is None


def test_so_many_may_wait(store: Approvals) -> None:
    for number in range(3):
        store.ask(replace(WANTED, digest=bytes([number]) * 32), NOON)
    with pytest.raises(StoreFull, match="3 requests"):
        store.ask(WANTED, NOON)
    assert store.ask(replace(WANTED, digest=bytes([1]) * 32), NOON).asked == 2
    assert store.ask(WANTED, NOON + 60).state is State.PENDING, "the others have ended"


def test_a_call_that_cannot_be_shown_cannot_be_approved(store: Approvals) -> None:
    with pytest.raises(StoreError, match="too long"):
        store.ask(replace(WANTED, call="x" * 70_000), NOON)


def test_a_list_begins_with_what_waits(store: Approvals) -> None:
    old = store.ask(WANTED, NOON).id
    new = store.ask(OTHER, NOON + 1).id
    approve(store, new, NOON + 2)
    assert [each.id for each in store.all(NOON + 3)] == [old, new]
    assert [each.id for each in store.all(NOON + 3, State.APPROVED)] == [new]
    assert store.all(NOON + 3)[0].wanted == WANTED


def test_it_is_still_there_after_a_restart(store: Approvals) -> None:
    approve(store, store.ask(WANTED, NOON).id)
    store.close()
    again = Approvals(store.path, pending_s=60, approved_s=30)
    assert again.take(WANTED.digest, NOON + 1) is not None
    again.close()


def test_nobody_else_may_read_it(store: Approvals) -> None:
    assert store.path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_no_store_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_text("this is no database" * 100, encoding="utf-8")
    path.chmod(0o600)
    with pytest.raises(StoreError, match="cannot be used"):
        Approvals(path)
    assert path.read_text(encoding="utf-8").startswith("this is no")
    link = tmp_path / "link.db"
    link.symlink_to(path)
    with pytest.raises(StoreError):
        Approvals(link)


def test_one_of_many_threads_has_it(store: Approvals) -> None:
    approve(store, store.ask(WANTED, NOON).id)
    others = [Approvals(store.path) for _ in range(8)]
    start = threading.Barrier(8)
    taken: list[Approval | None] = []

    def race(mine: Approvals) -> None:
        start.wait()
        taken.append(mine.take(WANTED.digest, NOON + 1))

    threads = [threading.Thread(target=race, args=[each]) for each in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(each is not None for each in taken) == 1
    for each in others:
        each.close()


def _take_and_die(path: Path) -> None:
    mine = Approvals(path)
    mine.take(WANTED.digest, NOON + 1)
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_killed_worker_took_stays_taken(store: Approvals) -> None:
    approve(store, store.ask(WANTED, NOON).id)
    worker = multiprocessing.get_context("spawn").Process(target=_take_and_die, args=(store.path,))
    worker.start()
    worker.join(30)
    assert worker.exitcode == -signal.SIGKILL
    assert store.take(WANTED.digest, NOON + 2) is None


def test_a_call_uses_its_approval_or_asks(store: Approvals) -> None:
    asked = store.claim(WANTED, NOON)
    assert asked.state is State.PENDING
    approve(store, asked.id)
    assert store.claim(OTHER, NOON + 1).state is State.PENDING
    used = store.claim(WANTED, NOON + 1)
    assert (used.id, used.state) == (asked.id, State.USED)
    assert store.claim(WANTED, NOON + 2).state is State.PENDING
    store.decide(store.claim(WANTED, NOON + 2).id, approve=False, by="b", remark=None, now_s=NOON)
    assert store.claim(WANTED, NOON + 3).state is State.DENIED


def test_what_waits_is_told_and_what_has_ended_is_counted(store: Approvals) -> None:
    first, second = store.ask(WANTED, NOON), store.ask(OTHER, NOON + 1)
    assert store.waiting(NOON + 2) == {first.id, second.id}
    assert store.waiting(NOON + 60) == {second.id}
    assert (store.sweep(NOON + 60), store.ended) == (1, 1)
    assert (store.sweep(NOON + 61), store.ended) == (0, 2)


def test_a_write_that_fails_leaves_the_store_usable(
    store: Approvals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.approvals.store._new_id", lambda: None)
    for _ in range(2):
        with pytest.raises(StoreError, match="NOT NULL"):
            store.claim(WANTED, NOON)
    monkeypatch.undo()
    assert store.claim(WANTED, NOON).asked == 1


def test_how_long_it_holds_is_said_by_who_asked(store: Approvals) -> None:
    """Whoever decides need not know what the sidecar was told."""
    id = store.ask(WANTED, NOON).id
    other = Approvals(store.path, approved_s=86_400)
    assert approve(other, id).until == NOON + 30
    other.close()


def test_an_approval_that_was_not_used_is_taken_back(store: Approvals) -> None:
    id = store.ask(WANTED, NOON).id
    approve(store, id)
    back = store.decide(id, approve=False, by="bob", remark=None, now_s=NOON + 1)
    assert back is not None
    assert (back.state, back.decided_by) == (State.DENIED, "bob")
    assert store.take(WANTED.digest, NOON + 2) is None
    assert store.decide(id, approve=True, by="eve", remark=None, now_s=NOON + 2) is None


def test_what_was_used_cannot_be_taken_back(store: Approvals) -> None:
    id = store.ask(WANTED, NOON).id
    approve(store, id)
    assert store.take(WANTED.digest, NOON + 1) is not None
    assert store.decide(id, approve=False, by="bob", remark=None, now_s=NOON + 2) is None


def test_the_beginning_of_an_id_finds_it_if_it_is_one(store: Approvals) -> None:
    one, other = store.ask(WANTED, NOON).id, store.ask(OTHER, NOON).id
    common = next(at for at in range(11) if one[:at] != other[:at] or at == 10)
    assert [each.id for each in store.find(one[:common], NOON)] == [one]
    assert len(store.find("", NOON)) == 2
    assert store.find("%", NOON) == []


def test_one_grant_leaves_room_for_the_others(
    store: Approvals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.approvals.store.MAX_OF_GRANT", 2)
    for number in range(2):
        store.ask(replace(WANTED, digest=bytes([number]) * 32), NOON)
    with pytest.raises(StoreFull, match="2 requests of this grant"):
        store.ask(WANTED, NOON)
    assert store.ask(replace(WANTED, grant="ci"), NOON).state is State.PENDING
    with pytest.raises(StoreFull, match="3 requests for"):
        store.ask(replace(OTHER, grant="ci"), NOON)


def test_requests_that_end_fill_no_disk(store: Approvals, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.approvals.store.MAX_KEPT_BYTES", 100)
    for number in range(50):
        call = json.dumps("x" * 20)
        store.ask(replace(WANTED, digest=bytes([number]) * 32, call=call), NOON + 61 * number)
    late = NOON + 61 * 50
    ended = store.all(late, State.WITHDRAWN)
    assert 0 < sum(len(each.wanted.call) for each in ended) <= 100 + 22
    assert ended[0].asked_at == NOON + 61 * 49, "the latest are kept"


def test_trying_without_a_pause_writes_nothing_and_misses_nothing(store: Approvals) -> None:
    asked = store.claim(WANTED, NOON)
    written: list[str] = []
    store._database.set_trace_callback(written.append)
    for step in range(1, 10):
        again = store.claim(WANTED, NOON + step / 10)
        assert (again.id, again.state, again.asked) == (asked.id, State.PENDING, 2)
    assert all(statement.startswith("SELECT") for statement in written)
    assert store.claim(WANTED, NOON + 1).asked == 2
    approve(store, asked.id, NOON + 1.1)
    assert store.claim(WANTED, NOON + 1.2).state is State.USED
    anew = store.claim(WANTED, NOON + 1.3)
    assert (anew.asked, anew.state) == (1, State.PENDING)
    store.decide(anew.id, approve=False, by="ann", remark=None, now_s=NOON + 1.4)
    assert store.claim(WANTED, NOON + 1.5).state is State.DENIED
    assert store.claim(WANTED, NOON + 32).state is State.PENDING


def test_what_ended_within_a_second_of_a_try_is_seen_to_have_ended(store: Approvals) -> None:
    asked = store.claim(WANTED, NOON)
    store.claim(WANTED, NOON + 59.9)
    assert store.claim(WANTED, NOON + 60.1).id != asked.id
