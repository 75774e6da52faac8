"""What many clients, or one that asks for much, cost the others: nothing but their turn.

The figures of `python -m bench.stress`, as far as they hold on any machine: counts, deadlines,
bytes, and times only in proportion to each other.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.load.processes import resident_bytes
from bench.stress import worst
from gateway.downstream.wire import HEAD_TIMEOUT_S
from support.doors import ANSWER_S, NAME, OPEN, Side, looping
from support.raw_server import turns

if TYPE_CHECKING:
    from support.doors import Run

CROWD = 200


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with looping() as runs:
        yield runs


@asynccontextmanager
async def sidecar(folder: Path) -> AsyncIterator[Side]:
    """A sidecar and its server."""
    policy = folder / "policy.json"
    policy.write_bytes(OPEN)
    side = Side(policy, fast=True)
    await side.open()
    try:
        yield side
    finally:
        await side.close()


def call(tool: str) -> bytes:
    """A whole request."""
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool}}
    body = json.dumps(message).encode()
    head = b"POST /mcp HTTP/1.1\r\nhost: %b\r\ncontent-type: application/json\r\n"
    return head % NAME + b"content-length: %d\r\n\r\n" % len(body) + body


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer

    @classmethod
    async def of(cls, side: Side) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", side.port))

    async def ask(self, tool: str) -> dict[str, Any]:
        """Make a call; what was answered."""
        self.writer.write(call(tool))
        return await self.answer()

    async def answer(self) -> dict[str, Any]:
        async with asyncio.timeout(ANSWER_S):
            head = await self._reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().partition(b"content-length: ")[2].split()[0])
            answer: dict[str, Any] = json.loads(await self._reader.readexactly(size))
        return answer

    async def rest(self) -> bytes:
        """All that comes until the other side closes."""
        async with asyncio.timeout(ANSWER_S):
            rest = await self._reader.read()
        self.writer.close()
        return rest


SLOW = {
    "heads": b"POST /mcp HTTP/1.1\r\nx-slow: ",
    "bodies": call("free").partition(b"\r\n\r\n")[0] + b"\r\n\r\n{",
}


async def until(holds: Callable[[], bool]) -> None:
    """Let the event loop turn until something is so."""
    async with asyncio.timeout(ANSWER_S):
        while not holds():
            await turns(1)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the machine does not tell")
@pytest.mark.parametrize("kind", SLOW)
def test_a_crowd_of_slow_senders_is_cut_in_time_and_costs_little(
    run: Run, tmp_path: Path, kind: str
) -> None:
    async def main() -> None:
        async with sidecar(tmp_path) as side:
            assert side.port_of_wires is not None
            wires = side.port_of_wires.wires
            legal = await Client.of(side)
            before = resident_bytes(os.getpid())
            crowd = [await Client.of(side) for _ in range(CROWD)]
            for client in crowd:
                client.writer.write(SLOW[kind])
            await until(lambda: sum(not wire.idle for wire in wires) == CROWD)
            # The clients' own ends are part of it.
            assert resident_bytes(os.getpid()) - before < CROWD * 64 * 1024
            for _ in range(20):
                assert "result" in await legal.ask("free")
            now = asyncio.get_running_loop().time()
            for elapsed_s in (0.0, HEAD_TIMEOUT_S - 0.01):
                for wire in list(wires):
                    wire.check(now + elapsed_s)
            await turns(20)
            assert len(wires) == CROWD + 1
            for wire in list(wires):
                wire.check(now + HEAD_TIMEOUT_S + 0.1)
            for client in crowd:
                assert (await client.rest()).startswith(b"HTTP/1.1 408 ")
            assert len(wires) == 1
            assert "result" in await legal.ask("free")
            legal.writer.close()

    run(main())


def test_one_that_asks_for_ten_times_its_limit_takes_nothing_from_another(
    run: Run, tmp_path: Path
) -> None:
    async def main() -> None:
        async with sidecar(tmp_path) as side:
            noisy, legal = [await Client.of(side) for _ in range(10)], await Client.of(side)
            codes: Counter[str | None] = Counter()
            for _ in range(10):
                for client in noisy:
                    client.writer.write(call("capped"))
                assert "isError" not in (await legal.ask("free"))["result"]
                for client in noisy:
                    meta = (await client.answer())["result"].get("_meta", {})
                    codes[meta.get("interlock/decision", {}).get("code")] += 1
            assert codes == {None: 2, "limit-exceeded": 98}
            bodies = [asked.body for asked in side.server.asked]
            assert sum(b"capped" in body for body in bodies) == 2
            assert len(bodies) == 12
            for client in [*noisy, legal]:
                client.writer.close()

    run(main())


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the machine does not tell")
def test_calls_and_connections_leave_nothing_behind(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with sidecar(tmp_path) as side:

            async def calls(count: int) -> None:
                for _ in range(count // 10):
                    client = await Client.of(side)
                    for number in range(10):
                        await client.ask("denied" if number % 2 else "free")
                    client.writer.close()
                side.server.asked.clear()

            async def resident_after(count: int) -> int:
                await calls(count)
                gc.collect()
                return resident_bytes(os.getpid())

            before = await resident_after(3000)
            # 300 bytes a call would be as much.
            assert await resident_after(3000) - before < 900_000

    run(main())


@pytest.mark.parametrize("kind", worst.EXPRESSIONS)
def test_expressions_take_time_in_proportion_to_what_they_read(kind: str) -> None:
    expression, part = worst.EXPRESSIONS[kind]
    subject = worst.engine(worst.policy(expression, rules=5))

    def least(size: int) -> float:
        body = worst.call(part, size)
        return min(worst.seconds(subject, body) for _ in range(5))

    least(worst.VALUE_BYTES)
    # Eight times as long a value takes eight times as long, and not the square of that.
    assert least(worst.VALUE_BYTES) < 24 * least(worst.VALUE_BYTES // 8) + 1e-3
