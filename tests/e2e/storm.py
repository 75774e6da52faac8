"""The whole sidecar in a storm, with the server's own record as the judge.

Workers are killed, stopped and replaced, everything is restarted, policies are reloaded, and a
crowd calls all the while. A call is charged somewhere between its sending and its arrival at the
server. So a call whose sending and arrival lie in one window was surely charged there, and of these
no window may have more than the quota. A call that straddles a boundary is counted in no window;
the figures say how many there were.

What happens, and in which order, follows from the seed; when, from how many answers there were.
Nothing waits for a length of time. By itself:
`PYTHONPATH=tests python tests/e2e/storm.py --seed 7 --events 200`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from counting import call_of, code_of, post, read_message, serving
from processes import PATIENCE_S, Sidecar, children, write_policy

SECOND_NS = 1_000_000_000
MARGIN_NS = SECOND_NS // 50
"""What the sidecar's clock, which does not step, may differ from ours."""

CLIENTS = 24


@dataclass(frozen=True)
class Quota:
    """A limit as the policy has it, and how to judge it from outside.

    Attributes:
        limit: The policy's limit, without its counter and `max`.
        most: The largest `max` that any version of the policy gives it.
        window_ns: Its window; none for a month, in which the whole storm lies.
        aligned: Windows are the calendar's; else any interval of that length is one.
    """

    limit: dict[str, Any]
    most: int
    window_ns: int | None
    aligned: bool = True


QUOTAS = {
    "fixed": Quota({"window": "2s"}, 20, 2 * SECOND_NS),
    "sliding": Quota({"window": "7s", "algorithm": "sliding_window"}, 30, 7 * SECOND_NS, False),
    "bucket": Quota(
        {"window": "5s", "algorithm": "token_bucket", "burst": 6}, 20, 5 * SECOND_NS, False
    ),
    "month": Quota({"window": "month"}, 400, None),
}


def policy(rng: random.Random) -> dict[str, Any]:
    """A version of the policy: a `max` is the largest or half of it, a bucket's stays."""
    tools = {}
    for name, quota in QUOTAS.items():
        halves = name not in ("bucket", "month") and rng.random() < 0.3
        most = quota.most // 2 if halves else quota.most
        tools[name] = {"limits": [{"counter": name, "max": most, **quota.limit}]}
    return {"default": "deny", "tools": tools}


@dataclass
class Call:
    """A call: when it was sent, and when the server had it."""

    tool: str
    sent_ns: int
    arrived_ns: list[int] = field(default_factory=list)


class Storm:
    """One storm, from its seed.

    Attributes:
        calls: Every call that was sent, by its number.
        codes: How often each tool had each code.
        lost: How many calls of each tool ended without an answer.
        done: What was done to the sidecar.
    """

    def __init__(self, seed: int, *, events: int, workers: int, folder: Path) -> None:
        self.calls: list[Call] = []
        self.codes: dict[str, Counter[str]] = defaultdict(Counter)
        self.lost: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self._rng = random.Random(seed)
        self._events = events
        self._workers = workers
        self._folder = folder
        self._answers = 0
        self._answered = asyncio.Condition()
        self._open = asyncio.Event()
        self._over = False
        self._sidecar: Sidecar | None = None

    async def run(self, progress: bool = False) -> None:
        """Lets it rage for its events, and ends everything."""
        async with serving(self._arrived) as upstream, contextlib.AsyncExitStack() as stack:
            await self._start(upstream)
            stack.callback(self._end)
            crowd = [asyncio.create_task(self._client(number)) for number in range(CLIENTS)]
            for event in range(self._events):
                await self._more_answers(self._rng.randrange(40, 160))
                await self._strike(upstream)
                if progress:
                    print(f"{event + 1} of {self._events}: {dict(self.done)}", file=sys.stderr)
            await self._more_answers(200)
            self._over = True
            for client in crowd:
                client.cancel()
            await asyncio.gather(*crowd, return_exceptions=True)

    # What strikes it.

    async def _strike(self, upstream: str) -> None:
        assert self._sidecar is not None
        workers = children(self._sidecar.process.pid)
        kinds = ["kill", "stop", "reload", "crash", "restart"]
        kind = self._rng.choices(kinds, weights=[10, 4, 4, 2, 1])[0]
        self.done[kind] += 1
        if kind == "kill" and workers:
            self._signal(self._rng.choice(workers), signal.SIGKILL)
        elif kind == "stop" and workers:
            stopped = self._rng.choice(workers)
            self._signal(stopped, signal.SIGSTOP)
            await self._more_answers(60, bound_s=2)
            if self._rng.random() < 0.3:
                self._signal(stopped, signal.SIGKILL)
            self._signal(stopped, signal.SIGCONT)
        elif kind == "reload":
            new = write_policy(self._folder / "next", policy(self._rng))
            new.rename(self._folder / "policy.json")
        elif kind in ("crash", "restart"):
            self._open.clear()
            sidecar = self._sidecar
            if kind == "crash":
                await asyncio.to_thread(sidecar.kill_all)
            else:
                await asyncio.to_thread(sidecar.terminate)
            self._end()
            await self._start(upstream)

    @staticmethod
    def _signal(pid: int, what: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, what)

    async def _start(self, upstream: str) -> None:
        state = str(self._folder / "limits.state")
        options = ("--workers", str(self._workers), "--state", state)
        document = policy(self._rng)
        (self._folder / "next").mkdir(exist_ok=True)
        self._sidecar = await asyncio.to_thread(Sidecar, self._folder, document, upstream, *options)
        self._open.set()

    def _end(self) -> None:
        if self._sidecar is not None:
            self._sidecar.__exit__(None, None, None)
            self._sidecar = None

    async def _more_answers(self, number: int, *, bound_s: float = PATIENCE_S) -> None:
        """Returns after so many more answers, or when the bound is over."""
        goal = self._answers + number

        async def enough() -> None:
            async with self._answered:
                await self._answered.wait_for(lambda: self._answers >= goal)

        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(enough(), bound_s)

    # Clients and the server.

    async def _client(self, number: int) -> None:
        rng = random.Random(number)
        while not self._over:
            await self._open.wait()
            if self._sidecar is None:
                await asyncio.sleep(0)
                continue
            where = urlsplit(self._sidecar.url)
            try:
                reader, writer = await asyncio.open_connection(where.hostname, where.port)
            except ConnectionError:
                await asyncio.sleep(0)
                continue
            with contextlib.closing(writer):
                while await self._call(rng.choice(list(QUOTAS)), where.netloc, reader, writer):
                    pass

    async def _call(
        self, tool: str, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        request = post(host, call_of(tool, len(self.calls)))
        self.calls.append(Call(tool, time.time_ns()))
        writer.write(request)
        message = await read_message(reader)
        if message is None:
            self.lost[tool] += 1
            return False
        self.codes[tool][code_of(message[1])] += 1
        async with self._answered:
            self._answers += 1
            self._answered.notify_all()
        return True

    def _arrived(self, body: bytes) -> bytes:
        """The server's answer to a call, once it is written down."""
        number = json.loads(body)["id"]
        self.calls[number].arrived_ns.append(time.time_ns())
        result = {"resultType": "complete", "content": []}
        return json.dumps({"jsonrpc": "2.0", "id": number, "result": result}).encode()


@dataclass
class Verdict:
    """What the server's record says of a storm.

    Attributes:
        arrived: Calls that reached the server, by tool.
        fullest: The most that surely fell into one window, by tool.
        windows: Windows that were looked at.
        straddling: Arrived calls that were in no window for sure.
    """

    arrived: Counter[str] = field(default_factory=Counter)
    fullest: Counter[str] = field(default_factory=Counter)
    windows: int = 0
    straddling: int = 0


def judge(calls: list[Call]) -> Verdict:
    """Counts every window of every quota.

    Raises:
        AssertionError: A call came twice, or a window has more than its quota.
    """
    verdict = Verdict()
    spans: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for number, call in enumerate(calls):
        assert len(call.arrived_ns) <= 1, f"call {number} reached the server twice"
        for arrived in call.arrived_ns:
            verdict.arrived[call.tool] += 1
            spans[call.tool].append((call.sent_ns - MARGIN_NS, arrived + MARGIN_NS))
    for tool, quota in QUOTAS.items():
        width = quota.window_ns
        sure: Counter[int] = Counter()
        if width is None:
            sure[0] = len(spans[tool])
        elif quota.aligned:
            for first, last in spans[tool]:
                if first // width == last // width:
                    sure[first // width] += 1
                else:
                    verdict.straddling += 1
        else:
            # The fullest interval, if any, begins where a call does.
            for begin, _ in spans[tool]:
                inside = [last for first, last in spans[tool] if first >= begin]
                sure[begin] = sum(last < begin + width for last in inside)
        verdict.windows += len(sure)
        verdict.fullest[tool] = max(sure.values(), default=0)
        assert verdict.fullest[tool] <= quota.most, (
            f"{tool}: {verdict.fullest[tool]} calls in a window for {quota.most}"
        )
    return verdict


async def weather(seed: int, folder: Path, *, events: int, workers: int, progress: bool) -> str:
    """Runs a storm and judges it; the figure.

    Raises:
        AssertionError: The sidecar let a call too many through, or lost more than was under way.
    """
    storm = Storm(seed, events=events, workers=workers, folder=folder)
    await storm.run(progress)
    verdict = judge(storm.calls)
    for tool in QUOTAS:
        refused = storm.codes[tool]["limit-exceeded"]
        assert refused > 0, f"{tool} was never exhausted, so nothing was shown"
        # A sidecar that is told to end says so, and one whose worker stands still may be busy.
        unknown = set(storm.codes[tool]) - {"allowed", "limit-exceeded", "draining", "contended"}
        assert not unknown, f"{tool}: {unknown}"
    short = QUOTAS["month"].most - verdict.arrived["month"]
    assert short <= storm.lost["month"], f"{short} units are gone, {storm.lost['month']} were lost"
    return (
        f"seed {seed}: {len(storm.calls)} calls, {sum(verdict.arrived.values())} reached the "
        f"server, {sum(storm.lost.values())} lost; {dict(storm.done)}; {verdict.windows} windows, "
        f"none over its quota "
        f"(fullest {dict(verdict.fullest)}, {verdict.straddling} calls straddle a boundary); "
        f"{short} of the month's {QUOTAS['month'].most} wasted"
    )


def main() -> None:
    """Runs storms from the command line, the figure last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--events", type=int, default=120)
    parser.add_argument("--workers", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        storm = weather(
            options.seed,
            Path(folder),
            events=options.events,
            workers=options.workers,
            progress=True,
        )
        try:
            print(asyncio.run(storm))
        except AssertionError as error:
            command = f"python tests/e2e/storm.py --seed {options.seed} --events {options.events}"
            command = f"PYTHONPATH=tests {command} --workers {options.workers}"
            raise SystemExit(f"{error}\nreplay: {command}") from error


if __name__ == "__main__":
    main()
