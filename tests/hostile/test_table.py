"""What a server may have remembered leaves room for what must be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway import sessions
from gateway._core import LimitTable
from gateway.sessions import Outstanding, Sessions

if TYPE_CHECKING:
    import pytest


def test_a_server_that_asks_and_asks_does_not_fill_the_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sessions, "MAX_REPLIES", 64, raising=False)
    table = LimitTable(256)
    ids = Sessions(table, "s")
    for stream in range(40):
        outstanding = Outstanding(ids, f"session-{stream}", "grant")
        for number in range(30):
            outstanding.add(number)
    assert ids.expects_reply("session-39", 29, "grant")
    assert not ids.expects_reply("session-0", 0, "grant")
    assert ids.open("another", "grant")
