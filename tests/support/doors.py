"""Two complete sidecars in one process, one of them without the fast path.

Each is before a server of its own that answers from a script. Whatever is said to the one is said
to the other, and all that came of it is compared.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, cast

from gateway import eventloop
from gateway._core import DecisionLog, LimitTable, verify_log
from gateway.app import Gateway
from gateway.server import Listener, bind
from gateway.settings import Address, ServerSettings, Settings
from support.raw_server import Asked, Script, Server, plainly, turns
from support.transcript import Answer, Transcript

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

NAME = b"door.test:80"
"""What `HOST` stands for, for both; `PORT` stands for each one's own port."""
ANSWER_S = 5.0
"""Bound on an answer that must come; reached only by a failing case."""
ENDING_S = 0.5
"""Bound on the end of a connection that was announced."""
SILENCE_S = 0.02
"""How long nothing must happen before a connection is taken to stay as it is."""
_TIMES = re.compile(rb'(?<=;t=)\d+|(?<="retryAfterMs":)\d+|(?<=try again in )[\d.]+')

POLICY: dict[str, Any] = {
    "version": "1",
    "default": "allow",
    "hide": ["secret*", "admin"],
    "tools": {
        "denied": {"action": "deny"},
        "delete": {"action": "deny"},
        "Read": {"action": "deny"},
        "evil": {"action": "deny"},
        "approved": {"action": "require_approval"},
        "needy": {
            "require": [
                {
                    "conditions": [{"path": "args.x", "op": "exists", "value": True}],
                    "on_deny": "x is needed",
                }
            ]
        },
        "capped": {"limits": [{"counter": "capped", "window": "day", "max": 2}]},
        "paid": {
            "limits": [{"counter": "paid", "window": "day", "max": 100, "cost": "args.amount"}]
        },
        "pay": {"limits": [{"counter": "pay", "window": "day", "max": 100, "cost": "args.amount"}]},
        "lone": {"limits": [{"counter": "lone", "algorithm": "concurrency", "max": 1}]},
        "shadowed": {"action": "deny", "mode": "shadow"},
    },
    "methods": {
        "x/denied": {"action": "deny"},
        "x/capped": {"limits": [{"counter": "x", "window": "day", "max": 1}]},
        "notifications/capped": {"limits": [{"counter": "n", "window": "day", "max": 1}]},
    },
}
HIDING = json.dumps(POLICY).encode()
OPEN = json.dumps({**POLICY, "hide": []}).encode()


class _Client(asyncio.Protocol):
    def __init__(self) -> None:
        self.received = bytearray()
        self.end = ""
        self.changed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.changed.set()

    def eof_received(self) -> None:
        self.end = "closed"
        self.changed.set()

    def connection_lost(self, error: Exception | None) -> None:
        # A connection that is closed over unread bytes is reset: for a client it has ended.
        self.end = "closed"
        self.changed.set()


@dataclass(frozen=True)
class Say:
    """What a client sends on one connection before it listens.

    Args:
        pieces: each of them read at the other end before the next one is sent.
        answers: how many final answers are due.
        leaves: ends the connection (`close`), or its own side of it (`half`), once all is sent and
            the server was asked.
    """

    pieces: tuple[bytes, ...]
    answers: int = 1
    leaves: str = ""


Talk = Sequence[Say]
"""What a client says on one connection."""


@dataclass(frozen=True)
class Outcome:
    """All that came of a talk, as far as it must be the same through both doors."""

    answers: tuple[Answer, ...]
    lives: bool
    """Whether the connection served another request after it."""
    asked: tuple[Asked, ...]
    connections: int
    """Opened to the server."""
    counters: tuple[Any, ...]
    errors: dict[str, int]
    in_flight: tuple[int, int]
    sessions: int
    failures: int
    logged: tuple[dict[str, Any], ...]
    """What the decision log says, without times and the chain."""


class Side:
    """One sidecar and its server."""

    def __init__(self, policy: Path, *, fast: bool, **settings: Any) -> None:
        self.fast = fast
        self.policy = policy
        self.settings = settings
        self.server = Server()

    async def open(self) -> None:
        self._serving = await self.server.start()
        one = ServerSettings(
            name="default",
            policy=self.policy,
            url=f"http://127.0.0.1:{self.server.port}/mcp",
            headers={"x-own": "1"},
        )
        settings = Settings(
            servers=(one,),
            listen=Address("127.0.0.1", 0),
            allowed_hosts=(NAME.decode(),),
            allowed_origins=(f"http://{NAME.decode()}",),
            fast_path=self.fast,
            **self.settings,
        )
        sock = bind(settings.listen)
        self.port: int = sock.getsockname()[1]
        settings = replace(settings, listen=Address("127.0.0.1", self.port))
        name = self.policy.parent / f"{'fast' if self.fast else 'slow'}-{id(self)}.jsonl"
        self.log = DecisionLog(str(name))
        self.lines = Lines(name)
        self.gateway = Gateway(settings, table=LimitTable(256), log=self.log)
        self.port_of_wires = self.gateway.fast_path(("127.0.0.1", self.port))
        self.listener = Listener(self.gateway.data, sock, fast=self.port_of_wires)
        await self.listener.start()

    async def close(self) -> None:
        self._serving.close()
        for transport in list(self.server.live):
            transport.abort()
        self.gateway.drain()
        await self.listener.drain(0)
        await self.gateway.aclose(0)
        await turns()
        assert self.log.close(ANSWER_S) == 0
        self.lines.close()
        assert not verify_log(str(self.lines.path))["problems"]

    async def talk(self, talk: Talk) -> tuple[list[Answer], bool]:
        """Say it; the answers, and whether the connection lives on."""
        loop = asyncio.get_running_loop()
        self.server.left.clear()
        self.server.arrived.clear()
        _, client = await loop.create_connection(_Client, "127.0.0.1", self.port)
        own = b"%d" % self.port
        transcript = Transcript()
        for say in talk:
            for piece in say.pieces:
                if client.end:
                    break
                client.transport.write(piece.replace(b"HOST", NAME).replace(b"PORT", own))
                transcript.asked(piece)
                await turns()
            if say.leaves:
                with suppress(TimeoutError):
                    async with asyncio.timeout(ENDING_S):
                        await self.server.arrived.wait()
                await turns(8)
            if say.leaves == "close":
                client.transport.close()
            elif say.leaves == "half":
                client.transport.write_eof()
            if say.leaves:
                await turns(8)
            self.server.left.set()
            await self._listen(client, transcript, say.answers)
        lives = not client.end
        if lives and talk[-1].answers:
            lives = await self._is_alive(client, transcript)
        client.transport.abort()
        await turns()
        return transcript.answers(), lives

    async def _listen(self, client: _Client, transcript: Transcript, answers: int) -> None:
        due = transcript.finals + answers
        try:
            async with asyncio.timeout(ANSWER_S if answers else SILENCE_S):
                while not client.end:
                    transcript.take(client.received)
                    if answers and transcript.finals >= due:
                        break
                    client.changed.clear()
                    await client.changed.wait()
        except TimeoutError:
            pass
        await turns(8)
        transcript.take(client.received)

    async def _is_alive(self, client: _Client, transcript: Transcript) -> bool:
        """Whether another request is answered, or stays so where an answer was to be the last."""
        with suppress(TimeoutError):
            async with asyncio.timeout(ENDING_S):
                while transcript.says_close and not client.end:
                    client.changed.clear()
                    await client.changed.wait()
        if client.end or transcript.partial or transcript.says_close:
            return not client.end and not transcript.partial
        before = len(client.received)
        client.transport.write(b"GET /probe HTTP/1.1\r\nhost: %b\r\n\r\n" % NAME)
        try:
            async with asyncio.timeout(ANSWER_S):
                while len(client.received) == before and not client.end:
                    client.changed.clear()
                    await client.changed.wait()
        except TimeoutError:
            return False
        return bytes(client.received[before:]).startswith(b"HTTP/1.1 404")

    def outcome(self, answers: list[Answer], *, lives: bool) -> Outcome:
        """All that is to be compared, and forget it."""
        routes = self.gateway.routes()
        counters = tuple(
            (
                sorted(route.engine.counters()),
                sorted(route.engine.shadow_counters()),
                [{**usage, "reset_ms": None} for usage in route.engine.usage(route.caller)],
            )
            for route in routes
        )
        found = Outcome(
            tuple(answers),
            lives,
            tuple(self.server.asked),
            self.server.connections,
            counters,
            {why: count for route in routes for why, count in route.upstream_errors.items()},
            (
                self.gateway.data.load.in_flight,  # type: ignore[attr-defined]
                sum(route.in_flight for route in routes),
            ),
            sum(route.sessions for route in routes),
            sum(route.point.failures for route in routes),
            self.lines.since_last(self.log),
        )
        self.server.asked.clear()
        return found


class Lines:
    """Reads a decision log while it is written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("rb")
        self._marks = 0

    def close(self) -> None:
        self._file.close()

    def since_last(self, log: DecisionLog) -> tuple[dict[str, Any], ...]:
        """What both doors must say alike of what happened since this was asked last."""
        self._marks += 1
        log.event("mark", [("number", str(self._marks))])
        deadline = time.monotonic() + ANSWER_S
        found, line = [], b""
        while True:
            assert time.monotonic() < deadline, "the log is not written"
            line += self._file.readline()
            if not line.endswith(b"\n"):
                time.sleep(0)  # lets the writer run
                continue
            record, line = json.loads(line), b""
            if record.get("event") == "mark":
                assert record["number"] == str(self._marks)
                return tuple(found)
            if "event" not in record:
                found.append({k: v for k, v in record.items() if k not in _OF_ITS_OWN})


_OF_ITS_OWN = ("ts", "seq", "decide_us", "duration_ms", "prev", "hash")


class Doors:
    """Both sidecars.

    Args:
        settings: further ones of both.
    """

    def __init__(self, policy: Path, **settings: Any) -> None:
        self.fast = Side(policy, fast=True, **settings)
        self.slow = Side(policy, fast=False, **settings)

    async def open(self) -> None:
        await asyncio.gather(self.fast.open(), self.slow.open())

    async def close(self) -> None:
        await asyncio.gather(self.fast.close(), self.slow.close())

    async def compare(self, *talks: Talk, script: Script = plainly) -> Outcome:
        """Say the same to both, connection after connection; what came of it, from the fast one.

        Raises:
            AssertionError: the doors differ, or something stays in flight.
        """
        outcomes: list[list[Outcome]] = [[], []]
        for talk in talks:
            for side in (self.fast, self.slow):
                side.server.script = script
            both = await asyncio.gather(self.fast.talk(talk), self.slow.talk(talk))
            await self._settle()
            for found, side, (answers, lives) in zip(
                outcomes, (self.fast, self.slow), both, strict=True
            ):
                found.append(side.outcome(answers, lives=lives))
        for fast, slow in zip(*outcomes, strict=True):
            _assert_same(fast, slow)
            assert fast.in_flight == (0, 0)
        return outcomes[0][-1]

    async def _settle(self) -> None:
        """Until nothing is in flight any more."""
        async with asyncio.timeout(ANSWER_S):
            doors = [cast("Any", side.gateway.data) for side in (self.fast, self.slow)]
            while any(door.load.in_flight for door in doors):
                await turns(1)


def _assert_same(fast: Outcome, slow: Outcome) -> None:
    for one, other in zip(fast.answers, slow.answers, strict=False):
        pairs = zip(one.times(_TIMES), other.times(_TIMES), strict=False)
        assert all(abs(a - b) <= (2 if a < 1e6 else 2000) for a, b in pairs), "other times"
    if fast.errors:
        # The fast path does not use a connection again on which an answer came that it cannot pass
        # on; the other judges when the connection has long been given back.
        assert fast.connections >= slow.connections
        slow = replace(slow, connections=fast.connections)
    mine, others = (
        replace(found, answers=tuple(answer.without_times(_TIMES) for answer in found.answers))
        for found in (fast, slow)
    )
    differences = [
        f"{one.name}:\n  fast: {getattr(mine, one.name)}\n  slow: {getattr(others, one.name)}"
        for one in fields(Outcome)
        if getattr(mine, one.name) != getattr(others, one.name)
    ]
    if differences:
        raise AssertionError("\n".join(["the doors differ", *differences]))


@contextmanager
def looping() -> Iterator[Run]:
    """The product's loop, for many cases; what fails in a callback fails the case."""
    with asyncio.Runner(loop_factory=eventloop.factory()) as runner:
        failures: list[dict[str, Any]] = []
        runner.get_loop().set_exception_handler(lambda _, context: failures.append(context))

        def run(case: Coroutine[Any, Any, Any]) -> Any:
            found = runner.run(case)
            assert not failures, failures.pop()
            return found

        yield run


Run = Callable[["Coroutine[Any, Any, Any]"], Any]
