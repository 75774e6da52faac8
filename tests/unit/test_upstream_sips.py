"""A server that sends much is read a little each turn of the event loop."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from gateway.upstream.connection import SIP_BYTES, Connection
from support.door import run


class Transport(asyncio.Transport):
    """Remembers who reads from it, and whether."""

    def __init__(self) -> None:
        super().__init__()
        self.protocol: Any = None
        self.reading = True

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def read(self, size: int) -> None:
        """As an event loop does; nothing while reading is paused."""
        assert self.reading
        assert len(self.protocol.get_buffer(-1)) == SIP_BYTES
        self.protocol.buffer_updated(size)

    def write(self, data: Any) -> None:
        """Takes it."""

    def get_write_buffer_size(self) -> int:
        return 0


class Borrower:
    """Counts what came."""

    def __init__(self) -> None:
        self.received = 0

    def answered(self, data: bytes) -> None:
        self.received += len(data)

    def ended(self) -> None:
        """Is not looked at."""


def lent() -> tuple[Connection, Transport, Borrower]:
    """A connection that waits for an answer."""
    connection, transport, borrower = Connection(), Transport(), Borrower()
    connection.connection_made(transport)
    connection.borrower = cast("Any", borrower)
    return connection, transport, borrower


def test_what_comes_in_usual_pieces_is_read_as_it_comes() -> None:
    async def main() -> None:
        connection, transport, borrower = lent()
        connection.data_received(bytes(SIP_BYTES))
        assert transport.protocol is None
        assert transport.reading
        assert borrower.received == SIP_BYTES

    run(main())


def test_who_sends_much_gets_a_little_of_each_turn() -> None:
    async def main() -> None:
        connection, transport, borrower = lent()
        connection.data_received(bytes(SIP_BYTES + 1))
        for turn in range(3):
            assert not transport.reading
            assert borrower.received == SIP_BYTES * (turn + 1) + 1
            await asyncio.sleep(0)
            transport.read(SIP_BYTES)
        await asyncio.sleep(0)
        transport.read(5)
        assert transport.reading, "a piece that is not full was the last there is"
        transport.protocol.eof_received()
        assert connection.ended

    run(main())


def test_a_turn_does_not_read_for_a_client_that_stalls() -> None:
    async def main() -> None:
        connection, transport, _ = lent()
        connection.data_received(bytes(SIP_BYTES + 1))
        connection.pause()
        await asyncio.sleep(0)
        assert not transport.reading
        connection.resume()
        assert transport.reading

    run(main())
