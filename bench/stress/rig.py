"""A server, Interlock before it, and the loads that all goals here are measured with.

INVARIANT: a ratio is of two rounds that ran one after the other, the quiet one first.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import message
from bench.load import clients, peers
from bench.load.path import Cores
from bench.load.processes import Process, allow_many_files, free_port
from bench.summary import median

Result = dict[str, Any]
OVERLOADED = '"code":"overloaded"'
ALLOW_ALL = message.encode({"default": "allow", "tools": {}})
HOSTILE = b"/mcp/hostile"
LEGAL_RATE = 300.0
LEGAL_CONNECTIONS = 8


def placed(parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, Cores]:
    """What the command line says, and who runs where; this process, with all it starts, on the core
    of the load, and with as many files as it may have.

    Args:
        parser: gets the options that name the cores, too.
    """
    parser.add_argument("--gateway-cpu", type=int, default=0, help="its core (%(default)s)")
    parser.add_argument("--load-cpu", type=int, default=1, help="of all else (%(default)s)")
    options = parser.parse_args()
    allow_many_files()
    cores = Cores(options.gateway_cpu, options.load_cpu)
    os.sched_setaffinity(0, {cores.load})
    return options, cores


@dataclass(frozen=True)
class Pace:
    """How much is done.

    Attributes:
        rounds: of each figure that is a median.
        seconds: of a round.
        calls: over which memory is watched.
        crowd: slow clients at once.
    """

    rounds: int
    seconds: float
    calls: int
    crowd: int


@dataclass(frozen=True)
class Load:
    """Calls at a fixed rate, whatever comes of them; see `bench/openloop`.

    Attributes:
        rate: calls a second.
        seconds: that count, after `warm` ones that do not.
        mark: answers that hold it are counted by themselves.
        fields: further header lines.
    """

    body: bytes
    seconds: float
    rate: float = LEGAL_RATE
    connections: int = LEGAL_CONNECTIONS
    warm: float = 0.5
    mark: str = OVERLOADED
    fields: bytes = b""


@dataclass(frozen=True)
class Rig:
    """What runs.

    Attributes:
        gateway: Interlock.
        folder: for files.
        load_cpu: core of the load generators and of the servers.
        path: where the server is that does what it should.
    """

    gateway: Process
    folder: Path
    load_cpu: int
    path: bytes = b"/mcp"

    @contextmanager
    def under(self, load: Load) -> Iterator[Callable[[], Result]]:
        """Load it beside something else: call what is given to wait for the result.

        Raises:
            RuntimeError: the load generator failed.
        """
        port = self.gateway.port
        with tempfile.NamedTemporaryFile(dir=self.folder) as file:
            file.write(request(port, load.body, load.fields, self.path))
            file.flush()
            command = ["taskset", "--cpu-list", str(self.load_cpu), peers.built_c("openloop")]
            command += [str(port), file.name, f"{load.rate:g}", str(load.connections)]
            command += [f"{load.warm:g}", f"{load.seconds:g}", load.mark]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:

                def finish() -> Result:
                    said, _ = process.communicate()
                    if process.returncode:
                        raise RuntimeError(f"`{command}` failed")
                    return clients.last_json(said)

                yield finish

    def bear(self, load: Load) -> Result:
        """Load it, and wait for the result."""
        with self.under(load) as finish:
            return finish()

    def most(self, body: bytes, *, connections: int, seconds: int) -> Result:
        """Calls as fast as they are answered; see `bench.load.clients.closed_loop`."""
        return clients.closed_loop(
            self.gateway,
            [body],
            self.folder,
            [self.load_cpu],
            connections=connections,
            seconds=seconds,
        )


def request(port: int, body: bytes, fields: bytes = b"", path: bytes = b"/mcp") -> bytes:
    """A call as a whole HTTP request, with further header lines."""
    head, _, rest = clients.request(port, body).partition(b"\r\n")
    return head.replace(b"/mcp", path, 1) + b"\r\n" + fields + rest


@contextmanager
def running(
    cores: Cores,
    policy: bytes = ALLOW_ALL,
    *,
    server: Sequence[str] | None = (),
    options: Sequence[str] = (),
) -> Iterator[Rig]:
    """Start a server and Interlock before it, and end both.

    Args:
        server: options of `bench.stress.server`; None for nginx instead.
        options: of `bench.stress.gateway`.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stress-")))
        folder.chmod(0o755)  # nginx may be another user
        behind = _nginx(stack, folder, cores) if server is None else _server(stack, cores, server)
        gateway = _gateway(stack, folder, cores, policy, ["--upstream", str(behind), *options])
        yield Rig(gateway, folder, cores.load)


@contextmanager
def beside_hostile(
    cores: Cores,
    policy: bytes = ALLOW_ALL,
    *,
    server: Sequence[str] = (),
    options: Sequence[str] = (),
) -> Iterator[Rig]:
    """The same with two servers: nginx at `Rig.path`, and one that is hostile at `HOSTILE`."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stress-")))
        folder.chmod(0o755)
        ports = _nginx(stack, folder, cores), _server(stack, cores, server)
        options = ["--upstream", str(ports[0]), "--hostile", str(ports[1]), *options]
        gateway = _gateway(stack, folder, cores, policy, options)
        yield Rig(gateway, folder, cores.load, b"/mcp/default")


def _nginx(stack: ExitStack, folder: Path, cores: Cores) -> int:
    site = peers.Site(free_port(), 0, folder, frozenset({cores.load}))
    return stack.enter_context(peers.echo(site)).port


def _server(stack: ExitStack, cores: Cores, options: Sequence[str]) -> int:
    port = free_port()
    command = [sys.executable, "-m", "bench.stress.server", "--port", str(port)]
    return stack.enter_context(Process([*command, *options], port, {cores.load})).port


def _gateway(
    stack: ExitStack, folder: Path, cores: Cores, policy: bytes, options: Sequence[str]
) -> Process:
    file = folder / "policy.json"
    file.write_bytes(policy)
    port = free_port()
    command = [sys.executable, "-m", "bench.stress.gateway", "--policy", str(file)]
    command += ["--port", str(port), *options]
    return stack.enter_context(Process(command, port, {cores.proxy}))


@dataclass
class Pairs:
    """Rounds that were quiet, and those beside which something went on."""

    quiet: list[Result] = field(default_factory=list)
    disturbed: list[Result] = field(default_factory=list)

    def add(self, quiet: Result, disturbed: Result) -> None:
        """One round of each."""
        self.quiet.append(quiet)
        self.disturbed.append(disturbed)

    def told(self) -> Result:
        """For the result: all rounds; `p50_ratio` and `p99_ratio`, medians of what the latency was
        of that in the quiet round; and how many calls were `not_served`."""
        pairs = list(zip(self.quiet, self.disturbed, strict=True))
        return {
            "quiet": self.quiet,
            "disturbed": self.disturbed,
            **{
                f"{name}_ratio": median([b[f"{name}_us"] / a[f"{name}_us"] for a, b in pairs])
                for name in ("p50", "p99")
            },
            "not_served": sum(
                each["expected"] - each["answered"] + each["marked"] + each["failed"]
                for each in self.disturbed
            ),
        }


def call(tool: str) -> bytes:
    """The call of this tool."""
    return message.call(tool)
