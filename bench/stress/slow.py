"""A thousand clients that send slowly, or do not read, beside one that does neither."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import sys
import termios
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.stress.goals import Goal
from bench.stress.rig import HOSTILE, Load, Pace, Pairs, Result, Rig, beside_hostile, call, request
from bench.summary import median

if TYPE_CHECKING:
    from bench.load.path import Cores

TITLE = "Slow clients"
DRIP_S = 1.0
"""Between the bytes of a slow client."""
LEGAL_S = 2.0
"""Of a legal round, which has to be over before slow clients are cut."""
BATCH = 50
"""So many slow clients come at once, and the next when these do what they came for."""
RECEIVE_BYTES = 4096
"""Of the kernel's buffer of a client that does not read."""
CUT_WITHIN_S = 1.0


@dataclass(frozen=True)
class Kind:
    """How clients are slow.

    Attributes:
        deadline_s: when such a connection should be cut.
        attack: one client at a port, which sets what it is given once it does what it came for;
            returns how many seconds after that it was cut.
        options: of `bench.stress.gateway`.
    """

    deadline_s: float
    attack: Callable[[int, asyncio.Event], Awaitable[float]]
    options: tuple[str, ...] = ()


async def slow_head(port: int, begun: asyncio.Event) -> float:
    """A head of which a byte comes now and then."""
    return await dripping(port, b"POST /mcp/hostile HTTP/1.1\r\nx-slow: ", begun)


async def slow_body(port: int, begun: asyncio.Event) -> float:
    """A body of which a byte comes now and then."""
    head, _, _ = request(port, b" " * 10_000, path=HOSTILE).partition(b"\r\n\r\n")
    return await dripping(port, head + b"\r\n\r\n", begun)


async def dripping(port: int, begin: bytes, begun: asyncio.Event) -> float:
    """Seconds from the first byte until the connection is cut."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    since = time.monotonic()
    writer.write(begin)
    begun.set()

    async def drip() -> None:
        while True:
            await asyncio.sleep(DRIP_S)
            writer.write(b"x")

    dripper = asyncio.create_task(drip())
    try:
        with suppress(OSError):
            while await reader.read(1 << 16):
                pass
        return time.monotonic() - since
    finally:
        dripper.cancel()
        writer.transport.abort()


async def never_read(port: int, begun: asyncio.Event) -> float:
    """A call with a large answer of which nothing is read: seconds from when nothing more came to
    when the connection was cut."""
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", port))
        await loop.sock_sendall(sock, request(port, call("large"), path=HOSTILE))
        came, since = 0, time.monotonic()
        while is_open(sock):
            await asyncio.sleep(0.1)
            if (bytes_in := waiting(sock)) != came:
                came, since = bytes_in, time.monotonic()
                begun.set()
        return time.monotonic() - since


def is_open(sock: socket.socket) -> bool:
    """Whether the kernel holds the connection for established (RFC 9293, section 3.3.2), which is
    seen without reading."""
    established = 1  # as in `tcpi_state`, the first byte of `struct tcp_info`
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == established


def waiting(sock: socket.socket) -> int:
    """How many bytes the kernel has for a socket that is not read."""
    return int.from_bytes(fcntl.ioctl(sock, termios.FIONREAD, bytes(4)), sys.byteorder)


WITHOUT = ("--no-fast-path",)
READERS = {
    "clients that read nothing": Kind(30.0, never_read),
    "clients that read nothing, without the fast path": Kind(30.0, never_read, WITHOUT),
}
SENDERS = {"slow heads": Kind(5.0, slow_head), "slow bodies": Kind(5.0, slow_body)}


@dataclass
class Crowd:
    """The slow clients of one kind, and what was found beside them."""

    kind: Kind
    rig: Rig
    pairs: Pairs = field(default_factory=Pairs)
    cut_s: list[float] = field(default_factory=list)
    bytes_each: list[float] = field(default_factory=list)
    clients: list[asyncio.Future[float]] = field(default_factory=list)

    async def come(self, count: int) -> None:
        """A quiet round, then so many slow clients, and a round beside them."""
        legal = Load(call("quick"), LEGAL_S)
        quiet = await asyncio.to_thread(self.rig.bear, legal)
        before = self.rig.gateway.resident_bytes()
        for _ in range(count // BATCH):
            begun = [asyncio.Event() for _ in range(BATCH)]
            attacks = [self.kind.attack(self.rig.gateway.port, each) for each in begun]
            self.clients += [asyncio.ensure_future(attack) for attack in attacks]
            await asyncio.gather(*(each.wait() for each in begun))
        self.pairs.add(quiet, await asyncio.to_thread(self.rig.bear, legal))
        self.bytes_each.append((self.rig.gateway.resident_bytes() - before) / count)

    async def go(self) -> None:
        """Until all have been cut."""
        self.cut_s += await asyncio.gather(*self.clients)
        self.clients.clear()

    def told(self) -> Result:
        """For the result: `Pairs.told`; `cut_s`, the least, median and greatest; `in_time`, the
        share that was cut within a second of the deadline; `bytes_each`, resident memory for each
        slow client."""
        late = [cut for cut in self.cut_s if abs(cut - self.kind.deadline_s) > CUT_WITHIN_S]
        return {
            "deadline_s": self.kind.deadline_s,
            "cut_s": [min(self.cut_s), median(self.cut_s), max(self.cut_s)],
            "in_time": 1 - len(late) / len(self.cut_s),
            "bytes_each": median(self.bytes_each),
            **self.pairs.told(),
        }


def measure(pace: Pace, cores: Cores) -> Result:
    """Every kind, each with an Interlock of its own."""
    return asyncio.run(_measure(pace, cores))


async def _measure(pace: Pace, cores: Cores) -> Result:
    with ExitStack() as stack:

        def crowd(kind: Kind) -> Crowd:
            rig = stack.enter_context(beside_hostile(cores, options=kind.options))
            # As many connections as will come have been there, so that what stays is not counted.
            rig.bear(Load(call("quick"), 1.0, pace.crowd, connections=pace.crowd))
            return Crowd(kind, rig)

        readers = {name: crowd(kind) for name, kind in READERS.items()}
        senders = {name: crowd(kind) for name, kind in SENDERS.items()}
        for each in readers.values():  # which have long to wait until they are cut
            await each.come(pace.crowd)
        for number in range(pace.rounds):
            for each in senders.values():
                await each.come(pace.crowd)
                await each.go()
            if number == 0:
                for each in readers.values():
                    await each.go()
        return {name: each.told() for name, each in {**senders, **readers}.items()}


def goals(found: Result) -> Iterator[Goal]:
    """What should hold of a result."""
    for name, case in found.items():
        in_time = f"{name}: share cut within a second of {case['deadline_s']:.0f} s"
        yield Goal(f"{name}: p99 of other calls, of that without", case["p99_ratio"], 2)
        yield Goal(f"{name}: other calls not served", case["not_served"], 0)
        yield Goal(in_time, case["in_time"], 0.99, least=True)
        yield Goal(f"{name}: memory for each", case["bytes_each"] / 1024, 64, "KiB")
