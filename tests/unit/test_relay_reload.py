"""A reload that comes to hide something reaches the answers that are on their way."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.downstream import relay
from gateway.downstream.relay import SHORT_BYTES, RelayBounds
from gateway.downstream.visit import Bounds
from gateway.errors import UpstreamError
from gateway.policies import PolicySource
from gateway.sse import MAX_EVENT_BYTES
from support.door import (
    ALLOW,
    EVENTS,
    JSON,
    Rig,
    Seen,
    end,
    event,
    message,
    piece,
    result,
    run,
    start,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.asgi import Headers, Send
    from support.door import Reply

HIDING = b'{"version":"1","default":"allow","hide":["secret"]}'
LIST = result(1, tools=[{"name": "open"}, {"name": "secret"}])
KEPT = result(1, tools=[{"name": "open"}])
TOLD = b'{"jsonrpc":"2.0","method":"notifications/x","params":{"tools":[{"name":"secret"}]}}'
OTHER = event(b'{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"x"}}')


@pytest.fixture(params=["POST", "GET", "subscription"])
def ask(request: pytest.FixtureRequest) -> Callable[[Rig], Awaitable[Reply]]:
    """Each way to have a stream."""

    async def asking(rig: Rig) -> Reply:
        if request.param == "GET":
            return await rig.client.request("GET")
        if request.param == "POST":
            return await rig.client.post(message("tools/list"))
        return await rig.client.post_modern(message("subscriptions/listen", {"notifications": {}}))

    return asking


class Reloading(Rig):
    """A door whose policy file hides nothing, until it is rewritten and read again.

    Args:
        pieces: what the server sends, the policy being reloaded where there is None.
    """

    def __init__(
        self, folder: Path, headers: Headers, *pieces: bytes | None, bounds: Bounds | None = None
    ) -> None:
        async def script(seen: Seen, send: Send) -> None:
            await start(send, 200, headers)
            for one in pieces:
                if one is None:
                    self.reload()
                else:
                    await piece(send, one)
            await end(send)

        super().__init__(script, policy=ALLOW, bounds=bounds)
        self.path = folder / "policy.json"
        self.path.write_bytes(ALLOW)
        self.source = PolicySource(self.path)
        self.source.load()

    def reload(self) -> None:
        self.path.write_bytes(HIDING)
        policies = self.source.reload()
        assert policies is not None
        self.engine.install(policies)


def test_events_after_the_reload_are_filtered(
    ask: Callable[[Rig], Awaitable[Reply]], tmp_path: Path
) -> None:
    async def main() -> None:
        rig = Reloading(tmp_path, EVENTS, event(LIST) + OTHER, None, OTHER, event(LIST))
        reply = await ask(rig)
        assert reply.body == event(LIST) + OTHER + OTHER + event(KEPT)
        assert reply.complete

    run(main())


@pytest.mark.parametrize("cut", [1, 7, len(OTHER) - 1])
def test_an_event_that_was_passing_passes_and_the_next_one_is_filtered(
    cut: int, ask: Callable[[Rig], Awaitable[Reply]], tmp_path: Path
) -> None:
    async def main() -> None:
        pieces = (OTHER + OTHER[:cut], None, OTHER[cut:-1], OTHER[-1:] + event(LIST), event(LIST))
        reply = await ask(Reloading(tmp_path, EVENTS, *pieces))
        assert reply.body == OTHER * 2 + event(KEPT) * 2
        assert reply.complete

    run(main())


@pytest.mark.parametrize("hidden", [LIST, TOLD], ids=["the answer", "before the answer"])
@pytest.mark.parametrize("cut", [1, 20, -1])
def test_an_event_that_was_passing_and_is_now_hidden_never_ends(
    cut: int, hidden: bytes, ask: Callable[[Rig], Awaitable[Reply]], tmp_path: Path
) -> None:
    async def main() -> None:
        pieces = (OTHER + event(hidden)[:cut], None, event(hidden)[cut:] + OTHER)
        reply = await ask(Reloading(tmp_path, EVENTS, *pieces))
        assert reply.body == OTHER + event(hidden)[:cut]
        assert isinstance(reply.broken, UpstreamError)
        assert not reply.complete

    run(main())


def test_a_fault_behind_the_event_that_was_passing_puts_nothing_into_it(tmp_path: Path) -> None:
    async def main() -> None:
        pieces = (OTHER[:7], None, OTHER[7:] + event(b'{"tools":'))
        reply = await Reloading(tmp_path, EVENTS, *pieces).client.post(message("tools/list"))
        assert reply.body == OTHER[:7]
        assert not reply.complete

    run(main())


def test_an_event_that_passed_by_its_length_never_ends(tmp_path: Path) -> None:
    async def main() -> None:
        begun = b"data: " + b"x" * MAX_EVENT_BYTES
        reply = await Reloading(tmp_path, EVENTS, begun, None, b"\n\n").client.request("GET")
        assert reply.body == begun
        assert isinstance(reply.broken, UpstreamError)

    run(main())


def test_a_stream_in_another_charset_ends_where_it_would_have_to_be_read(tmp_path: Path) -> None:
    async def main() -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-7")]
        reply = await Reloading(tmp_path, headers, OTHER, None, OTHER).client.request("GET")
        assert reply.body == OTHER
        assert isinstance(reply.broken, UpstreamError)

    run(main())


@pytest.mark.parametrize("padding", [0, 2 * SHORT_BYTES])
def test_a_document_that_has_not_begun_to_leave_is_filtered(padding: int, tmp_path: Path) -> None:
    async def main() -> None:
        rig = Reloading(tmp_path, JSON, LIST[:20], None, LIST[20:] + b" " * padding)
        assert (await rig.client.post(message("tools/list"))).body.rstrip() == KEPT

    run(main())


def test_a_document_that_has_not_begun_to_leave_and_is_too_long_to_be_read(tmp_path: Path) -> None:
    async def main() -> None:
        bounds = Bounds(relay=RelayBounds(document_bytes=len(LIST) - 1))
        rig = Reloading(tmp_path, JSON, LIST[:20], None, LIST[20:], bounds=bounds)
        reply = await rig.client.post(message("tools/list"))
        assert reply.code == "upstream-invalid"

    run(main())


def test_a_document_whose_server_took_its_time_is_filtered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        rig = Reloading(tmp_path, JSON, LIST)
        answering = rig.upstream.script

        async def script(seen: Seen, send: Send) -> None:
            rig.reload()
            await answering(seen, send)

        rig.upstream.script = script
        monkeypatch.setattr(relay, "SHORT_BYTES", 1)
        assert (await rig.client.post(message("tools/list"))).body == KEPT

    run(main())
