"""The whole sidecar under a mixed load for long, with policies, servers and workers coming and
going.

Two workers, the decision log on. Of the workers one is never killed, so that its memory and its
open files can be watched from the beginning to the end. `soak_verdict` says what must hold.

By itself: `make soak` (ten minutes; SECONDS=3600 for an hour), or
`PYTHONPATH=tests python tests/e2e/soak.py --seconds 60`. Progress goes to standard error; the
figures come last.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from counting import speaking
from processes import INTERLOCK, Sidecar, children, write_policy
from soak_verdict import (
    History,
    Kill,
    balance,
    decided,
    explained,
    files_of,
    read_lines,
    records,
    series,
    steady,
    told,
)
from soaking import Books, Crowd, policies, reply

CLIENTS, IDLE = 24, 64
WORKERS = 2
RELOAD_S = 0.6
UPSTREAM_S = 7.0
KILL_S = 14.0
"""Beyond the ten seconds after which the supervisor replaces a worker at once."""
SAMPLE_S = 1.0
LONG_S = 200.0
"""Bound on every wait; a machine that stands still for minutes meanwhile ends no soak."""
WARM_SHARE, WARM_S = 0.25, 60.0
"""What of the time is not looked at, and how much of that at most."""


class Soak:
    """One soak.

    Args:
        rate: messages a second.
        folder: for the policy, the limits and the log.
    """

    def __init__(self, seconds: float, *, rate: float, folder: Path, progress: bool) -> None:
        self.books, self.history = Books(), History()
        self._seconds, self._rate, self._folder = seconds, rate, folder
        self._progress = progress
        self._policies = policies()
        self._over = asyncio.Event()
        self._awake = asyncio.Lock()
        """Held by who kills, and by who looks whether all is well."""
        self._begun_s = time.monotonic()

    @property
    def log(self) -> Path:
        """Of the decisions."""
        return self._folder / "decisions.jsonl"

    async def run(self) -> dict[str, Any]:
        """Soaks it, and judges; the figures.

        Raises:
            AssertionError: Something did not hold; with all that did not.
        """
        await self._start_server(0)
        options = ("--workers", str(WORKERS), "--state", str(self._folder / "limits.state"))
        options += ("--log", str(self.log))
        (self._folder / "next").mkdir()
        sidecar = await asyncio.to_thread(
            Sidecar, self._folder, next(self._policies), self._upstream, *options
        )
        with sidecar:
            self._sidecar = sidecar
            self._survivor, mortal = children(sidecar.process.pid)
            await self._warm_up()
            starts = [record for record in records(self.log) if record.get("event") == "start"]
            (self._victim,) = (each["worker"] for each in starts if str(each["pid"]) == str(mortal))
            await self._soak()
            metrics = await self._quiet()
            used = {
                each["counter"]: each["used"] for each in json.loads(await self._get("/limits"))
            }
            code = await asyncio.to_thread(sidecar.terminate)
            await self._server.aclose()
        return self._judge(code, metrics, used["all"])

    def _judge(self, code: int, metrics: str, used: int) -> dict[str, Any]:
        books, history, counted = self.books, self.history, decided(metrics)
        lines = read_lines(records(self.log), books, history.kills)
        verified = subprocess.run(
            (*INTERLOCK, "log", "verify", str(self.log)),
            capture_output=True,
            text=True,
            check=False,
        )
        failures = [*balance(books, history, lines, counted), *explained(books, history)]
        failures += steady(history)
        if code:
            failures.append(f"the sidecar ended with exit code {code}")
        if verified.returncode:
            failures.append(f"the log is not whole: {verified.stdout}")
        if 'reloads_total{result="failure"} 0' not in metrics:
            failures.append("a policy was not taken")
        unsure = books.count(1) + books.count(2) + sum(books.codes().values())
        if not books.arrived["free"] <= used <= books.arrived["free"] + unsure:
            failures.append(f"{used} of `free` are charged, {books.arrived['free']} arrived")
        figures = told(books, history, lines, counted)
        figures["log_bytes"] = sum(file.stat().st_size for file in files_of(self.log))
        figures["free_charged"], figures["free_arrived"] = used, books.arrived["free"]
        shown = "\n".join(failures[:20])
        assert not failures, f"{len(failures)} things did not hold:\n{shown}\n{figures}"
        return figures

    # What goes on.

    async def _warm_up(self) -> None:
        """A little of everything, so that what is there afterwards can be compared with it."""
        self._crowd = self._new_crowd()
        await self._until(lambda: self.books.answers > 400)
        await self._quiet()

    async def _soak(self) -> None:
        self._crowd = self._new_crowd()
        strikes = ((RELOAD_S, self._reload), (UPSTREAM_S, self._restart), (KILL_S, self._kill))
        begun_s = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for period_s, strike in strikes:
                group.create_task(self._every(min(period_s, self._seconds / 3), strike))
            group.create_task(self._watch(begun_s + min(WARM_S, WARM_SHARE * self._seconds)))
            await asyncio.wait({group.create_task(self._wait(self._seconds))})
            self._over.set()

    def _new_crowd(self) -> Crowd:
        return Crowd(self._sidecar.url, self.books, clients=CLIENTS, idle=IDLE, rate=self._rate)

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), seconds)

    async def _every(self, period_s: float, strike: Callable[[], Awaitable[None]]) -> None:
        while not self._over.is_set():
            await self._wait(period_s)
            if not self._over.is_set():
                await strike()

    async def _watch(self, warm_s: float) -> None:
        history = self.history
        while not self._over.is_set():
            await self._wait(SAMPLE_S)
            now_s = time.monotonic()
            if now_s >= warm_s:
                history.memory.append((now_s, resident(self._survivor)))
                history.supervisor.append((now_s, resident(self._sidecar.process.pid)))
            if self._progress and round(now_s) % 10 == 0:
                self._say()

    def _say(self) -> None:
        done = f"{len(self.history.kills)} kills, {len(self.history.outages)} restarts"
        size = resident(self._survivor) / 2**20
        print(
            f"{time.monotonic() - self._begun_s:.0f} s: {self.books.answers} answers, {done}, "
            f"{self.history.reloads} reloads, {size:.1f} MiB",
            file=sys.stderr,
            flush=True,
        )

    # What strikes it.

    async def _reload(self) -> None:
        new = write_policy(self._folder / "next", next(self._policies))
        new.rename(self._folder / "policy.json")
        self.history.reloads += 1

    async def _restart(self) -> None:
        begun_s = time.time()
        await self._server.aclose()
        await self._start_server(urlsplit(self._upstream).port or 0)
        self.history.outages.append((begun_s, time.time()))

    async def _kill(self) -> None:
        async with self._awake:
            await self._ready()
            (victim,) = set(children(self._sidecar.process.pid)) - {self._survivor}
            scraped_s = time.time()
            await self._scrape()
            os.kill(victim, signal.SIGKILL)
            self.history.kills.append(Kill(self._victim, scraped_s, time.time()))

    # What it is asked.

    async def _start_server(self, port: int) -> None:
        self._server = contextlib.AsyncExitStack()
        self._upstream = await self._server.enter_async_context(speaking(reply(self.books), port))

    async def _quiet(self) -> str:
        """Notes what is left when nobody is connected to anything; what the metrics are then."""
        await self._crowd.leave()
        async with self._awake:
            await self._ready()
        await self._restart()
        pids = self._survivor, self._sidecar.process.pid
        await self._until(lambda: not any(map(connections, pids)))
        self.history.files.append((open_files(pids[0]), open_files(pids[1])))
        metrics = await self._scrape()
        self.history.series.append(series(metrics))
        return metrics

    async def _ready(self) -> None:
        """Until every worker serves."""
        while True:
            if len(children(self._sidecar.process.pid)) == WORKERS:
                with contextlib.suppress(OSError):
                    await self._get("/readyz")
                    return
            await self._look_again()

    async def _look_again(self) -> None:
        """A moment later: processes do not say when they close a file."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 0.02)

    async def _until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(LONG_S):
            while not holds():
                await self._look_again()

    async def _scrape(self) -> str:
        return await self._get("/metrics")

    async def _get(self, path: str) -> str:
        def get() -> str:
            with urllib.request.urlopen(self._sidecar.admin + path, timeout=LONG_S) as answer:
                text: str = answer.read().decode()
                return text

        return await asyncio.to_thread(get)


def resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    (line,) = (
        line
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmRSS:")
    )
    return 1024 * int(line.split()[1])


def open_files(pid: int) -> int:
    """How many files a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def connections(pid: int) -> int:
    """How many established connections a process has."""
    tables = (Path(f"/proc/{pid}/net/tcp"), Path(f"/proc/{pid}/net/tcp6"))
    rows = [line.split() for table in tables for line in table.read_text().splitlines()[1:]]
    established = {f"socket:[{row[9]}]" for row in rows if row[3] == "01"}
    found = 0
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found += os.readlink(file) in established
    return found


def main() -> None:
    """Soaks from the command line, the figures last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--rate", type=float, default=500, help="messages a second (%(default)s)")
    parser.add_argument("--store", action="store_true", help="put the figures into bench/results")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        soak = Soak(options.seconds, rate=options.rate, folder=Path(folder), progress=True)
        try:
            figures = asyncio.run(soak.run())
        except AssertionError as error:
            raise SystemExit(str(error)) from error
    figures["load_average_at_start"] = round(load, 1)
    if options.store:
        store(figures)
    print(json.dumps(figures, indent=1))


def store(figures: dict[str, Any]) -> None:
    """Puts the figures beside what was measured at the same commit on the same day."""
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from bench import machine
    from bench.__main__ import RESULTS, name, read, write

    about = machine.describe()
    file = RESULTS / name(about)
    write(file, {**read(file), **about, "soak": figures})


if __name__ == "__main__":
    main()
