"""SIGTERM under load loses no answer, and no more connections than there are files leaves those
that are open alone."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.process import Sidecar, request, sidecar, tools_call, until, upstream

pytestmark = pytest.mark.e2e

CLIENTS = 32
ANSWERS = 1_000
"""At least so many calls are answered before it is told to stop."""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps({"version": "1", "default": "deny", "tools": {"open": {}}}))
    return path


class Crowd:
    """Clients that call as fast as they are answered, and heed `Connection: close`."""

    def __init__(self, place: str) -> None:
        self.host, _, port = place.rpartition(":")
        self.port = int(port)
        self.sent = self.answered = self.served = 0
        self.enough = asyncio.Event()
        body = json.dumps(tools_call("open"))
        head = f"POST /mcp HTTP/1.1\r\nhost: {place}\r\ncontent-type: application/json\r\n"
        accept = "accept: application/json, text/event-stream\r\n"
        self.request = f"{head}{accept}content-length: {len(body)}\r\n\r\n{body}".encode()

    async def client(self) -> None:
        """Until nobody accepts connections any more."""
        while True:
            try:
                reader, writer = await asyncio.open_connection(self.host, self.port)
            except ConnectionError:  # nothing was asked
                return
            try:
                while await self._ask(reader, writer):
                    pass
            finally:
                writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One call; whether the connection stays."""
        self.sent += 1
        writer.write(self.request)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
            body = await reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return False  # lost, as `sent` and `answered` tell
        self.answered += 1
        self.served += b'"done"' in body
        if self.answered == ANSWERS:
            self.enough.set()
        return b"connection: close" not in head


@pytest.mark.parametrize("options", [(), ("--no-fast-path",), ("--workers", "2")])
def test_sigterm_under_load_loses_no_answer(policy: Path, options: tuple[str, ...]) -> None:
    async def main(it: Sidecar) -> Crowd:
        crowd = Crowd(it.mcp)
        clients = [asyncio.create_task(crowd.client()) for _ in range(CLIENTS)]
        async with asyncio.timeout(40):
            await crowd.enough.wait()
            it.signal(signal.SIGTERM)
            await asyncio.gather(*clients)
        return crowd

    with (
        upstream() as server,
        sidecar(
            *("--policy", str(policy), "--upstream", server.url, "--log", "none", *options)
        ) as it,
    ):
        crowd = asyncio.run(main(it))
        assert it.wait() == 0
        assert crowd.sent == crowd.answered >= ANSWERS
        # Who comes last may be told that it drains.
        assert crowd.served == len(server.calls) >= ANSWERS


@contextmanager
def few_files(process: int, more: int) -> Iterator[None]:
    """Until the end of the block a process may open only so many files more."""
    before = resource.prlimit(process, resource.RLIMIT_NOFILE)
    most = max(map(int, os.listdir(f"/proc/{process}/fd"))) + 1 + more
    resource.prlimit(process, resource.RLIMIT_NOFILE, (most, before[1]))
    try:
        yield
    finally:
        resource.prlimit(process, resource.RLIMIT_NOFILE, before)


def cpu_s(process: int) -> float:
    """Processor time that a process has taken."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture(params=["uvloop", "asyncio"])
def loop(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """Variables of a sidecar that finds this event loop, and no better one."""
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
        return {}
    (tmp_path / "uvloop.py").write_text("raise ImportError")
    others = os.environ.get("PYTHONPATH", "")
    return {"PYTHONPATH": os.pathsep.join([str(tmp_path), *others.split(os.pathsep)]).rstrip(":")}


def test_without_files_for_connections_it_serves_those_it_has_and_does_not_spin(
    policy: Path, loop: dict[str, str]
) -> None:
    with (
        upstream() as server,
        sidecar(
            *("--policy", str(policy), "--upstream", server.url, "--log", "none"), env=loop
        ) as it,
    ):
        assert it.get("/version").json["loop"] == ("asyncio" if loop else "uvloop")
        host, _, port = it.mcp.rpartition(":")
        crowd = Crowd(it.mcp)
        with socket.create_connection((host, int(port)), 10) as known:

            def call() -> bytes:
                known.sendall(crowd.request)
                return known.recv(65536)

            assert call().startswith(b"HTTP/1.1 200")
            pid = it.process.pid
            with few_files(pid, 2):
                waiting = [socket.create_connection((host, int(port)), 10) for _ in range(20)]
                assert call().startswith(b"HTTP/1.1 200"), "who was there is served"
                before, began = cpu_s(pid), time.monotonic()
                until(lambda: time.monotonic() - began > 2, "two seconds")
                share = (cpu_s(pid) - before) / (time.monotonic() - began)
                assert share < 0.05, f"it spins: {share:.0%} of a processor"
                assert it.output.count("\n") < 100, "it says so again and again"
                assert call().startswith(b"HTTP/1.1 200")
                for connection in waiting:
                    connection.close()
            body = json.dumps(tools_call("open")).encode()
            headers = {
                "content-type": "application/json",
                "accept": "application/json, text/event-stream",
            }
            answer = request(it.mcp, "POST", "/mcp", body, headers)
            assert answer.decision == "allowed", "it recovers"
        assert it.stop() == 0
