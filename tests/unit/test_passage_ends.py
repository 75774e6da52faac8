"""How a call on the fast path ends that does not end well, and what a reload does to one."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from differential.replies import NOTICE, STREAM, event
from differential.said import message, post
from gateway._core import PolicySet
from gateway.downstream.passage import Passage
from support.door import run
from support.fast import (
    BEGUN,
    LIMITED,
    LIST,
    FastRig,
    calling,
    chunk,
    code,
    local,
    result,
)

HIDING = b'{"version":"1","default":"allow","hide":["secret"]}'


@pytest.mark.parametrize("stage", ["waiting", "streaming"])
def test_the_answer_of_a_drain_is_the_last(stage: str) -> None:
    async def main() -> None:
        rig = FastRig()
        wire, transport = rig.connect()
        wire.data_received(calling() + calling(id=2))
        (loan,) = rig.lender.loans
        if stage == "streaming":
            loan.answer(STREAM[:-5])
        rig.drain()
        assert not transport.ended
        loan.answer(STREAM[-5:] if stage == "streaming" else result())
        (answer,) = transport.answers
        assert answer.whole
        assert answer.closes is (stage == "waiting")
        assert transport.ended == "closed"

    run(main())


@pytest.mark.parametrize("answerable", [True, False])
def test_a_stream_that_outlasts_the_grace_is_ended(answerable: bool) -> None:
    async def main() -> None:
        rig = FastRig()
        wire, transport = rig.connect()
        wire.data_received(calling())
        (loan,) = rig.lender.loans
        loan.answer(BEGUN + chunk(event(NOTICE)) + chunk(event(NOTICE if answerable else LIST)))
        rig.drain()
        rig.port.cut()
        (answer,) = transport.answers
        assert answer.whole is answerable
        assert transport.ended == ("closed" if answerable else "aborted")
        assert (loan.ended, rig.in_flight) == ("discarded", (0, 0))

    run(main())


def test_a_reload_reaches_a_stream_that_is_open() -> None:
    async def main() -> None:
        rig = FastRig()
        wire, transport = rig.connect()
        wire.data_received(local(post(message("tools/list"))))
        (loan,) = rig.lender.loans
        told = event(LIST.replace(b'"id":1,"result"', b'"method":"x","params"'))
        loan.answer(BEGUN + chunk(told))
        rig.engine.install(PolicySet.parse(HIDING, name="policy.json"))
        loan.answer(chunk(told) + chunk(event(LIST)) + b"0\r\n\r\n")
        (answer,) = transport.answers
        assert answer.body.count(b"secret") == 1
        assert answer.body.startswith(told)
        assert answer.whole

    run(main())


class Panic(BaseException):
    """As the core's."""


class Broken:
    """An exchange that fails, in one of its methods."""

    def __init__(self, exchange: Any, name: str) -> None:
        self._exchange = exchange
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name == self._name:
            raise Panic
        return getattr(self._exchange, name)


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("where", ["feed", "end", "seen"])
def test_a_defect_ends_the_call_and_no_other(
    begun: bool, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        rig = FastRig(LIMITED)
        # A record of the failure would keep the call from being dropped, which settles it.
        monkeypatch.setattr(logging.getLogger("interlock.wire"), "disabled", True)
        begin = Passage.begin
        monkeypatch.setattr(Passage, "begin", lambda self, x: begin(self, Broken(x, where)))  # type: ignore[arg-type]
        wire, transport = rig.connect()
        wire.data_received(calling())
        (loan,) = rig.lender.loans
        passage: Any = loan.passage
        if begun:
            broken, passage._exchange = passage._exchange, passage._exchange._exchange
            loan.answer(BEGUN + chunk(event(NOTICE)))
            passage._exchange = broken
            del broken
        if where == "end":
            passage.ended()
        else:
            asks = b'{"jsonrpc":"2.0","id":7,"method":"x/ask","result":1}'
            loan.answer((b"" if begun else BEGUN) + chunk(event(asks)))
        assert (loan.ended, rig.in_flight, rig.used("running")) == ("discarded", (0, 0), 0)
        (answer,) = transport.answers
        assert answer.whole is not begun
        assert (b"internal-error" in answer.body) is not begun
        assert transport.ended == ("aborted" if begun else "")
        assert rig.used("calls") == 1

    run(main())


@pytest.mark.parametrize("at", [0, 30, 60])
def test_a_server_that_breaks_off_is_told_of_and_its_call_stays_charged(at: int) -> None:
    async def main() -> None:
        rig = FastRig(LIMITED)
        wire, transport = rig.connect()
        wire.data_received(calling())
        (loan,) = rig.lender.loans
        if at:
            loan.answer(result()[:at])
        loan.passage.ended()
        assert [code(each) for each in transport.answers] == ["upstream-failed"]
        assert (rig.in_flight, rig.used("calls"), rig.used("running")) == ((0, 0), 1, 0)
        assert loan.ended == "discarded"
        assert not transport.ended

    run(main())


def test_an_answer_to_another_reaches_nobody() -> None:
    async def main() -> None:
        rig = FastRig()
        wire, transport = rig.connect()
        wire.data_received(calling())
        rig.lender.loans[0].answer(result(2))
        assert [code(each) for each in transport.answers] == ["upstream-invalid"]
        assert rig.lender.loans[0].ended == "discarded"

    run(main())
