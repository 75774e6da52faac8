"""What goes on beside calls and must not hold them up: scrapers of the metrics, and a decision log
that nobody reads or that has no room on its disk.

    python -m bench.beside                  # two minutes: prints, stores
    python -m bench.beside --only scrapes   # or `log`

Calls come in an open loop. A round without the disturbance comes right before one with it, and what
is told is the ratio of their latencies, the median over the rounds.

INVARIANT: Interlock has a core to itself; callers, scrapers and the server share the other.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import machine, message
from bench.__main__ import RESULTS, name, read, say, write
from bench.load import clients, peers
from bench.load.processes import Process, free_port
from bench.stress.goals import Goal
from bench.stress.rig import Load, Result, Rig, placed
from bench.summary import median

if TYPE_CHECKING:
    from bench.load.path import Cores

TOOLS = 100
SCRAPES_PER_S = 1000
NEVER_READ = 100
"""Scrapers that do not take what they asked for."""
CALL = message.call("tool_99")
REFUSED = '"code":"log-unavailable"'
ROUND_S = 2.5
BEGIN_S = 0.5
"""What goes on beside a round has been going on for so long."""
LITTLE, MUCH = 1 << 16, 64 << 20
"""Bytes of lines that may wait: full in no time, and never."""


class Sidecar:
    """Interlock as it is run, before nginx, with its metrics and its log within reach.

    Args:
        log: how decisions are recorded, as in the configuration; `-` is the pipe.

    Attributes:
        admin: the operators' port.
        reader: the end of the pipe to read from, which nobody does.
    """

    def __init__(self, stack: ExitStack, cores: Cores, log: dict[str, Any]) -> None:
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="beside-")))
        self.folder.chmod(0o755)  # nginx may be another user
        self.cores = cores
        site = peers.Site(free_port(), 0, self.folder, frozenset({cores.load}))
        server = stack.enter_context(peers.echo(site))
        policy, config, pipe = (self.folder / each for each in ("policy", "config.json", "pipe"))
        policy.write_bytes(message.policy(TOOLS))
        port, self.admin = free_port(), free_port()
        document = {
            "version": "1",
            "servers": {
                "default": {"url": f"http://127.0.0.1:{server.port}/mcp", "policy": str(policy)}
            },
            "state": "memory",
            "listen": f"127.0.0.1:{port}",
            "admin": f"127.0.0.1:{self.admin}",
            "log": log,
        }
        config.write_text(json.dumps(document))
        os.mkfifo(pipe)
        self.reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        stack.callback(os.close, self.reader)
        command = ["sh", "-c", 'exec "$@" >"$0"', str(pipe), sys.executable, "-m", "gateway"]
        command += ["run", "--config", str(config)]
        process = stack.enter_context(Process(command, port, {cores.proxy}))
        self.rig = Rig(process, self.folder, cores.load)
        for tool in range(TOOLS):  # so that each has a line in the metrics
            clients.ask(port, message.call(f"tool_{tool}"))


Beside = Callable[[Sidecar], AbstractContextManager[None]]


def compare(sidecar: Sidecar, rounds: int, beside: Beside, quiet: Beside) -> Result:
    """Rounds of calls, each with `quiet` beside them and then with `beside`.

    Returns:
        The rounds, with CPU time of Interlock a second; the median `p50_ratio` and `p99_ratio` of
        all answers; and how many of the disturbed calls were `refused` and `unanswered`.
    """
    pairs = [(one(sidecar, quiet), one(sidecar, beside)) for _ in range(rounds)]
    disturbed = [each for _, each in pairs]
    return {
        "rounds": pairs,
        **{
            f"{name}_ratio": median([latency(b, name) / latency(a, name) for a, b in pairs])
            for name in ("p50", "p99")
        },
        "refused": sum(each["marked"] for each in disturbed),
        "unanswered": sum(each["expected"] - each["answered"] for each in disturbed),
    }


def one(sidecar: Sidecar, beside: Beside) -> Result:
    """A round with something beside it."""
    with beside(sidecar):
        before, begun = sidecar.rig.gateway.cpu_seconds(), time.monotonic()
        found = sidecar.rig.bear(Load(CALL, ROUND_S, mark=REFUSED))
        used = sidecar.rig.gateway.cpu_seconds() - before
        return {**found, "cpu": used / (time.monotonic() - begun)}


def latency(round: Result, name: str) -> float:
    """Of what most calls came to: served, or refused."""
    most = "marked_" if round["marked"] > round["expected"] / 2 else ""
    return float(round[f"{most}{name}_us"])


# What may go on beside calls.


@contextmanager
def nothing(_: Sidecar) -> Iterator[None]:
    """Nothing."""
    yield


@contextmanager
def scraped(sidecar: Sidecar, field: str = "") -> Iterator[None]:
    """A thousand scrapes a second."""
    request = sidecar.folder / "scrape"
    request.write_text(f"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n{field}\r\n")
    command = ["taskset", "--cpu-list", str(sidecar.cores.load), peers.built_c("openloop")]
    command += [str(sidecar.admin), str(request), str(SCRAPES_PER_S), "64", "0", "60"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            time.sleep(BEGIN_S)
            yield
        finally:
            process.kill()


@contextmanager
def never_taken(sidecar: Sidecar) -> Iterator[None]:
    """A hundred scrapers that ask again and again, and read nothing."""
    with ExitStack() as stack:
        for _ in range(NEVER_READ):
            sock = stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", sidecar.admin))
            sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 10)
        time.sleep(BEGIN_S)
        yield


@contextmanager
def pipe_read(sidecar: Sidecar) -> Iterator[None]:
    """Somebody reads the log's pipe."""
    over = threading.Event()

    def take() -> None:
        while not over.is_set():
            if select.select([sidecar.reader], [], [], 0.1)[0]:
                os.read(sidecar.reader, 1 << 20)

    taker = threading.Thread(target=take)
    taker.start()
    try:
        time.sleep(BEGIN_S)
        yield
    finally:
        over.set()
        taker.join()


@contextmanager
def pipe_blocked(sidecar: Sidecar) -> Iterator[None]:
    """Nobody does, and what waits goes on growing, or has no room any more."""
    sidecar.rig.bear(Load(CALL, BEGIN_S, 1000, 32, mark=REFUSED))
    yield


@contextmanager
def disk_full(sidecar: Sidecar) -> Iterator[None]:
    """No file can grow."""
    (pid, *_) = sidecar.rig.gateway.pids()
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        sidecar.rig.bear(Load(CALL, BEGIN_S, 1000, 32, mark=REFUSED))
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


# The parts.

CLOSING = partial(scraped, field="Connection: close\r\n")
SCRAPERS: dict[str, Beside] = {
    f"{SCRAPES_PER_S} scrapes a second": scraped,
    f"{SCRAPES_PER_S} scrapes a second, each on a connection of its own": CLOSING,
    f"{NEVER_READ} scrapers that read nothing": never_taken,
}
LOGS: dict[str, tuple[str, str, int, Beside, Beside]] = {
    "pipe not read, with room": ("-", "deny", MUCH, pipe_blocked, pipe_read),
    "pipe not read, lines left out": ("-", "drop", LITTLE, pipe_blocked, pipe_read),
    "pipe not read, calls refused": ("-", "deny", LITTLE, pipe_blocked, pipe_read),
    "disk full, lines left out": ("log.jsonl", "drop", LITTLE, disk_full, nothing),
    "disk full, calls refused": ("log.jsonl", "deny", LITTLE, disk_full, nothing),
}


def scrapes(rounds: int, cores: Cores) -> Result:
    """Every kind of scraper."""
    with ExitStack() as stack:
        sidecar = Sidecar(stack, cores, {"path": "none"})
        one(sidecar, nothing)  # warms up
        return {
            kind: compare(sidecar, rounds, beside, nothing) for kind, beside in SCRAPERS.items()
        }


def log(rounds: int, cores: Cores) -> Result:
    """Every fault of the log, each with an Interlock of its own."""
    found = {}
    for title, (path, overflow, buffer_bytes, beside, quiet) in LOGS.items():
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="beside-"))
            path = path if path == "-" else str(Path(folder) / path)
            settings = {"path": path, "on_overflow": overflow, "buffer_bytes": buffer_bytes}
            sidecar = Sidecar(stack, cores, settings)
            one(sidecar, quiet)
            found[title] = compare(sidecar, rounds, beside, quiet)
    return found


PARTS: dict[str, tuple[Callable[[int, Cores], Result], float]] = {
    "scrapes": (scrapes, 1.2),
    "log": (log, 2),
}
"""Each with the most that the p99 of calls may be of that without it."""


def main() -> int:
    """Measures, prints, and stores the figures beside those of the same commit and day."""
    parser = argparse.ArgumentParser(prog="python -m bench.beside", description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS)
    parser.add_argument("--rounds", type=int, default=3, help="of each (%(default)s)")
    options, cores = placed(parser)
    about = machine.describe()
    file = RESULTS / name(about)
    result = {**read(file), **about}
    for key in options.only or PARTS:
        measure, most = PARTS[key]
        found = result.setdefault("beside", {})[key] = measure(options.rounds, cores)
        write(file, result)
        for title, case in found.items():
            print(Goal(f"{title}: p99 of calls, of that without", case["p99_ratio"], most))
            print(Goal(f"{title}: calls without an answer", case["unanswered"], 0))
            for round in case["rounds"]:
                print("   ", *(told(each) for each in round), flush=True)
    say(f"stored in {file}")
    return 0


def told(round: Result) -> str:
    """Its latencies and CPU time, for people."""
    p50, p99 = (latency(round, name) / 1e3 for name in ("p50", "p99"))
    share = f"{round['marked']} refused, {round['cpu']:.1%} of a core"
    return f"[p50 {p50:.2f} ms, p99 {p99:.2f} ms, {share}]"


if __name__ == "__main__":
    sys.exit(main())
