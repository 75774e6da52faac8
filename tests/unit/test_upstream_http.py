"""The server's side of the relay, over real loopback sockets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.errors import SettingsError, UpstreamError
from gateway.upstream import pool
from support.door import run
from support.http_server import Wire, ask, body_of, fault, keep_answering, serving, upstream

if TYPE_CHECKING:
    from gateway.asgi import Message


def test_a_request_is_framed_anew_and_its_body_is_untouched() -> None:
    async def main() -> None:
        async with serving(keep_answering) as server:
            peer = upstream(server.url, headers={"Authorization": "Bearer own"})
            given = [(b"accept", b"application/json"), (b"authorization", b"Bearer client")]
            messages = await ask(peer, b'{"a" : 1}', headers=given)
            await peer.aclose(0)
            head, _, body = server.requests[0].partition(b"\r\n\r\n")
            lines = head.split(b"\r\n")
            assert lines[0] == b"POST /mcp HTTP/1.1"
            assert sorted(lines[1:]) == [
                b"accept-encoding: identity",
                b"accept: application/json",
                b"authorization: Bearer own",
                b"content-length: 9",
                b"host: 127.0.0.1:%d" % server.port,
            ]
            assert body == b'{"a" : 1}'
            assert messages[0]["status"] == 200
            assert body_of(messages) == b"{}"
            assert messages[-1]["more_body"] is False

    run(main())


def test_a_get_has_no_content_length() -> None:
    async def main() -> None:
        async with serving(keep_answering) as server:
            peer = upstream(server.url)
            await ask(peer, b"", method="GET")
            await peer.aclose(0)
            assert b"content-length" not in server.requests[0]

    run(main())


def test_a_connection_is_used_again_after_a_whole_answer() -> None:
    async def main() -> None:
        async with serving(keep_answering) as server:
            peer = upstream(server.url)
            for _ in range(3):
                await ask(peer)
            await peer.aclose(0)
            assert (server.connections, len(server.requests)) == (1, 3)

    run(main())


def test_concurrent_requests_have_a_connection_each() -> None:
    async def main() -> None:
        everyone = asyncio.Barrier(3)

        async def behave(wire: Wire) -> None:
            await wire.request()
            await everyone.wait()
            await wire.answer()

        async with serving(behave) as server:
            peer = upstream(server.url)
            await asyncio.gather(*(ask(peer) for _ in range(3)))
            await peer.aclose(0)
            assert server.connections == 3

    run(main())


def test_a_connection_that_the_server_closed_is_not_used_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not even if the event loop has not heard of it, unless it was used a moment ago."""
    monkeypatch.setattr(pool, "BEAT_S", 1e-9)

    async def main() -> None:
        closed = asyncio.Event()

        async def behave(wire: Wire) -> None:
            await wire.request()
            await wire.answer()
            wire.writer.close()
            await wire.writer.wait_closed()
            closed.set()

        async with serving(behave) as server:
            peer = upstream(server.url)
            await ask(peer)
            await closed.wait()
            await asyncio.sleep(0)  # a beat
            await ask(peer)
            await peer.aclose(0)
            assert (server.connections, len(server.requests)) == (2, 2)

    run(main())


@pytest.mark.parametrize(
    "surplus", [b"x", b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged"], ids=["byte", "answer"]
)
def test_bytes_behind_an_answer_never_meet_the_next_request(surplus: bytes) -> None:
    async def main() -> None:
        async def behave(wire: Wire) -> None:
            await wire.request()
            await wire.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}" + surplus)
            await keep_answering(wire)

        async with serving(behave) as server:
            peer = upstream(server.url)
            await ask(peer)
            assert b"forged" not in body_of(await ask(peer))
            await peer.aclose(0)
            assert server.connections == 2

    run(main())


def test_bytes_that_come_while_nothing_is_asked_close_the_connection() -> None:
    async def main() -> None:
        late = asyncio.Event()
        written = asyncio.Event()

        async def behave(wire: Wire) -> None:
            await wire.request()
            await wire.answer()
            await late.wait()
            await wire.write(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged")
            written.set()
            await keep_answering(wire)

        async with serving(behave) as server:
            peer = upstream(server.url)
            await ask(peer)
            late.set()
            await written.wait()
            second = asyncio.create_task(ask(peer))
            assert b"forged" not in body_of(await second)
            await peer.aclose(0)
            assert server.connections == 2

    run(main())


def test_pieces_are_passed_on_as_they_come() -> None:
    async def main() -> None:
        seen = asyncio.Event()

        async def behave(wire: Wire) -> None:
            await wire.request()
            await wire.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                b"transfer-encoding: chunked\r\n\r\n"
            )
            for data in (b"data: 1\n\n", b"data: 2\n\n"):
                seen.clear()
                await wire.write(b"%x\r\n%b\r\n" % (len(data), data))
                await seen.wait()  # the next event is written only when this one has arrived
            await wire.write(b"0\r\n\r\n")

        async def on_send(message: Message) -> None:
            if message.get("body"):
                seen.set()

        async with serving(behave) as server:
            peer = upstream(server.url)
            messages = await ask(peer, on_send=on_send)
            await peer.aclose(0)
            assert body_of(messages) == b"data: 1\n\ndata: 2\n\n"

    run(main())


def test_a_server_is_not_read_faster_than_its_client_reads() -> None:
    async def main() -> None:
        total = 64 * 1024 * 1024
        resume = asyncio.Event()
        written = 0

        async def behave(wire: Wire) -> None:
            nonlocal written
            await wire.request()
            await wire.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total)
            while written < total:
                await wire.write(bytes(65536))
                written += 65536

        async def on_send(message: Message) -> None:
            if message.get("body"):
                await resume.wait()

        async with serving(behave) as server:
            peer = upstream(server.url)
            asking = asyncio.create_task(ask(peer, on_send=on_send))
            before = -1
            while written != before or written == 0:
                before = written
                for _ in range(2000):  # turns of the loop, in which an unpaused reader would go on
                    await asyncio.sleep(0)
            assert written < total
            resume.set()
            assert len(body_of(await asking)) == total
            await peer.aclose(0)

    run(main())


def test_connection_refused_is_known_not_to_have_been_sent() -> None:
    async def main() -> None:
        async with serving(keep_answering) as server:
            url = server.url
        peer = upstream(url)
        with pytest.raises(UpstreamError) as error:
            await ask(peer)
        assert fault(error) == ("connect", False)

    run(main())


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "reset"),
        (b"HTTP/1.1 200", "reset"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}", "reset"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n", "reset"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "invalid"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "invalid"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", "invalid"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: %b\r\n" % (b"b" * 70_000), "invalid"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 9, "invalid"),
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n", "invalid"),
    ],
    ids=[
        "nothing",
        "half a head",
        "short body",
        "no last chunk",
        "not http",
        "bad chunk",
        "bad length",
        "endless head",
        "1xx flood",
        "switch",
    ],
)
def test_a_broken_answer_may_have_been_acted_on(answer: bytes, reason: str) -> None:
    async def main() -> None:
        async def behave(wire: Wire) -> None:
            await wire.request()
            await wire.write(answer)
            wire.writer.close()

        async with serving(behave) as server:
            peer = upstream(server.url)
            with pytest.raises(UpstreamError) as error:
                await ask(peer)
            await peer.aclose(0)
            assert fault(error) == (reason, True)
            assert len(server.requests) == 1, "a request must never be written twice"

    run(main())


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{"])
def test_a_silent_server_times_out(head: bytes) -> None:
    async def main() -> None:
        async def behave(wire: Wire) -> None:
            await wire.request()
            await wire.write(head)
            await wire.reader.read()

        async with serving(behave) as server:
            peer = upstream(server.url, first_byte_timeout_s=0.05, idle_timeout_s=0.05)
            with pytest.raises(UpstreamError) as error:
                await ask(peer)
            await peer.aclose(0)
            assert fault(error) == ("timeout", True)

    run(main())


def test_informational_answers_are_passed_over() -> None:
    async def main() -> None:
        async def behave(wire: Wire) -> None:
            await wire.request()
            await wire.write(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n")
            await wire.answer(b"[]")

        async with serving(behave) as server:
            peer = upstream(server.url)
            messages = await ask(peer)
            await peer.aclose(0)
            assert (messages[0]["status"], body_of(messages)) == (200, b"[]")

    run(main())


def test_cancelling_a_request_closes_its_connection() -> None:
    async def main() -> None:
        asked, left = asyncio.Event(), asyncio.Event()

        async def behave(wire: Wire) -> None:
            await wire.request()
            asked.set()
            try:
                await wire.reader.read()
            finally:
                left.set()

        async with serving(behave) as server:
            peer = upstream(server.url)
            task = asyncio.create_task(ask(peer))
            await asked.wait()
            task.cancel()
            await left.wait()
            with pytest.raises(asyncio.CancelledError):
                await task
            await peer.aclose(0)

    run(main())


@pytest.mark.parametrize(
    "url",
    ["ftp://h/", "http://", "http://u:p@h/mcp", "http://h:99999/", "http://h/a b", "h:80/mcp"],
)
def test_an_unusable_url_is_a_settings_error(url: str) -> None:
    with pytest.raises(SettingsError):
        upstream(url)


def test_headers_of_the_configuration_win() -> None:
    async def main() -> None:
        async with serving(keep_answering) as server:
            peer = upstream(server.url, headers={"Host": "inner", "X-Key": "k"})
            await ask(peer, headers=[(b"x-key", b"client")])
            await peer.aclose(0)
            lines = server.requests[0].lower().split(b"\r\n")
            assert [line for line in lines if line.startswith((b"host", b"x-key"))] == [
                b"host: inner",
                b"x-key: k",
            ]

    run(main())


def test_a_header_that_cannot_be_written_is_not_sent() -> None:
    async def main() -> None:
        async with serving(keep_answering) as server:
            peer = upstream(server.url, headers={"X-Bad": "a\r\nb"})
            with pytest.raises(UpstreamError) as error:
                await ask(peer)
            await peer.aclose(0)
            assert fault(error) == ("invalid", False)
            assert server.requests == []

    run(main())
