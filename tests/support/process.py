"""The sidecar as a real process, and an MCP server for it that answers as a test says."""

from __future__ import annotations

import http.client
import json
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from support.program import INTERLOCK, READY, Program, children, environment
from support.serving import Quiet, serving

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterator

WAIT_S = 20.0
"""Bound on every wait; reached only by a failing test."""
HEADERS = {"content-type": "application/json", "accept": "application/json, text/event-stream"}


def tools_call(tool: str, *, id: int = 1) -> dict[str, Any]:
    """A tools/call of a client that has no session."""
    params = {"name": tool, "arguments": {}}
    return {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}


def until(holds: Callable[[], bool], what: str) -> None:
    """Look again and again, for no longer than the bound."""
    deadline = time.monotonic() + WAIT_S
    pause = threading.Event()
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        pause.wait(0.02)


@dataclass
class Upstream:
    """An MCP server that says yes to every request, when it is let."""

    url: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    """Of each call, names in lower case."""
    arrived: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    """Cleared by a test that wants answers held back."""


@contextmanager
def upstream(port: int = 0) -> Iterator[Upstream]:
    """Serve on a loopback port, a free one by default, until the block ends."""
    state = Upstream()
    state.go_on.set()

    class Handler(Quiet):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.body())
            state.calls.append(body)
            state.headers.append({name.lower(): value for name, value in self.headers.items()})
            state.arrived.set()
            state.go_on.wait(WAIT_S)
            result = {"content": [{"type": "text", "text": "done"}]}
            answer = json.dumps({"jsonrpc": "2.0", "id": body["id"], "result": result}).encode()
            self.answer(answer)

    with serving(Handler, port) as bound:
        state.url = f"http://127.0.0.1:{bound}/mcp"
        try:
            yield state
        finally:
            state.go_on.set()


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def decision(self) -> str:
        """The code of a refused tools/call, or `allowed`."""
        result = self.json["result"]
        if not result.get("isError"):
            return "allowed"
        return str(result["_meta"]["interlock/decision"]["code"])


class Sidecar(Program):
    """A running `interlock run`.

    Attributes:
        mcp: HOST:PORT of its data port.
        admin: HOST:PORT of its admin port, or `none`.
    """

    mcp: str
    admin: str

    def get(self, path: str, **headers: str) -> Answer:
        """Ask the admin port."""
        return request(self.admin, "GET", path, headers=headers)

    def post(self, message: dict[str, Any]) -> Answer:
        """Send a message to the data port."""
        return request(self.mcp, "POST", "/mcp", json.dumps(message).encode(), HEADERS)

    def call(self, tool: str) -> str:
        """Call a tool; the decision's code."""
        return self.post(tools_call(tool)).decision

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self) -> int:
        """Ask it to end; the exit code."""
        return self.terminate()

    def workers(self) -> list[int]:
        """Process ids of its children."""
        return children(self.process.pid)


def request(
    place: str,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    """One request on a connection of its own; `place` is HOST:PORT."""
    connection = http.client.HTTPConnection(place, timeout=WAIT_S)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        fields = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, fields, response.read())
    finally:
        connection.close()


def command(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run `interlock` to its end."""
    return subprocess.run(
        [*INTERLOCK, *arguments],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        env=environment(env),
        check=False,
    )


@contextmanager
def sidecar(*arguments: str, env: dict[str, str] | None = None) -> Iterator[Sidecar]:
    """`interlock run` on free ports, from its ready line to the end of the block."""
    ports = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
    with Sidecar((*INTERLOCK, "run", *ports, *arguments), env=env) as running:
        try:
            ready = running.wait_for_line(READY)
            running.mcp, running.admin = urlsplit(ready["mcp"]).netloc, ready["admin"]
            yield running
        finally:
            running.kill_all()  # what is under way gets no grace
