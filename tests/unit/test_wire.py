"""One client's connection on the fast path: its order, its deadlines, and its end."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from differential.said import bare, call, message, post
from gateway.downstream.wire import FLUSH_S, HEAD_TIMEOUT_S, KEEP_ALIVE_S, WAITING_BYTES
from gateway.errors import UpstreamError
from support.door import EVENTS, Seen, answer_json, run
from support.fast import WAITED, FastRig, calling, code, local, result, turns

if TYPE_CHECKING:
    from gateway.asgi import Send

DENYING = b'{"version":"1","default":"allow","tools":{"denied":{"action":"deny"}}}'


HEAD = calling().partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


def test_a_head_has_five_seconds_however_it_trickles() -> None:
    async def main() -> None:
        rig = FastRig()
        wire, transport = rig.connect()
        for at in range(int(HEAD_TIMEOUT_S)):
            wire.data_received(HEAD[at : at + 1])
            rig.wait(1)
            assert not transport.written
        wire.data_received(HEAD[5:9])
        rig.wait(WAITED)
        (answer,) = transport.answers
        assert (answer.status, answer.closes) == (408, True)
        assert code(answer) == "malformed-request"
        assert transport.ended == "closed"

    run(main())


@pytest.mark.parametrize(("received", "allowed_s"), [(0, 5), (2048, 7), (50_000, 30)])
def test_a_body_has_the_time_that_its_bytes_earn(received: int, allowed_s: int) -> None:
    async def main() -> None:
        rig = FastRig()
        wire, transport = rig.connect()
        head = HEAD.replace(b"Content-Length: ", b"Content-Length: 9999")
        wire.data_received(head + b"x" * received)
        rig.wait(allowed_s - WAITED)
        assert not transport.written
        rig.wait(3 * WAITED)
        (answer,) = transport.answers
        assert (answer.status, code(answer)) == (408, "request-timeout")
        assert transport.ended == "closed"

    run(main())


def test_a_connection_may_idle_for_ninety_seconds_after_each_answer() -> None:
    async def main() -> None:
        rig = FastRig(DENYING)
        wire, transport = rig.connect()
        for _ in range(3):
            rig.wait(KEEP_ALIVE_S - WAITED)
            wire.data_received(calling("denied"))
        rig.wait(KEEP_ALIVE_S - WAITED)
        assert not transport.ended
        rig.wait(2 * WAITED)
        assert transport.ended == "closed"
        assert len(transport.answers) == 3
        assert not rig.port.wires

    run(main())


def test_a_call_that_lasts_is_not_idle() -> None:
    async def main() -> None:
        rig = FastRig()
        rig.lender.first_byte_timeout_s = 1e9
        wire, transport = rig.connect()
        wire.data_received(calling())
        rig.wait(2 * KEEP_ALIVE_S)
        assert not transport.ended
        rig.lender.loans[0].answer(result())
        rig.wait(KEEP_ALIVE_S - WAITED)
        assert not transport.ended

    run(main())


def test_messages_are_served_one_at_a_time_in_their_order() -> None:
    async def main() -> None:
        rig = FastRig(DENYING)
        wire, transport = rig.connect()
        wire.data_received(calling(id=1) + calling("denied", id=2) + calling(id=3)[:50])
        wire.data_received(calling(id=3)[50:] + calling(id=4))
        for number in (1, 3, 4):
            *done, loan = rig.lender.loans
            assert len(done) == [1, 3, 4].index(number)
            assert json.loads(loan.body)["id"] == number
            loan.answer(result(number))
        assert [json.loads(each.body)["id"] for each in transport.answers] == [1, 2, 3, 4]
        assert all(loan.ended == "kept" for loan in rig.lender.loans)
        assert rig.in_flight == (0, 0)

    run(main())


def test_what_is_handed_over_keeps_its_place() -> None:
    async def main() -> None:
        rig = FastRig(DENYING, answer_json())
        wire, transport = rig.connect()
        initialize = local(post(message("initialize", {}, id=1)))
        wire.data_received(initialize + calling("denied", id=2) + local(bare(b"GET", target=b"/")))
        assert not transport.written
        await turns()
        assert [answer.status for answer in transport.answers] == [200, 200, 404]
        assert json.loads(transport.answers[1].body)["id"] == 2

    run(main())


@pytest.mark.parametrize("busy", ["call", "handed"])
def test_only_so_much_may_come_behind_a_request(busy: str) -> None:
    async def main() -> None:
        rig = FastRig()
        wire, transport = rig.connect()
        wire.data_received(calling() if busy == "call" else local(bare(b"GET", target=b"/")))
        wire.data_received(b"x" * (WAITING_BYTES - 1))
        wire.data_received(b"x")
        assert not transport.ended
        wire.data_received(b"x")
        assert transport.ended == "aborted"

    run(main())


def test_room_behind_a_request_is_counted_anew_for_the_next() -> None:
    async def main() -> None:
        rig = FastRig()
        wire, transport = rig.connect()
        for number in range(3):
            wire.data_received(calling(id=number))
            wire.data_received(local(post(call("t", id=9, x="y" * (WAITING_BYTES - 1000)))))
            for ident in (number, 9):
                rig.lender.loans[-1].answer(result(ident))
        assert not transport.ended
        assert len(transport.answers) == 6

    run(main())


def test_what_is_no_plain_http_is_given_away_with_all_its_bytes() -> None:
    async def main() -> None:
        rig = FastRig(DENYING)
        wire, transport = rig.connect()
        wire.data_received(calling("denied") + b"GET / HTT")
        wire.data_received(b"P/1.0\r\n\r\n")
        assert rig.taken_over == [b"GET / HTTP/1.0\r\n\r\n"]
        assert len(transport.answers) == 1
        assert not transport.ended
        assert not rig.port.wires

    run(main())


def test_a_client_that_takes_nothing_is_left_after_thirty_seconds() -> None:
    async def main() -> None:
        rig = FastRig(DENYING)
        wire, transport = rig.connect()
        wire.data_received(calling("denied"))
        wire.pause_writing()
        wire.data_received(calling("denied"))
        rig.wait(30 - WAITED)
        assert not transport.ended
        rig.wait(2 * WAITED)
        assert transport.ended == "aborted"
        assert len(transport.answers) == 1

    run(main())


def test_a_client_that_takes_again_is_served_on() -> None:
    async def main() -> None:
        rig = FastRig(DENYING)
        wire, transport = rig.connect()
        wire.pause_writing()
        wire.data_received(calling("denied", id=1))
        rig.wait(29)
        assert not transport.written
        wire.resume_writing()
        assert len(transport.answers) == 1
        rig.wait(31)
        assert not transport.ended

    run(main())


def test_the_last_bytes_of_a_closed_connection_are_not_waited_for_for_ever() -> None:
    async def main() -> None:
        rig = FastRig(DENYING)
        wire, transport = rig.connect()
        transport.takes = False
        wire.data_received(calling("denied"))
        rig.wait(KEEP_ALIVE_S + WAITED)
        assert transport.ended == "closing"
        rig.wait(FLUSH_S - 2 * WAITED)
        assert transport.ended == "closing"
        rig.wait(4 * WAITED)
        assert transport.ended == "aborted"
        assert not rig.port.wires

    run(main())


def test_a_handed_over_answer_waits_for_its_client() -> None:
    async def main() -> None:
        async def script(seen: Seen, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for _ in range(3):
                more = {"type": "http.response.body", "body": b"x", "more_body": True}
                await send(more)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        rig = FastRig(script=script)
        wire, transport = rig.connect()
        wire.data_received(local(bare(b"GET", b"Accept: text/event-stream")))
        wire.pause_writing()
        await turns()
        assert transport.written.count(b"x\r\n") <= 1
        wire.resume_writing()
        await turns()
        assert transport.answers[0].whole
        assert transport.answers[0].body == b"xxx"

    run(main())


def test_an_answer_that_breaks_off_takes_its_connection_with_it() -> None:
    async def main() -> None:
        async def script(seen: Seen, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": EVENTS})
            raise UpstreamError("reset", "no", sent=True)

        rig = FastRig(script=script)
        wire, transport = rig.connect()
        wire.data_received(local(bare(b"GET")) + calling())
        await turns()
        assert transport.answers[0].status == 200
        assert not transport.answers[0].whole
        assert transport.ended == "aborted"
        assert not rig.lender.loans

    run(main())


@pytest.mark.parametrize("at", [0, 30, len(HEAD) + 5])
def test_a_drain_lets_a_request_that_has_begun_have_its_answer(at: int) -> None:
    async def main() -> None:
        rig = FastRig(DENYING)
        wire, transport = rig.connect()
        wire.data_received(calling("denied")[:at])
        rig.drain()
        wire.data_received(calling("denied")[at:])
        await turns()
        (answer,) = transport.answers
        assert (answer.closes, code(answer)) == (True, "tool-denied")
        assert transport.ended == "closed"

    run(main())


def test_a_drain_closes_what_idles_and_nothing_else() -> None:
    async def main() -> None:
        rig = FastRig(script=answer_json())
        transports = []
        for data in (b"", HEAD[:9], calling(), local(bare(b"GET"))):
            wire, transport = rig.connect()
            wire.data_received(data)
            transports.append(transport)
        rig.drain()
        rig.port.close_idle()
        assert [transport.ended for transport in transports] == ["closed", "", "", ""]

    run(main())


def test_a_handed_over_answer_is_the_last_of_a_drain() -> None:
    async def main() -> None:
        go_on = asyncio.Event()

        async def script(seen: Seen, send: Send) -> None:
            await go_on.wait()
            await answer_json(b"{}")(seen, send)

        rig = FastRig(script=script)
        wire, transport = rig.connect()
        wire.data_received(local(post(message("initialize", {}))))
        await turns()
        rig.drain()
        go_on.set()
        await turns()
        assert transport.answers[0].closes
        assert transport.ended == "closed"

    run(main())


def test_the_end_of_the_grace_leaves_nothing() -> None:
    async def main() -> None:
        async def script(seen: Seen, send: Send) -> None:
            await asyncio.Event().wait()

        rig = FastRig(script=script)
        ends = {}
        said = {"idle": b"", "head": HEAD[:9], "call": calling(), "handed": local(bare(b"DELETE"))}
        for name, data in said.items():
            wire, ends[name] = rig.connect()
            wire.data_received(data)
        left, _ = rig.connect()
        left.data_received(calling())
        left.connection_lost(None)
        await turns()
        rig.drain()
        gone = asyncio.create_task(rig.port.gone())
        await turns()
        assert not gone.done()
        rig.port.cut()
        await gone
        assert all(transport.ended == "closed" for transport in ends.values())
        assert not ends["idle"].written
        assert not ends["head"].written
        for name in ("call", "handed"):
            (answer,) = ends[name].answers
            assert (answer.closes, code(answer)) == (True, "draining")
        assert rig.in_flight == (0, 0)
        assert [loan.ended for loan in rig.lender.loans] == ["discarded"] * 2

    run(main())


def test_a_defect_of_the_core_ends_the_connection_with_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        rig = FastRig()
        wire, transport = rig.connect()

        class Failed:
            answer = b"HTTP/1.1 500 \r\nconnection: close\r\ncontent-length: 0\r\n\r\n"

        monkeypatch.setattr(wire, "_receive", lambda data: Failed())
        wire.data_received(calling())
        assert transport.answers[0].status == 500
        assert transport.ended == "closed"

    run(main())
