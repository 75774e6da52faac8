"""The load: wrk in a closed loop, `bench/openloop` in an open one, and a client that checks.

Rounds are plain dictionaries, since they go into the results as they are.
"""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from bench.load.peers import built_c, find
from bench.load.processes import Process, stolen_seconds
from bench.load.secure import trust

LUA = Path(__file__).with_name("call.lua")
HEAD = (
    b"POST /mcp HTTP/1.1\r\n"
    b"Host: 127.0.0.1:%d\r\n"
    b"Content-Type: application/json\r\n"
    b"Accept: application/json, text/event-stream\r\n"
    b"User-Agent: python-httpx/0.28.1\r\n"
    b"MCP-Protocol-Version: 2025-06-18\r\n"
    b"Content-Length: %d\r\n"
    b"\r\n"
)
Round = dict[str, Any]


def request(port: int, body: bytes) -> bytes:
    """The call as a whole HTTP request."""
    return HEAD % (port, len(body)) + body


def exchange(connection: socket.socket, port: int, body: bytes) -> bytes:
    """Sends one call and reads the body of its answer, which must have a length.

    Raises:
        RuntimeError: the answer is not a 200 with a Content-Length.
    """
    connection.sendall(request(port, body))
    with connection.makefile("rb") as answer:
        status = answer.readline()
        fields = {}
        while (line := answer.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            fields[name.lower()] = value.strip()
        if not status.startswith(b"HTTP/1.1 200") or b"content-length" not in fields:
            raise RuntimeError(f"port {port} answered {status!r}, {fields}")
        return answer.read(int(fields[b"content-length"]))


def connect(port: int, *, tls: bool) -> socket.socket:
    """A connection to a proxy, over TLS if it ends that."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    return trust().wrap_socket(connection, server_hostname="127.0.0.1") if tls else connection


def ask(port: int, body: bytes, *, tls: bool = False) -> bytes:
    """One call on a connection of its own."""
    with connect(port, tls=tls) as connection:
        return exchange(connection, port, body)


@contextmanager
def idle_connections(port: int, count: int, body: bytes, *, tls: bool = False) -> Iterator[None]:
    """Connections that have made one call each and say nothing more."""
    with ExitStack() as stack:
        for _ in range(count):
            connection = stack.enter_context(connect(port, tls=tls))
            exchange(connection, port, body)
        yield


@cache
def counts_instructions() -> bool:
    """Whether `perf` counts instructions on this machine."""
    try:
        command = ["perf", "stat", "-x,", "-e", "instructions", "true"]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        return False
    return done.returncode == 0 and instructions(done.stderr) is not None


def instructions(said: str) -> int | None:
    """The count in what `perf stat -x,` said; None if it could not count."""
    for line in said.splitlines():
        count, *rest = line.split(",")
        if len(rest) > 1 and rest[1].startswith("instructions") and count.isdecimal():
            return int(count)
    return None


def closed_loop(
    proxy: Process,
    bodies: Sequence[bytes],
    folder: Path,
    cpus: Iterable[int],
    *,
    connections: int,
    seconds: int,
    tls: bool = False,
) -> Round:
    """Load a proxy as fast as it answers, and measure what that takes of it.

    Args:
        bodies: sent in turn.
        folder: for files that last as long as the round.
        cpus: cores of the load generator.

    Returns:
        wrk's `requests`, `seconds`, `failed`, `p50_us` and `p99_us`; of the proxy `cpu_us` and
        `instructions` (None where they are not counted) per request and `resident_bytes`; and
        `stolen`, the share of the time that was not the machine's own.
    """
    calls = folder / "calls"
    calls.write_bytes(b"\n".join(bodies) + b"\n")
    command = ["taskset", "--cpu-list", ",".join(map(str, cpus)), find("wrk", "wrk")]
    command += [
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "-s",
        str(LUA),
        f"{'https' if tls else 'http'}://127.0.0.1:{proxy.port}/mcp",
        "--",
        str(calls),
    ]
    counted = folder / "instructions"
    if counts_instructions():
        pids = ",".join(map(str, proxy.pids()))
        perf = ["perf", "stat", "-x,", "-e", "instructions", "-p", pids, "-o", str(counted), "--"]
        command = [*perf, *command]
    cpu_s, stolen_s = proxy.cpu_seconds(), stolen_seconds()
    said = output(command)
    cpu_s, stolen_s = proxy.cpu_seconds() - cpu_s, stolen_seconds() - stolen_s
    found: Round = last_json(said)
    requests = max(found["requests"], 1)
    total = instructions(counted.read_text()) if counts_instructions() else None
    return {
        **found,
        "cpu_us": cpu_s * 1e6 / requests,
        "instructions": total and total / requests,
        "resident_bytes": proxy.resident_bytes(),
        "stolen": stolen_s / found["seconds"],
    }


def open_loop(
    port: int, body: bytes, folder: Path, cpu: int, *, rate: float, connections: int, seconds: int
) -> Round:
    """Requests at a fixed rate; latencies from when each was due.

    Returns:
        `expected`, `answered`, `failed`, and `p50_us`, `p99_us`, `p99_9_us` and `max_us`.
    """
    path = folder / "request"
    path.write_bytes(request(port, body))
    command = ["taskset", "--cpu-list", str(cpu), built_c("openloop"), str(port), str(path)]
    command += [f"{rate:g}", str(connections), f"{min(1.0, seconds / 4):g}", str(seconds)]
    return last_json(output(command))


def output(command: Sequence[str]) -> str:
    """What a load generator says.

    Raises:
        RuntimeError: it failed; with what it complained of.
    """
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"`{command}` failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def last_json(said: str) -> Round:
    """What a load generator said in its last line."""
    found: Round = json.loads(said.strip().splitlines()[-1])
    return found
