"""A listener serves HTTP/1.1 by hypercorn's hand, and drains by ours."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from gateway import connection, server
from gateway.errors import StartError
from gateway.server import Listener, bind
from gateway.settings import Address
from support.door import run

if TYPE_CHECKING:
    from gateway.asgi import Receive, Scope, Send

Factory = Callable[[], asyncio.AbstractEventLoop]
FACTORIES: list[Factory] = [asyncio.new_event_loop]
try:
    import uvloop
except ImportError:
    pass
else:
    FACTORIES.append(uvloop.new_event_loop)

GET = b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n"


class App:
    """Answers `ok`, once it may."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.arrived = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.ended = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        self.arrived.set()
        try:
            await self.go_on.wait()
        finally:
            self.ended.set()
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def listening(app: Any) -> AsyncIterator[Listener]:
    listener = Listener(app, bind(Address("127.0.0.1", 0)))
    await listener.start()
    try:
        yield listener
    finally:
        await listener.drain(0)
        while _wires:
            _wires.pop().writer.close()
        await asyncio.sleep(0)  # a closed transport lets go of its socket in the next turn


_wires: list[Wire] = []


class Wire:
    """A client's end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def to(cls, listener: Listener) -> Wire:
        wire = cls(*await asyncio.open_connection("127.0.0.1", listener.port))
        _wires.append(wire)
        return wire

    async def ask(self, data: bytes = GET) -> bytes:
        """The head of the answer; its body is read too."""
        self.writer.write(data)
        head = await self.reader.readuntil(b"\r\n\r\n")
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                await self.reader.readexactly(int(line.partition(b":")[2]))
        return head

    async def ended(self) -> bool:
        return await self.reader.read() == b""

    def close(self) -> None:
        self.writer.close()


def test_a_connection_serves_many_requests_and_says_little_of_itself() -> None:
    async def body() -> None:
        app = App()
        async with listening(app) as listener:
            wire = await Wire.to(listener)
            for _ in range(3):
                head = (await wire.ask()).lower()
                assert head.startswith(b"http/1.1 200")
                assert b"server:" not in head
                assert b"connection:" not in head
            assert len(app.scopes) == 3

    run(body())


def test_a_closed_connection_is_gone_at_once() -> None:
    async def body() -> None:
        async with listening(App()) as listener:
            wire = await Wire.to(listener)
            await wire.ask()
            (serving,) = listener._connections
            wire.close()
            await serving
            assert not listener._connections

    run(body())


def test_a_drain_refuses_new_connections_and_finishes_what_runs() -> None:
    async def body() -> None:
        app = App()
        app.go_on.clear()
        async with listening(app) as listener:
            wire = await Wire.to(listener)
            asking = asyncio.create_task(wire.ask())
            await app.arrived.wait()
            draining = asyncio.create_task(listener.drain(60))
            for _ in range(3):  # turns of the loop, in which nobody comes
                await asyncio.sleep(0)
            with pytest.raises(ConnectionRefusedError):
                await Wire.to(listener)
            app.go_on.set()
            head = (await asking).lower()
            assert b"connection: close" in head
            assert await wire.ended()
            await draining

    run(body())


def test_an_idle_connection_gets_a_last_request_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LINGER_S", 60.0)

    async def body() -> None:
        async with listening(App()) as listener:
            wire = await Wire.to(listener)
            await wire.ask()
            draining = asyncio.create_task(listener.drain(60))
            await asyncio.sleep(0)
            assert b"connection: close" in (await wire.ask()).lower()
            assert await wire.ended()
            await draining

    run(body())


@pytest.mark.parametrize("factory", FACTORIES)
def test_who_has_connected_before_a_drain_is_answered(factory: Factory) -> None:
    async def main() -> None:
        async with listening(App()) as listener:
            clients = [socket.create_connection(("127.0.0.1", listener.port)) for _ in range(20)]
            for client in clients:
                client.sendall(GET)
            await listener.drain(60)  # before the event loop has seen any of them
            for client in clients:
                with client:
                    assert client.recv(1000).startswith(b"HTTP/1.1 200")

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


def test_idle_connections_do_not_hold_up_a_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LINGER_S", 0.01)

    async def body() -> None:
        async with listening(App()) as listener:
            wire = await Wire.to(listener)
            await wire.ask()
            await listener.drain(60)
            assert await wire.ended()

    run(body())


def test_the_grace_ends_what_does_not_end_itself() -> None:
    async def body() -> None:
        app = App()
        app.go_on.clear()
        async with listening(app) as listener:
            wire = await Wire.to(listener)
            wire.writer.write(GET)
            await app.arrived.wait()
            await listener.drain(0.01)
            assert app.ended.is_set()

    run(body())


def test_haste_ends_the_grace() -> None:
    async def body() -> None:
        app = App()
        app.go_on.clear()
        async with listening(app) as listener:
            wire = await Wire.to(listener)
            wire.writer.write(GET)
            await app.arrived.wait()
            hurry = asyncio.Event()
            draining = asyncio.create_task(listener.drain(600, hurry=hurry))
            await asyncio.sleep(0)
            hurry.set()
            await draining
            assert app.ended.is_set()

    run(body())


def test_a_slow_head_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.01)

    async def body() -> None:
        app = App()
        async with listening(app) as listener:
            wire = await Wire.to(listener)
            assert (await wire.ask(b"GET /a HTTP/1.1\r\nho")).startswith(b"HTTP/1.1 408")
            assert await wire.ended()
            assert app.scopes == []

    run(body())


def test_the_deadline_is_the_heads_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request whose body is slow, or whose answer is, is not the head's matter."""
    monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.01)

    async def body() -> None:
        app = App()
        app.go_on.clear()
        async with listening(app) as listener:
            wire = await Wire.to(listener)
            wire.writer.write(b"POST /a HTTP/1.1\r\nhost: x\r\n")
            wire.writer.write(b"content-length: 2\r\n\r\n")
            await app.arrived.wait()
            overdue = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_later(0.05, overdue.set_result, None)
            await overdue
            wire.writer.write(b"{}")
            app.go_on.set()
            assert (await wire.ask(b"")).startswith(b"HTTP/1.1 200")

    run(body())


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GARBAGE\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 40_000 + b"\r\n\r\n", b"431"),
        (b"GET /" + b"y" * 100_000, b"431"),
    ],
)
def test_what_is_not_http_is_refused_in_json(data: bytes, status: bytes) -> None:
    async def body() -> None:
        app = App()
        async with listening(app) as listener:
            wire = await Wire.to(listener)
            head = await wire.ask(data)
            assert head.startswith(b"HTTP/1.1 " + status)
            assert b"application/json" in head
            assert await wire.ended()
            assert app.scopes == []

    run(body())


@pytest.mark.parametrize(
    "data",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
    ],
)
def test_no_way_leads_to_http_2(data: bytes) -> None:
    async def body() -> None:
        app = App()
        async with listening(app) as listener:
            wire = await Wire.to(listener)
            assert (await wire.ask(data)).startswith(b"HTTP/1.1 ")
            assert [scope["type"] for scope in app.scopes] == ["http"]

    run(body())


def test_a_websocket_is_refused() -> None:
    async def body() -> None:
        app = App()
        async with listening(app) as listener:
            wire = await Wire.to(listener)
            head = await wire.ask(
                b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
                b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            assert head.startswith(b"HTTP/1.1 403")
            assert app.scopes == []

    run(body())


def test_an_address_in_use_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(StartError, match="cannot listen"):
            bind(address)


def test_an_unknown_host_is_told() -> None:
    with pytest.raises(StartError, match="cannot listen"):
        bind(Address("no-such-host.invalid", 0))


def test_shared_sockets_share_a_port() -> None:
    with bind(Address("127.0.0.1", 0), shared=True) as one:
        address = Address("127.0.0.1", one.getsockname()[1])
        bind(address, shared=True).close()
        one.listen()
        with pytest.raises(StartError):
            bind(address)


@pytest.mark.parametrize("behind", [GET, b"garbage\r\n\r\n", b"x"])
@pytest.mark.parametrize("at_once", [True, False])
def test_what_comes_behind_the_last_request_is_ignored(behind: bytes, at_once: bool) -> None:
    async def body() -> None:
        app = App()
        app.go_on.clear()
        async with listening(app) as listener:
            wire = await Wire.to(listener)
            last = GET.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
            wire.writer.write(last + (behind if at_once else b""))
            await app.arrived.wait()
            if not at_once:
                wire.writer.write(behind)
            app.go_on.set()
            assert (await wire.ask(b"")).startswith(b"HTTP/1.1 200")
            assert await wire.ended()
            assert len(app.scopes) == 1

    run(body())
