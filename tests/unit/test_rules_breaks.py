"""What breaks off, at the server or at the client, never ends as if it were whole, and stays
charged."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from gateway.downstream.http import Broken
from gateway.downstream.relay import RelayBounds
from gateway.downstream.visit import Bounds
from gateway.errors import UpstreamError
from support.door import (
    ALLOW,
    EVENTS,
    JSON,
    Reply,
    Rig,
    Seen,
    answer,
    answer_events,
    call,
    end,
    event,
    message,
    piece,
    result,
    run,
    start,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.asgi import Headers, Message, Send


def breaking(*pieces: bytes, headers: Headers) -> Callable[[Seen, Send], Any]:
    """An answer that breaks off after these pieces."""

    async def script(seen: Seen, send: Send) -> None:
        await start(send, 200, headers)
        for data in pieces:
            await piece(send, data)
        raise UpstreamError("reset", "gone", sent=True)

    return script


def test_a_broken_event_stream_ends_with_an_answer() -> None:
    async def main() -> None:
        progress = event(b'{"jsonrpc":"2.0","method":"notifications/progress","params":{}}')
        for at_once in (True, False):
            rig = Rig(breaking(progress, headers=EVENTS))
            send = rig.client.post if at_once else rig.client.post_modern
            reply = await send(call("t", id="k"))
            assert reply.complete
            assert reply.body.startswith(progress + b"data: ")
            closing = json.loads(reply.body.removeprefix(progress + b"data: "))
            assert (closing["id"], closing["result"]["isError"]) == ("k", True)
            assert rig.engine.outcomes == ["unknown"]

    run(main())


@pytest.mark.parametrize(
    "pieces",
    [
        [b"data: {"],
        [event(result(1)), b""],
        [b": comment\n"],
    ],
    ids=["inside an event", "behind the answer", "inside a comment"],
)
def test_a_broken_stream_that_cannot_be_ended_never_ends_as_if_whole(pieces: list[bytes]) -> None:
    async def main() -> None:
        reply = await Rig(breaking(*pieces, headers=EVENTS)).client.post(call("t"))
        assert reply.body == b"".join(pieces)
        assert not reply.complete
        assert isinstance(reply.broken, UpstreamError)

    run(main())


def test_streams_without_an_id_of_their_own_break_off() -> None:
    async def main() -> None:
        rig = Rig(breaking(event(b"{}"), headers=EVENTS))
        fields = await rig.open_session()
        listening = await rig.client.request("GET", headers=fields)
        subscribed = await rig.client.post_modern(message("subscriptions/listen"))
        for reply in (listening, subscribed):
            assert not reply.complete
            assert isinstance(reply.broken, UpstreamError)

    run(main())


def test_a_short_document_that_breaks_off_is_a_fault_with_the_id() -> None:
    async def main() -> None:
        reply = await Rig(breaking(b'{"json', headers=JSON)).client.post(call("t", id=5))
        assert (reply.status, reply.json["id"], reply.json["result"]["isError"]) == (200, 5, True)

    run(main())


def test_a_long_document_streams_and_breaks_off() -> None:
    async def main() -> None:
        first, second = b'{"jsonrpc":"2.0","id":1,"result":"' + b"a" * 70_000, b'b"}'
        rig = Rig(answer(200, JSON, first, second))
        assert (await rig.client.post(call("t"))).body == first + second
        reply = await Rig(breaking(first, headers=JSON)).client.post(call("t"))
        assert reply.body == first
        assert not reply.complete

    run(main())


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_a_client_that_takes_no_bytes_is_given_up(era: str) -> None:
    async def main() -> None:
        stalled = asyncio.Event()

        async def on_send(message: Message) -> None:
            if message.get("body"):
                stalled.set()
                await asyncio.Event().wait()

        rig = Rig(
            answer_events(event(b"{}"), event(result(1))),
            bounds=Bounds(relay=RelayBounds(write_stall_s=0.01)),
        )
        post = rig.client.post if era == "legacy" else rig.client.post_modern
        reply = await post(call("t"), on_send=on_send)
        assert not reply.complete
        assert rig.upstream.finished == (1 if era == "legacy" else 0)
        assert rig.engine.outcomes == (["done"] if era == "legacy" else ["unknown"])

    run(main())


def test_a_fault_that_no_one_waits_for_is_only_settled() -> None:
    async def main() -> None:
        gone, go = asyncio.Event(), asyncio.Event()

        async def script(seen: Seen, send: Send) -> None:
            gone.set()
            await go.wait()
            raise UpstreamError("reset", "gone", sent=True)

        rig = Rig(script)
        asking = asyncio.create_task(rig.client.post(call("t"), gone=gone))
        await gone.wait()
        for _ in range(5):
            await asyncio.sleep(0)
        go.set()
        assert (await asking).messages == []
        assert rig.engine.outcomes == ["unknown"]

    run(main())


def test_a_lingering_call_ends_within_its_bound() -> None:
    async def main() -> None:
        gone = asyncio.Event()

        async def script(seen: Seen, send: Send) -> None:
            gone.set()
            await asyncio.Event().wait()

        rig = Rig(script, bounds=Bounds(linger_s=0.01))
        await rig.client.post(call("t"), gone=gone)
        assert rig.upstream.seen[0].cancelled
        assert rig.engine.outcomes == ["unknown"]

    run(main())


def test_the_servers_own_cancellation_is_not_mistaken_for_a_client_that_left() -> None:
    async def main() -> None:
        asked = asyncio.Event()

        async def script(seen: Seen, send: Send) -> None:
            asked.set()
            await asyncio.Event().wait()

        rig = Rig(script)
        task = asyncio.create_task(rig.client.post(call("t")))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert rig.engine.outcomes == ["unknown"]
        assert rig.door.load.in_flight == 0

    run(main())


def test_a_late_pass_of_the_last_piece_is_whole() -> None:
    async def script(seen: Seen, send: Send) -> None:
        await start(send, 200, EVENTS)
        await send({"type": "http.response.body", "body": event(result(1)), "more_body": False})

    async def main() -> None:
        reply: Reply = await Rig(script, policy=ALLOW).client.post(call("t"))
        assert reply.complete
        assert reply.body == event(result(1))

    run(main())


def test_an_empty_stream_is_relayed_as_it_is() -> None:
    async def script(seen: Seen, send: Send) -> None:
        await start(send, 200, EVENTS)
        await end(send)

    async def main() -> None:
        reply = await Rig(script).client.post(call("t"))
        assert (reply.complete, reply.body) == (True, b"")

    run(main())


def test_a_failure_behind_the_head_breaks_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Panic(BaseException):
        pass

    def fail(*_: object) -> None:
        raise Panic

    async def main() -> None:
        rig = Rig(answer_events(event(result(1))))
        monkeypatch.setattr("gateway.downstream.observer.Observer.see", fail)
        reply = await rig.client.post(call("t"))
        assert isinstance(reply.broken, Broken)
        assert not reply.complete
        assert rig.engine.outcomes == ["unknown"]

    run(main())
