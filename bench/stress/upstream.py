"""A server that does its worst to one call, and what becomes of memory and of others' calls."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from subprocess import PIPE
from typing import TYPE_CHECKING

from bench import message
from bench.load import clients
from bench.stress.goals import Goal
from bench.stress.rig import (
    ALLOW_ALL,
    HOSTILE,
    Load,
    Pace,
    Pairs,
    Result,
    Rig,
    beside_hostile,
    call,
    request,
)
from bench.stress.server import step_back

if TYPE_CHECKING:
    from bench.load.path import Cores

TITLE = "Hostile servers"
HIDING = message.encode({"default": "allow", "tools": {}, "hide": ["hidden"]})
CAP_BYTES = 4 << 20
"""The longest document or event that is held for a call."""
CALLERS = 4
"""Calls of hostile tools that are under way at any time."""
SAMPLE_S = 0.05
MIB = 1 << 20
QUICK = "quick"
"""Is answered as it should be."""
ATTACKS: dict[str, Sequence[str]] = {
    "answers of a gigabyte": ("gigabyte", "gigabyte-in-chunks"),
    "events without end": ("endless-event", "endless-events"),
    "a byte at a time": ("drip",),
    "heads without end": ("fields", "head", "informational"),
    "broken answers": (
        "garbage",
        "bad-chunk",
        "twice",
    ),
}
"""Tools of `bench.stress.server` that are called in turn."""
WAYS = {"": ALLOW_ALL, ", lists filtered": HIDING}


def measure(pace: Pace, cores: Cores) -> Result:
    """Every attack, while answers pass unread and while lists are filtered."""
    found: Result = {}
    for way, policy in WAYS.items():
        with beside_hostile(cores, policy, server=["--step-back"]) as rig:
            rig.bear(Load(call(QUICK), 1.0))
            for name, tools in ATTACKS.items():
                rounds = 1 if way else pace.rounds
                found[name + way] = attacked(rig, tools, pace.seconds / 2, rounds)
    return found


def attacked(rig: Rig, tools: Sequence[str], seconds: float, rounds: int) -> Result:
    """Rounds without hostile calls and with them.

    Returns:
        `Pairs.told` of the other calls; `growth`, the most resident memory beyond what was before;
        how the hostile calls `ended`, by tool.
    """
    pairs, growth = Pairs(), 0
    ended: Counter[str] = Counter()
    legal = Load(call(QUICK), seconds)
    for _ in range(rounds):
        quiet, before = rig.bear(legal), rig.gateway.resident_bytes()
        with calling(rig, tools) as finish, rig.under(legal) as bear:
            with watching(rig) as most:
                pairs.add(quiet, bear())
            growth = max(growth, most() - before)
            ended.update(finish())
    return {"growth": growth, "ended": dict(sorted(ended.items())), **pairs.told()}


@contextmanager
def calling(rig: Rig, tools: Sequence[str]) -> Iterator[Callable[[], dict[str, int]]]:
    """Make hostile calls, in a process of its own that gets what the loads leave of their core,
    until what is given is called: it tells how they ended."""
    command = ["taskset", "--cpu-list", str(rig.load_cpu), sys.executable, "-m"]
    command += ["bench.stress.upstream", str(rig.gateway.port), *tools]
    with subprocess.Popen(
        command, stdin=PIPE, stdout=PIPE, text=True, start_new_session=True
    ) as process:

        def finish() -> dict[str, int]:
            said, _ = process.communicate()
            return clients.last_json(said)

        yield finish


@contextmanager
def watching(rig: Rig) -> Iterator[Callable[[], int]]:
    """Sample Interlock's resident memory; what is given tells the most of it."""
    over = threading.Event()
    samples = [rig.gateway.resident_bytes()]

    def watch() -> None:
        while not over.wait(SAMPLE_S):
            samples.append(rig.gateway.resident_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lambda: max(samples)
    finally:
        over.set()
        watcher.join()


async def attack(port: int, tools: Sequence[str]) -> Counter[str]:
    """Hostile calls until standard input ends, and how they ended."""
    over = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, over.set)
    ended: Counter[str] = Counter()

    async def caller(first: int) -> None:
        for tool in islice(cycle(tools), first, None):
            if over.is_set():
                return
            ended[f"{tool}: {await one(port, tool, over)}"] += 1

    await asyncio.gather(*map(caller, range(CALLERS)))
    return ended


async def one(port: int, tool: str, over: asyncio.Event) -> str:
    """One hostile call, read to its end or until it is over; how it ended, in a word."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request(port, call(tool), path=HOSTILE))
        reading = asyncio.create_task(answer(reader))
        waiting = asyncio.create_task(over.wait())
        await asyncio.wait([reading, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if reading.done():
            return reading.result()
        reading.cancel()
        return "under way"
    finally:
        writer.transport.abort()


async def answer(reader: asyncio.StreamReader) -> str:
    """Reads an answer: its status and code, or how it broke off."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        status = head.split()[1].decode()
        if b"content-length: " not in head:
            while await reader.read(1 << 18):
                pass
            return f"{status}, broken off"
        left = int(head.partition(b"content-length: ")[2].split()[0])
        begin = b""
        while left:
            piece = await reader.read(min(left, 1 << 18))
            if not piece:
                return f"{status}, broken off"
            begin = begin or piece[:2000]
            left -= len(piece)
        code = begin.partition(b'"code":"')[2].partition(b'"')[0].decode()
        return f"{status} {code or 'whole'}"
    except (OSError, asyncio.IncompleteReadError):
        return "closed"


def goals(found: Result) -> Iterator[Goal]:
    """What should hold of a result."""
    bound = CALLERS * 2 * CAP_BYTES / MIB
    for name, case in found.items():
        title = f"server with {name}"
        yield Goal(f"{title}: p99 of other calls, of that without", case["p99_ratio"], 2)
        yield Goal(f"{title}: other calls not served", case["not_served"], 0)
        yield Goal(f"{title}: memory of {CALLERS} calls", case["growth"] / MIB, bound, "MiB")


def main() -> None:
    """Be the hostile calls; see `calling`."""
    step_back()
    port, *tools = sys.argv[1:]
    print(json.dumps(asyncio.run(attack(int(port), tools))))


if __name__ == "__main__":
    main()
