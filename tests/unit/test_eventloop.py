"""The quick loop where it is installed, and asyncio's where it is not."""

from __future__ import annotations

import asyncio
import sys

import pytest

from gateway import eventloop

uvloop = pytest.importorskip("uvloop")


async def running() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_it_is_uvloop_where_that_is_installed() -> None:
    assert isinstance(eventloop.run(running()), uvloop.Loop)
    assert eventloop.name() == "uvloop"


def test_it_is_asyncios_where_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert isinstance(eventloop.run(running()), asyncio.SelectorEventLoop)
    assert eventloop.name() == "asyncio"
