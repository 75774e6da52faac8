"""A call on the fast path: out once, its answer to its client, and an end in every case."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from differential.replies import NOTICE, counted, event
from differential.said import message, modern, post, routed
from gateway.downstream.visit import Bounds
from support.door import answer, run
from support.fast import (
    BEGUN,
    LIMITED,
    LIST,
    WAITED,
    FastRig,
    calling,
    chunk,
    code,
    local,
    refused,
    result,
    turns,
)

if TYPE_CHECKING:
    from gateway.asgi import Send

STATELESS = local(post(modern("tools/call", {"name": "t"}), *routed("tools/call", b"Mcp-Name: t")))


def test_a_call_is_written_once_and_its_answer_once() -> None:
    async def main() -> None:
        rig = FastRig(LIMITED)
        wire, transport = rig.connect()
        wire.data_received(calling())
        (loan,) = rig.lender.loans
        assert loan.written.startswith(rig.lender.head)
        assert (rig.in_flight, rig.used("calls"), rig.used("running")) == ((1, 1), 1, 1)
        for byte in result():
            loan.answer(bytes([byte]))
        assert (rig.in_flight, rig.used("calls"), rig.used("running")) == ((0, 0), 1, 0)
        assert (loan.ended, len(rig.lender.loans), len(transport.answers)) == ("kept", 1, 1)

    run(main())


@pytest.mark.parametrize("end", ["eof", "lost"])
@pytest.mark.parametrize("begun", [b"", BEGUN + chunk(event(NOTICE))])
def test_a_call_of_a_session_goes_on_without_its_client(end: str, begun: bytes) -> None:
    async def main() -> None:
        rig = FastRig(LIMITED)
        wire, transport = rig.connect()
        wire.data_received(calling())
        (loan,) = rig.lender.loans
        if begun:
            loan.answer(begun)
        before = transport.written
        if end == "eof":
            wire.eof_received()
        wire.connection_lost(None)
        rest = chunk(event(LIST)) + b"0\r\n\r\n" if begun else result()
        loan.answer(rest[:9])
        assert (loan.ended, rig.in_flight, rig.used("running")) == ("", (1, 1), 1)
        loan.answer(rest[9:])
        assert (loan.ended, rig.in_flight, rig.used("running")) == ("kept", (0, 0), 0)
        assert rig.used("calls") == 1
        assert transport.written == before
        assert not rig.port.passages

    run(main())


def test_a_call_without_its_client_ends_within_a_bound() -> None:
    async def main() -> None:
        rig = FastRig(LIMITED, bounds=Bounds(linger_s=20))
        rig.lender.idle_timeout_s = 300
        wire, _ = rig.connect()
        wire.data_received(calling())
        wire.connection_lost(None)
        (loan,) = rig.lender.loans
        rig.wait(10)
        loan.answer(BEGUN)
        rig.wait(10 - WAITED)
        assert not loan.ended
        rig.wait(2 * WAITED)
        assert (loan.ended, rig.in_flight, rig.used("running")) == ("discarded", (0, 0), 0)
        assert rig.used("calls") == 1
        assert not rig.port.passages

    run(main())


@pytest.mark.parametrize("opening", [False, True])
def test_a_stateless_call_ends_with_its_client_and_stays_charged(opening: bool) -> None:
    async def main() -> None:
        rig = FastRig(LIMITED)
        if opening:
            rig.lender.opening = asyncio.get_running_loop().create_future()
        wire, _ = rig.connect()
        wire.data_received(STATELESS)
        await turns()
        wire.eof_received()
        await turns()
        assert [loan.ended for loan in rig.lender.loans] == ([] if opening else ["discarded"])
        assert (rig.in_flight, rig.used("calls"), rig.used("running")) == ((0, 0), 1, 0)
        if rig.lender.opening is not None:
            assert rig.lender.opening.cancelled()

    run(main())


def test_an_odd_answer_is_read_to_its_end_without_its_client() -> None:
    async def main() -> None:
        rig = FastRig(LIMITED)
        ended = asyncio.Event()

        async def reread(send: Send) -> None:
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await ended.wait()
            await send({"type": "http.response.body", "body": LIST, "more_body": False})

        rig.lender.rereading = reread
        wire, _ = rig.connect()
        wire.data_received(calling())
        wire.connection_lost(None)
        rig.lender.loans[0].answer(b"HTTP/1.1 200 OK\r\ncontent-encoding: x\r\n\r\n")
        await turns()
        assert (rig.lender.loans[0].ended, rig.in_flight) == ("reread", (1, 1))
        ended.set()
        await turns()
        assert rig.in_flight == (0, 0)

    run(main())


def test_an_odd_answer_without_its_client_ends_within_a_bound() -> None:
    async def main() -> None:
        rig = FastRig(LIMITED, bounds=Bounds(linger_s=0.01))
        cancelled = asyncio.Event()

        async def reread(send: Send) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise

        rig.lender.rereading = reread
        wire, _ = rig.connect()
        wire.data_received(calling())
        wire.connection_lost(None)
        rig.lender.loans[0].answer(b"HTTP/1.1 404 x\r\n\r\n")
        await cancelled.wait()
        await turns()
        assert rig.in_flight == (0, 0)

    run(main())


def test_an_odd_answer_goes_to_the_relay_from_its_first_byte() -> None:
    async def main() -> None:
        rig = FastRig(LIMITED)

        async def reread(send: Send) -> None:
            await answer(404, [(b"content-type", b"application/json")], b"{}")(None, send)  # type: ignore[arg-type]

        rig.lender.rereading = reread
        wire, transport = rig.connect()
        wire.data_received(calling() + calling(id=2))
        raw = counted(b"{}", status=b"404 x")
        rig.lender.loans[0].answer(raw[:9])
        rig.lender.loans[0].answer(raw[9:])
        assert rig.lender.raw == raw
        await turns()
        assert [each.status for each in transport.answers] == [404]
        rig.lender.loans[1].answer(result(2))
        assert [each.status for each in transport.answers] == [404, 200]
        assert (rig.in_flight, rig.used("running")) == ((0, 0), 0)

    run(main())


def test_a_slow_client_makes_its_server_wait_and_holds_its_own_requests() -> None:
    async def main() -> None:
        rig = FastRig()
        wire, transport = rig.connect()
        wire.data_received(calling())
        (loan,) = rig.lender.loans
        wire.pause_writing()
        assert loan.paused
        loan.answer(BEGUN + chunk(event(NOTICE)))
        wire.data_received(calling(id=2))
        rig.wait(20)  # longer than a server may be silent
        wire.resume_writing()
        assert not loan.paused
        rig.wait(rig.lender.idle_timeout_s - WAITED)
        loan.answer(chunk(event(LIST)) + b"0\r\n\r\n")
        assert transport.answers[0].whole
        assert json.loads(rig.lender.loans[1].body)["id"] == 2
        assert not rig.lender.loans[1].paused

    run(main())


def test_a_client_that_stalls_leaves_a_call_of_a_session_to_its_end() -> None:
    async def main() -> None:
        rig = FastRig()
        wire, transport = rig.connect()
        wire.data_received(calling())
        (loan,) = rig.lender.loans
        loan.answer(BEGUN + chunk(event(NOTICE)))
        wire.pause_writing()
        rig.wait(30 + WAITED)
        assert (transport.ended, loan.ended, loan.paused) == ("aborted", "", False)
        loan.answer(chunk(event(LIST)) + b"0\r\n\r\n")
        assert (loan.ended, rig.in_flight) == ("kept", (0, 0))

    run(main())


def test_a_server_that_says_nothing_is_waited_for_so_long() -> None:
    async def main() -> None:
        rig = FastRig(LIMITED)
        wire, transport = rig.connect()
        wire.data_received(calling())
        rig.wait(60 - WAITED)
        assert not transport.written
        rig.wait(2 * WAITED)
        assert [code(each) for each in transport.answers] == ["upstream-timeout"]
        assert (rig.in_flight, rig.used("calls"), rig.used("running")) == ((0, 0), 1, 0)
        assert rig.lender.loans[0].ended == "discarded"
        assert rig.traffic.errors == {"timeout": 1}
        assert not transport.ended

    run(main())


@pytest.mark.parametrize(("whole", "closes"), [(True, "chunked"), (False, "aborted")])
def test_a_stream_that_falls_silent_ends_with_an_answer_or_in_disorder(
    whole: bool, closes: str
) -> None:
    async def main() -> None:
        rig = FastRig()
        wire, transport = rig.connect()
        wire.data_received(calling())
        (loan,) = rig.lender.loans
        loan.answer(BEGUN)
        for _ in range(5):
            rig.wait(rig.lender.idle_timeout_s - WAITED)
            loan.answer(chunk(event(NOTICE)))
        if not whole:
            loan.answer(chunk(event(NOTICE)[:9]))
        rig.wait(rig.lender.idle_timeout_s + WAITED)
        (answer,) = transport.answers
        assert answer.whole is whole
        if whole:
            last = answer.body.split(b"\n\n")[-2].removeprefix(b"data: ")
            decision = json.loads(last)["result"]["_meta"]["interlock/decision"]
            assert decision["code"] == "upstream-timeout"
            assert not transport.ended
        else:
            assert transport.ended == closes
        assert (loan.ended, rig.in_flight) == ("discarded", (0, 0))

    run(main())


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (refused("connect"), "upstream-unreachable"),
        (refused("tls"), "upstream-unreachable"),
        (refused("busy"), "overloaded"),
        (refused("reset"), "upstream-failed"),
        (ValueError("a defect"), "internal-error"),
    ],
    ids=str,
)
def test_a_call_that_could_not_be_sent_is_given_back(error: Exception, said: str) -> None:
    async def main() -> None:
        rig = FastRig(LIMITED)
        rig.lender.opening = asyncio.get_running_loop().create_future()
        wire, transport = rig.connect()
        wire.data_received(calling() + calling(id=2))
        await turns()
        assert rig.used("calls") == 1
        rig.wait(300)  # opening has bounds of its own
        rig.lender.opening.set_exception(error)
        await turns()
        first, second = transport.answers
        assert code(first) == code(second) == said
        assert (rig.in_flight, rig.used("calls"), rig.used("running")) == ((0, 0), 0, 0)

    run(main())


def test_a_connection_that_had_to_be_opened_serves() -> None:
    async def main() -> None:
        rig = FastRig()
        rig.lender.opening = asyncio.get_running_loop().create_future()
        wire, transport = rig.connect()
        wire.data_received(calling())
        rig.wait(100)
        rig.lender.opening.set_result(None)
        await turns()
        rig.wait(60 - WAITED)
        rig.lender.loans[0].answer(result())
        assert [each.status for each in transport.answers] == [200]

    run(main())


def test_too_many_calls_are_refused_and_not_charged() -> None:
    async def main() -> None:
        rig = FastRig(LIMITED, max_in_flight=2)
        notice = local(post(message("notifications/cancelled", {"requestId": 1}, id=None)))
        wires = [rig.connect() for _ in range(6)]
        for wire, _ in wires[:3]:
            wire.data_received(calling())
        assert [code(each) for each in wires[2][1].answers] == ["overloaded"]
        assert (rig.in_flight, rig.used("calls"), rig.used("running")) == ((2, 2), 2, 2)
        for wire, _ in wires[2:5]:
            wire.data_received(notice)
        # What helps calls to end passes, up to twice the bound.
        assert [len(transport.written) > 0 for _, transport in wires[3:5]] == [False, True]
        (full,) = wires[4][1].answers
        assert (full.status, code(full)) == (503, "overloaded")
        assert (b"retry-after", b"1") in full.fields
        rig.lender.loans[0].answer(result())
        rig.lender.loans[1].answer(result())
        assert rig.in_flight == (2, 2)
        rig.lender.loans[2].answer(counted(b"", kind=None, status=b"202 x"))
        wires[0][0].data_received(calling())
        assert len(rig.lender.loans) == 5

    run(main())
