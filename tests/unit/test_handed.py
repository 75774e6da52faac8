"""A request that an application answers on a connection of the fast path."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from gateway.downstream.body import ClientGone
from gateway.downstream.handed import HandedRequest
from gateway.downstream.relay import ClientStalled
from gateway.errors import UpstreamError
from support.door import run

if TYPE_CHECKING:
    from gateway.asgi import Headers, Receive, Scope, Send

START: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": []}
LENGTH = (b"content-length", b"2")


class Line:
    """A connection that counts how often it was waited for."""

    def __init__(self) -> None:
        self.written = b""
        self.waits = 0
        self.retires = False
        self.go_on = asyncio.Event()
        self.go_on.set()

    def write(self, data: bytes) -> None:
        self.written += data

    async def writable(self) -> None:
        self.waits += 1
        await self.go_on.wait()


def start(*headers: tuple[bytes, bytes], status: int = 200) -> dict[str, Any]:
    return {**START, "status": status, "headers": list(headers)}


def body(data: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


def handed(
    line: Line, *, method: str = "POST", headers: Headers | None = None, data: bytes | None = b"x"
) -> HandedRequest:
    return HandedRequest(line, {"type": "http", "method": method, "headers": headers or []}, data)


def sending(*messages: dict[str, Any], error: BaseException | None = None) -> Any:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)
        if error is not None:
            raise error

    return app


def said(*messages: dict[str, Any], **request: Any) -> tuple[bytes, HandedRequest]:
    async def main() -> tuple[bytes, HandedRequest]:
        line = Line()
        asked = handed(line, **request)
        await asked.serve(sending(*messages))
        return line.written, asked

    return run(main())


def test_a_body_with_a_length_passes_as_it_is() -> None:
    written, asked = said(start(LENGTH), body(b"ok"))
    assert written == b"HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\nok"
    assert asked.whole
    assert not asked.closes


def test_a_body_without_a_length_is_chunked_and_ended() -> None:
    written, asked = said(start(), body(b"ok", more=True), body(b"", more=True), body(b"!"))
    head, _, coded = written.partition(b"\r\n\r\n")
    assert head == b"HTTP/1.1 200 \r\ntransfer-encoding: chunked"
    assert coded == b"2\r\nok\r\n1\r\n!\r\n0\r\n\r\n"
    assert asked.whole


@pytest.mark.parametrize("status", [204, 304])
def test_some_statuses_have_no_body_and_no_framing(status: int) -> None:
    written, asked = said(start(status=status), body(b"no"))
    assert written == b"HTTP/1.1 %d \r\n\r\n" % status
    assert asked.whole


def test_the_answer_to_head_has_no_body() -> None:
    written, _ = said(start(LENGTH), body(b"no"), method="HEAD")
    assert written.endswith(b"content-length: 2\r\n\r\n")


def test_the_head_leaves_before_there_is_a_body() -> None:
    async def main() -> None:
        line, more = Line(), asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await send(start())
            await more.wait()
            await send(body(b""))

        serving = asyncio.create_task(handed(line).serve(app))
        await asyncio.sleep(0)
        assert line.written.endswith(b"chunked\r\n\r\n")
        more.set()
        await serving
        assert line.written.endswith(b"\r\n\r\n0\r\n\r\n")

    run(main())


@pytest.mark.parametrize(
    "error",
    [UpstreamError("reset", "x", sent=True), ClientGone(), ClientStalled(), ValueError(), None],
)
@pytest.mark.parametrize("messages", [(), (start(),), (start(), body(b"x", more=True))])
def test_an_answer_that_does_not_end_is_not_whole(messages: Any, error: Exception | None) -> None:
    async def main() -> None:
        line = Line()
        asked = handed(line)
        await asked.serve(sending(*messages, error=error))
        assert not asked.whole
        assert not line.written.endswith(b"0\r\n\r\n")

    run(main())


@pytest.mark.parametrize(
    ("asks", "says", "retires"),
    [(True, False, False), (False, True, False), (False, False, True), (True, True, True)],
)
def test_a_last_answer_says_so_once(asks: bool, says: bool, retires: bool) -> None:
    async def main() -> None:
        line = Line()
        line.retires = retires
        asked = handed(line, headers=[(b"connection", b"Close")] if asks else [])
        fields = [LENGTH, (b"connection", b"close")] if says else [LENGTH]
        await asked.serve(sending(start(*fields), body(b"ok")))
        assert asked.closes
        assert line.written.count(b"connection: close\r\n") == 1

    run(main())


def test_a_request_that_stays_says_nothing_of_it() -> None:
    _, asked = said(start(LENGTH), body(b"ok"), headers=[(b"connection", b"keep-alive")])
    assert not asked.closes


def test_each_piece_waits_until_the_client_takes_it() -> None:
    async def main() -> None:
        line = Line()
        line.go_on.clear()
        asked = handed(line)
        app = sending(start(), body(b"1", more=True), body(b"2"))
        serving = asyncio.create_task(asked.serve(app))
        await asyncio.sleep(0)
        assert line.written.endswith(b"1\r\n1\r\n")
        line.go_on.set()
        await serving
        assert line.written.endswith(b"1\r\n2\r\n0\r\n\r\n")
        assert line.waits == 2

    run(main())


@pytest.mark.parametrize("data", [b"x", None])
def test_the_body_comes_once_and_then_only_that_the_client_left(data: bytes | None) -> None:
    async def main() -> None:
        asked = handed(Line(), data=data)
        if data is not None:
            assert (await asked._receive())["body"] == data
        waiting = asyncio.create_task(asked._receive())
        await asyncio.sleep(0)
        assert not waiting.done()
        asked.leave()
        assert (await waiting)["type"] == "http.disconnect"

    run(main())
