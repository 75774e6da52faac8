"""Each call counts once among the durations of requests, and once among the server's if it was
sent: through either door, however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from differential.said import call as calling_of
from differential.said import post
from support.door import Rig, Seen, answer, answer_json, call, message, run
from support.fast import BEGUN, LIMITED, FastRig, calling, local, refused, result, turns

if TYPE_CHECKING:
    from gateway.asgi import Send

DENY = b'{"version":"1","default":"deny"}'


def durations(engine: Any) -> tuple[int, int]:
    """How many requests, and how many parts of servers, were counted."""
    return engine.histogram("request")[2], engine.histogram("upstream")[2]


def assert_they_add_up(engine: Any) -> None:
    """A request is its decision and then the server's part, by the same readings of the clock."""
    phases = ("request", "decide", "upstream")
    request_ns, decide_ns, upstream_ns = (engine.histogram(phase)[1] for phase in phases)
    assert request_ns == decide_ns + upstream_ns > 0


def raising(error: Exception) -> Callable[[Seen, Send], Any]:
    async def script(seen: Seen, send: Send) -> None:
        raise error

    return script


@pytest.mark.parametrize(
    ("policy", "script", "counts"),
    [
        (LIMITED, answer_json(), (1, 1)),
        (DENY, answer_json(), (1, 0)),
        (LIMITED, raising(refused("connect")), (1, 0)),
        (LIMITED, raising(refused("reset", sent=True)), (1, 1)),
        (LIMITED, raising(ValueError("a defect")), (1, 1)),
    ],
    ids=["answered", "refused", "not-sent", "broken-off", "defect"],
)
def test_a_call_through_the_application(
    policy: bytes, script: Any, counts: tuple[int, int]
) -> None:
    async def main() -> None:
        rig = Rig(script, policy=policy)
        for n in range(1, 3):
            await rig.client.post(call("t"))
            assert durations(rig.engine) == (n * counts[0], n * counts[1])
        if counts[1] or policy is DENY:
            assert_they_add_up(rig.engine)

    run(main())


def test_what_lasts_is_left_out() -> None:
    async def main() -> None:
        rig = Rig()
        session = await rig.open_session()
        before = durations(rig.engine)
        accept = [(b"accept", b"text/event-stream")]
        assert (await rig.client.request("GET", b"", [*session, *accept])).status == 200
        assert (await rig.client.post_modern(message("subscriptions/listen"))).status == 200
        assert (await rig.client.request("DELETE", b"", session)).status == 200
        assert durations(rig.engine) == before == (1, 1)
        await rig.client.post_modern(message("tools/list"))
        assert durations(rig.engine) == (2, 2)

    run(main())


def cut(rig: FastRig, wire: Any) -> None:
    rig.lender.loans[-1].answer(BEGUN)
    rig.lender.loans[-1].passage.ended()


def leave(rig: FastRig, wire: Any) -> None:
    wire.connection_lost(None)
    rig.port.cut()


@pytest.mark.parametrize(
    ("policy", "ends", "counts"),
    [
        (LIMITED, lambda rig, _: rig.lender.loans[-1].answer(result()), (1, 1)),
        (DENY, lambda *_: None, (1, 0)),
        (LIMITED, cut, (1, 1)),
        (LIMITED, lambda rig, _: rig.wait(61), (1, 1)),
        (LIMITED, leave, (1, 1)),
    ],
    ids=["answered", "refused", "broken-off", "silent", "left"],
)
def test_a_call_on_the_fast_path(policy: bytes, ends: Any, counts: tuple[int, int]) -> None:
    async def main() -> None:
        rig = FastRig(policy)
        for n in range(1, 3):
            wire, _ = rig.connect()
            wire.data_received(calling())
            ends(rig, wire)
            assert durations(rig.engine) == (n * counts[0], n * counts[1])
        assert_they_add_up(rig.engine)

    run(main())


def test_a_call_that_cannot_be_sent_on_the_fast_path() -> None:
    async def main() -> None:
        rig = FastRig(LIMITED)
        rig.lender.opening = asyncio.get_running_loop().create_future()
        wire, _ = rig.connect()
        wire.data_received(calling())
        rig.lender.opening.set_exception(refused("connect"))
        await turns()
        assert durations(rig.engine) == (1, 0)

    run(main())


def test_a_call_whose_answer_goes_on_through_the_relay() -> None:
    async def main() -> None:
        rig = FastRig(LIMITED)

        async def reread(send: Send) -> None:
            await answer(200, [(b"content-type", b"text/plain")], b"x")(None, send)  # type: ignore[arg-type]

        rig.lender.rereading = reread
        wire, _ = rig.connect()
        wire.data_received(calling())
        rig.lender.loans[0].answer(b"HTTP/1.1 200 OK\r\ncontent-encoding: x\r\n\r\n")
        assert durations(rig.engine) == (0, 0)
        await turns()
        assert durations(rig.engine) == (1, 1)
        assert_they_add_up(rig.engine)

    run(main())


def test_a_call_that_is_decided_and_handed_over() -> None:
    async def main() -> None:
        rig = FastRig(LIMITED)
        wire, transport = rig.connect()
        wire.data_received(local(post(calling_of("t", task=1))))
        await turns()
        assert len(rig.upstream.seen) == len(transport.answers) == 1
        assert durations(rig.engine) == (1, 1)
        assert_they_add_up(rig.engine)

    run(main())
