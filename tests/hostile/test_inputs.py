"""The inputs that every door must refuse, over HTTP, behind a stdio server, and over `wrap`.

Each is tried where the policy would let everything through but one tool, so that whatever passes
was taken for something else.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.inputs import INPUTS, ON_ONE_LINE, SMUGGLING, paying
from support.process import request, sidecar
from support.recorder import recording

pytestmark = pytest.mark.e2e

POLICY = {
    "version": "1",
    "default": "allow",
    "hide": ["secret"],
    "tools": {
        "delete": {"action": "deny"},
        "Read": {"action": "deny"},
        "pay": {
            "limits": [{"counter": "paid", "window": "day", "max": 100, "cost": "args.amount"}]
        },
    },
}
HEADERS = {"content-type": "application/json", "accept": "application/json, text/event-stream"}


SERVER = """
import json, sys
seen = open(sys.argv[1], "ab", buffering=0)
for line in sys.stdin.buffer:
    seen.write(line)
    message = json.loads(line)
    if "id" in message and "method" in message:
        result = {"protocolVersion": "2025-06-18", "capabilities": {}, "content": [],
                  "serverInfo": {"name": "s", "version": "1"}}
        answer = {"jsonrpc": "2.0", "id": message["id"], "result": result}
        sys.stdout.write(json.dumps(answer) + "\\n")
        sys.stdout.flush()
"""
PING = b'{"jsonrpc":"2.0","id":"barrier","method":"ping"}'
INITIALIZE = json.dumps(
    {
        "jsonrpc": "2.0",
        "id": 0,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "c", "version": "1"},
        },
    }
).encode()


@dataclass
class Door:
    """A way in, and what came out at the other end."""

    ask: Callable[[bytes], None]
    seen: Callable[[], list[bytes]]

    def __call__(self, data: bytes) -> list[bytes]:
        """What the server was sent for this input."""
        before = len(self.seen())
        self.ask(data)
        self.ask(PING)
        *found, last = self.seen()[before:]
        assert last == PING
        return found


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "policy.json").write_text(json.dumps(POLICY))
    (folder / "server.py").write_text(SERVER)
    return folder


@pytest.fixture(scope="module")
def over_http(files: Path) -> Iterator[Door]:
    arguments = ("--policy", str(files / "policy.json"), "--state", "memory")
    with recording() as server, sidecar(*arguments, "--upstream", server.url) as running:

        def ask(data: bytes) -> None:
            assert request(running.mcp, "POST", "/mcp", data, HEADERS).status < 500

        yield Door(ask, lambda: server.bodies)


@pytest.fixture(scope="module")
def before_stdio(files: Path) -> Iterator[Door]:
    seen = files / "before_stdio"
    command = (sys.executable, str(files / "server.py"), str(seen))
    arguments = ("--policy", str(files / "policy.json"), "--state", "memory")
    with sidecar(*arguments, "--", *command) as running:
        opened = request(running.mcp, "POST", "/mcp", INITIALIZE, HEADERS)
        fields = {**HEADERS, "mcp-session-id": opened.headers["mcp-session-id"]}

        def ask(data: bytes) -> None:
            assert request(running.mcp, "POST", "/mcp", data, fields).status < 500

        yield Door(ask, lambda: seen.read_bytes().splitlines())


@contextmanager
def wrapped(files: Path, seen: Path) -> Iterator[Door]:
    command = (sys.executable, str(files / "server.py"), str(seen))
    policy = str(files / "policy.json")
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "gateway", "wrap", "--policy", policy, "--state", "memory"),
            *("--", *command),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        answers = process.stdout
        guard = threading.Timer(30, process.kill)
        guard.start()

        def ask(data: bytes) -> None:
            assert process.stdin is not None
            process.stdin.write(data + b"\n")
            process.stdin.flush()
            if data == PING:
                while json.loads(answers.readline()).get("id") != "barrier":
                    pass

        try:
            yield Door(ask, lambda: seen.read_bytes().split(b"\n")[:-1] if seen.exists() else [])
        finally:
            guard.cancel()
            process.kill()


@pytest.fixture(scope="module")
def over_wrap(files: Path) -> Iterator[Door]:
    with wrapped(files, files / "over_wrap") as door:
        yield door


@pytest.mark.parametrize("case", INPUTS)
def test_over_http(over_http: Door, case: str) -> None:
    assert over_http(INPUTS[case]) == []


@pytest.mark.parametrize("case", INPUTS)
def test_before_a_stdio_server(before_stdio: Door, case: str) -> None:
    assert before_stdio(INPUTS[case]) == []


@pytest.mark.parametrize("case", ON_ONE_LINE)
def test_over_wrap(over_wrap: Door, case: str) -> None:
    assert over_wrap(INPUTS[case]) == []


@pytest.mark.parametrize("case", SMUGGLING)
@pytest.mark.parametrize("door", ["over_http", "before_stdio", "over_wrap"])
def test_no_line_hides_in_another(request: pytest.FixtureRequest, door: str, case: str) -> None:
    assert request.getfixturevalue(door)(SMUGGLING[case]) == []


@pytest.mark.parametrize("door", ["over_http", "before_stdio", "over_wrap"])
def test_a_lawful_call_passes_as_it_is(request: pytest.FixtureRequest, door: str) -> None:
    lawful = paying("0.5")
    assert request.getfixturevalue(door)(lawful) == [lawful]
    folded = lawful.replace(b",", b",\r")
    passed = request.getfixturevalue(door)(folded)
    assert passed == [folded if door == "over_http" else folded.replace(b"\r", b" ")]
