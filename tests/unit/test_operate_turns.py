"""However many scrape and however slowly they read, telling takes little time and little memory."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from gateway import connection
from gateway.operate.admin import MAX_CONNECTIONS, create_admin
from gateway.operate.turns import AHEAD_S, LONGEST_S, ON_THEIR_WAY, REQUEST_S, SHARE, Turns
from gateway.server import Listener, bind
from gateway.settings import Address, ServerSettings, Settings
from support.door import run

SETTINGS = Settings(
    servers=(ServerSettings(name="upwork", policy=Path("p.json"), url="http://127.0.0.1:1/"),)
)


class Time:
    """A clock that goes on when somebody waits, or works."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.worked = self.longest = 0.0

    async def sleep(self, seconds: float) -> None:
        self.longest = max(self.longest, seconds)
        self.now += seconds
        await asyncio.sleep(0)

    async def work(self, seconds: float) -> None:
        self.now += seconds
        self.worked += seconds
        await asyncio.sleep(0)

    def turns(self) -> Turns:
        return Turns(clock=lambda: self.now, sleep=self.sleep)


@pytest.mark.parametrize("each_s", [0.0, 0.0004, 0.001])
def test_who_asks_on_and_on_gets_a_hundredth_of_the_time(each_s: float) -> None:
    async def body() -> None:
        time, answers = Time(), 0
        turns = time.turns()
        time.now += 3600  # what nobody took is not saved up
        began = time.now
        while time.now < began + 60:
            await asyncio.gather(*(turns.take(lambda: time.work(each_s)) for _ in range(16)))
            answers += 16
        passed = time.now - began
        taken = time.worked + answers * REQUEST_S
        assert SHARE * passed < taken <= SHARE * (passed + AHEAD_S) + 2 * (each_s + REQUEST_S)

    run(body())


def test_who_asks_now_and_then_does_not_wait() -> None:
    async def body() -> None:
        time = Time()
        turns = time.turns()
        for _ in range(20):
            for _ in range(10):
                await turns.take(lambda: time.work(0.004))
            time.now += 15.0
        assert time.longest == 0

    run(body())


def test_a_slow_one_keeps_the_next_waiting_no_longer_than_told() -> None:
    async def body() -> None:
        time = Time()
        turns = time.turns()
        for _ in range(100):
            await turns.take(lambda: time.work(2.0))
        assert time.longest <= LONGEST_S

    run(body())


def test_it_is_one_at_a_time_and_a_failure_ends_a_turn() -> None:
    async def body() -> None:
        time = Time()
        turns, under_way = time.turns(), 0

        async def work(fails: bool) -> None:
            nonlocal under_way
            assert under_way == 0
            under_way += 1
            await asyncio.sleep(0)
            under_way -= 1
            if fails:
                raise ValueError

        results = await asyncio.gather(
            *(turns.take(lambda i=i: work(i % 2 == 0)) for i in range(10)),  # type: ignore[misc]
            return_exceptions=True,
        )
        assert [type(each) for each in results] == [ValueError, type(None)] * 5

    run(body())


def stuck(port: int, path: str) -> socket.socket:
    """A connection that asks and reads nothing."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", port))
    sock.sendall(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
    return sock


@pytest.mark.parametrize("path", ["/metrics", "/limits"])
def test_who_does_not_read_holds_one_of_few_answers_and_not_for_long(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Long enough to be asked something meanwhile on a machine that is busy with other tests.
    monkeypatch.setattr(connection, "STALL_S", 2.0)
    made = 0
    enough, all_made = asyncio.Event(), asyncio.Event()

    async def ask(topic: str) -> bytes:
        nonlocal made
        if topic in ("ready", "stale"):
            return b"[]" if topic == "ready" else b'{"files":[],"restart":[]}'
        made += 1
        if made >= ON_THEIR_WAY:
            enough.set()
        if made >= 2 * ON_THEIR_WAY:
            all_made.set()
        return b"x" * (4 << 20)

    async def body() -> None:
        listener = Listener(
            create_admin(ask, SETTINGS), bind(Address("127.0.0.1", 0)), most=MAX_CONNECTIONS
        )
        await listener.start()
        scrapers = [stuck(listener.port, path) for _ in range(2 * ON_THEIR_WAY)]
        try:
            await enough.wait()
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            writer.write(b"GET /readyz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 200"), "a kubelet is answered"
            writer.close()
            assert made == ON_THEIR_WAY
            await all_made.wait()  # since the first were cut
        finally:
            for scraper in scrapers:
                scraper.close()
            await listener.drain(0)

    run(body())


def test_who_leaves_takes_no_turn() -> None:
    made: list[bytes] = []
    first, go_on = asyncio.Event(), asyncio.Event()

    async def ask(topic: str) -> bytes:
        made.append(topic.encode())
        first.set()
        await go_on.wait()
        return b""

    async def body() -> None:
        app, leaving = create_admin(ask, SETTINGS), asyncio.Event()

        async def scrape(left: asyncio.Event) -> list[object]:
            sent: list[object] = []

            async def receive() -> dict[str, str]:
                await left.wait()
                return {"type": "http.disconnect"}

            async def send(message: object) -> None:
                sent.append(message)

            headers = [(b"host", b"127.0.0.1")]
            scope = {"type": "http", "method": "GET", "path": "/metrics", "headers": headers}
            await app(scope, receive, send)
            return sent

        stays = asyncio.create_task(scrape(asyncio.Event()))
        await first.wait()
        leave = [asyncio.create_task(scrape(leaving)) for _ in range(3 * ON_THEIR_WAY)]
        await asyncio.sleep(0)
        leaving.set()
        assert await asyncio.gather(*leave) == [[]] * len(leave)
        go_on.set()
        assert len(await stays) == 2
        assert made == [b"metrics"]

    run(body())


def test_no_more_connections_are_kept_than_there_may_be() -> None:
    request = b"GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"

    async def ask(_: str) -> bytes:
        raise AssertionError("nothing is asked")

    async def body() -> None:
        listener = Listener(create_admin(ask, SETTINGS), bind(Address("127.0.0.1", 0)), most=3)
        await listener.start()
        wires = []
        try:
            for number in range(5):
                reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
                wires.append(writer)
                with suppress(ConnectionError):
                    writer.write(request)
                    assert (await reader.readline() != b"") is (number < 3)
        finally:
            for writer in wires:
                writer.close()
            await listener.drain(0)

    run(body())
