"""What a request takes of each proxy, by kind of request: closed loop, in rounds that take turns.

INVARIANT: the proxies of a scenario are loaded one after the other within each round, in an order
that rotates, so that what the machine does meanwhile falls on all of them.
"""

from __future__ import annotations

import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import message
from bench.load import peers
from bench.load.clients import Round, ask, closed_loop, idle_connections
from bench.load.peers import Missing, Peer, Site
from bench.load.processes import Process, free_port

POLICY = message.policy(100)
ALLOWED = message.call("tool_99")
REFUSED = message.call(message.REFUSED_TOOL)
LARGE = message.call("tool_99", 100_000)
WARM_S = 1


@dataclass(frozen=True)
class Cores:
    """Who runs where: the proxy alone on the first, load and servers on the second."""

    proxy: int = 0
    load: int = 1

    def of(self, name: str) -> frozenset[int]:
        """Those of a proxy; several workers may have both."""
        return frozenset({self.proxy, self.load} if "workers" in name else {self.proxy})


@dataclass(frozen=True)
class Scenario:
    """One kind of load.

    Attributes:
        title: what the table over its results says.
        bodies: sent in turn.
        connections: kept busy.
        idle: further connections that have made a call and stay open.
        tls: the proxies end it.
        streams: the server answers with events, and figures are per event.
        proxies: makes those that take part.
    """

    title: str
    bodies: Sequence[bytes] = (ALLOWED,)
    connections: int = 32
    idle: int = 0
    tls: bool = False
    streams: bool = False
    proxies: Callable[[bytes], Mapping[str, Peer]] = field(default=peers.peers)


SCENARIOS = {
    "allowed": Scenario("A call that is allowed"),
    "refused": Scenario("A call that is refused (others proxy it)", [REFUSED]),
    "mixed": Scenario("One call in ten is refused (others proxy all)", [REFUSED, *[ALLOWED] * 9]),
    "stream": Scenario("A stream of events, per event", streams=True),
    "large": Scenario("A call of 100 kB", [LARGE]),
    "idle": Scenario("A call, beside 1,000 idle connections", idle=1_000),
    "tls": Scenario("A call over TLS", tls=True, proxies=peers.secured),
    "workers": Scenario("A call, with one worker and with two", proxies=peers.pairs),
}


@contextmanager
def running(
    proxies: Mapping[str, Peer], server: Peer, cores: Cores
) -> Iterator[tuple[Process, dict[str, Process], dict[str, str]]]:
    """The server and all proxies before it, and why some could not be started.

    Raises:
        Missing: nginx, with which all are compared, is not there.
    """
    with ExitStack() as stack:
        behind = start(stack, server, 0, frozenset({cores.load}))
        started, missing = {}, {}
        for name, made in proxies.items():
            try:
                started[name] = start(stack, made, behind.port, cores.of(name))
            except Missing as error:
                if name == "nginx":
                    raise
                missing[name] = str(error)
        yield behind, started, missing


def start(stack: ExitStack, made: Peer, upstream: int, cpus: frozenset[int]) -> Process:
    """A server or a proxy on a port and in a folder of its own, until the stack ends.

    Raises:
        Missing: its program is not there.
    """
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
    folder.chmod(0o755)  # nginx's workers may be another user
    return stack.enter_context(made(Site(free_port(), upstream, folder, cpus)))


def turns(names: Sequence[str], rounds: int) -> Iterator[str]:
    """Each name once a round, beginning with another one each time."""
    for shift in range(rounds):
        first = shift % len(names)
        yield from [*names[first:], *names[:first]]


def measure(scenario: Scenario, cores: Cores, *, rounds: int, seconds: int) -> dict[str, Any]:
    """All rounds of a scenario.

    Returns:
        `title`, `missing`, and `proxies`: by name `ready_s` and the `rounds`, see `closed_loop`.

    Raises:
        Missing: a program without which nothing can be compared is not there.
        RuntimeError: a proxy does not answer as it should.
    """
    server = peers.streamer if scenario.streams else peers.echo
    with (
        running(scenario.proxies(POLICY), server, cores) as (behind, proxies, missing),
        ExitStack() as stack,
    ):
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))

        def load(name: str, for_s: int) -> Round:
            before = events(behind) if scenario.streams else 0
            found = closed_loop(
                proxies[name],
                scenario.bodies,
                folder,
                [cores.load],
                connections=scenario.connections,
                seconds=for_s,
                tls=scenario.tls,
            )
            if scenario.streams:
                found = per_event(found, events(behind) - before)
            return found

        for name, proxy in proxies.items():
            if not scenario.streams:
                check(name, proxy.port, scenario.bodies, tls=scenario.tls)
            idle = idle_connections(proxy.port, scenario.idle, scenario.bodies[0], tls=scenario.tls)
            stack.enter_context(idle)
            load(name, WARM_S)
        measured: dict[str, list[Round]] = {name: [] for name in proxies}
        for name in turns(list(proxies), rounds):
            measured[name].append(load(name, seconds))
        return {
            "title": scenario.title,
            "missing": missing,
            "proxies": {
                name: {"ready_s": proxies[name].ready_s, "rounds": found}
                for name, found in measured.items()
            },
        }


def check(name: str, port: int, bodies: Sequence[bytes], *, tls: bool = False) -> None:
    """See that each call is answered as this proxy should.

    Raises:
        RuntimeError: it is not.
    """
    for body in set(bodies):
        answer = ask(port, body, tls=tls)
        refused = body == REFUSED and name.startswith("interlock")
        if (b"default-deny" in answer) if refused else (answer == peers.ANSWER.encode()):
            continue
        raise RuntimeError(f"`{name}` answered {answer[:500]!r}")


def events(server: Process) -> int:
    """How many events the server has sent so far."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/", timeout=10) as answer:
        return int(answer.read())


def per_event(found: Round, count: int) -> Round:
    """A round whose costs are of an event instead of a request.

    Args:
        count: events that the server sent in that round.
    """
    share = found["requests"] / max(count, 1)
    counted = found["instructions"]
    return {
        **found,
        "events": count,
        "cpu_us": found["cpu_us"] * share,
        "instructions": counted and counted * share,
    }
