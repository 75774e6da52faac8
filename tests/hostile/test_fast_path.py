"""What a client or a server does on a connection never costs more than a bound, whichever door."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from differential import said
from differential.said import modern, routed
from gateway.downstream.wire import FLUSH_S, WAITING_BYTES
from support.door import run as run_bounded
from support.doors import NAME, OPEN, Run, Say, Side, looping
from support.fast import FastRig, calling, local, result
from support.raw_server import plainly, turns

READ_BYTES = 256 * 1024
"""The most that an event loop reads at once."""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.json"
    path.write_bytes(OPEN)
    return path


@pytest.fixture
def run() -> Iterator[Run]:
    with looping() as run:
        yield run


def post(body: bytes) -> bytes:
    """A message over HTTP."""
    head = b"POST /mcp HTTP/1.1\r\nhost: %b\r\ncontent-type: application/json\r\n"
    return head % NAME + b"content-length: %d\r\n\r\n%b" % (len(body), body)


CALL = post(b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}')


@pytest.mark.parametrize("fast", [True, False])
def test_what_waits_behind_calls_is_bounded_however_many_end(
    policy: Path, run: Run, fast: bool
) -> None:
    async def main() -> None:
        side = Side(policy, fast=fast)
        await side.open()
        reader, writer = await asyncio.open_connection("127.0.0.1", side.port)
        burst = CALL * (WAITING_BYTES // len(CALL) - 1)
        bound = WAITING_BYTES + READ_BYTES + len(burst)
        waits = 0
        try:
            async with asyncio.timeout(10):
                while waits <= bound:
                    writer.write(burst)
                    waits += len(burst)
                    if not (answers := await reader.read(1 << 16)):
                        break
                    waits -= answers.count(b"HTTP/1.1 200") * len(CALL)
        except ConnectionError:
            pass
        writer.transport.abort()
        await side.close()
        assert waits <= bound

    run(main())


def test_what_waits_behind_a_call_is_taken_over_whole(policy: Path, run: Run) -> None:
    async def main() -> None:
        side = Side(policy, fast=True)
        await side.open()
        side.server.script = lambda asked: ["wait", *plainly(asked)]
        head, blank, body = CALL.partition(b"\r\n\r\n")
        expecting = CALL + head + b"\r\nexpect: 100-continue" + blank
        answers, _ = await side.talk([Say((expecting, body), answers=2)])
        assert [answer.status for answer in answers if answer.status != 100] == [200, 200]
        assert [asked.body for asked in side.server.asked] == [body, body]
        await side.close()

    run(main())


TASK = post(
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","task":{"ttl":1}}}'
)
"""A call that is handed over."""


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("request_", [CALL, TASK], ids=["passed", "handed-over"])
def test_a_drain_waits_for_calls_whose_clients_left(
    policy: Path, run: Run, request_: bytes, fast: bool
) -> None:
    async def main() -> None:
        side = Side(policy, fast=fast)
        await side.open()
        side.server.script = lambda asked: ["wait", *plainly(asked)]
        _, writer = await asyncio.open_connection("127.0.0.1", side.port)
        writer.write(request_)
        async with asyncio.timeout(10):
            while not side.server.asked:
                await turns(1)
            writer.close()
            await turns(20)
            side.gateway.drain()
            draining = asyncio.create_task(side.listener.drain(60))
            await turns(20)
            assert not draining.done()
            assert side.gateway.routes()[0].in_flight == 1
            side.server.left.set()
            await draining
        assert side.gateway.routes()[0].in_flight == 0
        assert not side.gateway.routes()[0].upstream_errors
        await side.close()

    run(main())


def test_a_client_that_ends_its_side_and_takes_nothing_is_let_go() -> None:
    async def main() -> None:
        rig = FastRig()
        wire, transport = rig.connect()
        transport.takes = False
        fields = routed("tools/call", b"Mcp-Name: t")
        wire.data_received(local(said.post(modern("tools/call", {"name": "t"}), *fields)))
        assert rig.in_flight == (1, 1)
        wire.eof_received()
        transport.close()  # as the event loop does
        assert rig.in_flight == (0, 0)
        rig.wait(FLUSH_S - 1)
        assert transport.ended == "closing"
        rig.wait(2)
        assert transport.ended == "aborted"
        assert rig.port.is_gone

    run_bounded(main())


def test_no_more_bodies_are_kept_than_calls_may_be_in_flight() -> None:
    async def main() -> None:
        rig = FastRig(max_in_flight=2)
        whole = calling()
        wires = [rig.connect()[0] for _ in range(3)]
        for wire in wires:
            wire.data_received(whole[:-1])
        assert rig.taken_over == [whole[:-1]]
        assert rig.port.wires == set(wires[:2])
        wires[0].data_received(whole[-1:])
        rig.lender.loans[0].answer(result())
        wires[1].connection_lost(None)
        for wire, _ in (rig.connect(), rig.connect()):
            wire.data_received(whole[:-1])
        assert len(rig.taken_over) == 1
        wires[0].data_received(whole + whole[:-1])
        rig.lender.loans[1].answer(result())
        assert rig.taken_over[1:] == [whole[:-1]]

    run_bounded(main())


@pytest.mark.parametrize("fast", [True, False])
def test_far_over_the_bound_no_body_is_read(policy: Path, run: Run, fast: bool) -> None:
    async def main() -> None:
        side = Side(policy, fast=fast, max_in_flight=2)
        await side.open()
        clients = [await asyncio.open_connection("127.0.0.1", side.port) for _ in range(8)]
        for _, writer in clients:
            writer.write(CALL[:-1])
        answers = [asyncio.create_task(reader.readline()) for reader, _ in clients]
        await turns(50)
        refused = [answer.result() for answer in answers if answer.done()]
        assert refused == [b"HTTP/1.1 503 \r\n"] * (2 if fast else 4)
        for _, writer in clients:
            writer.write(CALL[-1:])
        served = {await answer for answer in answers}
        assert served == {b"HTTP/1.1 503 \r\n", b"HTTP/1.1 200 \r\n"}
        for _, writer in clients:
            writer.transport.abort()
        await side.close()

    run(main())


def test_a_client_that_leaves_with_what_is_taken_over_is_no_failure(policy: Path, run: Run) -> None:
    async def main() -> None:
        side = Side(policy, fast=True)
        await side.open()
        for _ in range(20):
            client = socket.create_connection(("127.0.0.1", side.port))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sendall(CALL.replace(b"HTTP/1.1", b"HTTP/1.0"))
            client.close()
            await turns(6)
        await side.close()

    run(main())
