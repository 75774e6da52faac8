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
CALL = b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":%s}'
DENIED = CALL.replace(b"%s", b'{"name":"delete","arguments":{}}')
HEADERS = {"content-type": "application/json", "accept": "application/json, text/event-stream"}


def params(text: str) -> bytes:
    return CALL.replace(b"%s", text.encode())


def named(name: str) -> bytes:
    return params('{"name":"%s"}' % name)  # noqa: UP031


def paying(amount: str) -> bytes:
    return params('{"name":"pay","arguments":{"amount":%s}}' % amount)  # noqa: UP031


INPUTS: dict[str, bytes] = {
    "1 a number beyond range": params('{"name":"t","arguments":{"x":1e999}}'),
    "1 a number of 400 digits": params('{"name":"t","arguments":{"x":%s}}' % ("9" * 400)),
    "1 a number that rounds to nothing": params('{"name":"t","arguments":{"x":1e-999}}'),
    "2 two names": params('{"name":"t","name":"delete"}'),
    "2 two names by an escape": params('{"name":"t","na\\u006de":"delete"}'),
    "3 a name in other case": params('{"name":"t","Name":"delete"}'),
    "3 arguments in other case": params('{"name":"t","arguments":{},"Arguments":{}}'),
    "3 a method in other case": DENIED.replace(b'"id"', b'"Method":"ping","id"'),
    "4 an array": b"[" + DENIED + b"]",
    "4 an array of arrays": b"[[" + DENIED + b"]]",
    "5 a negative amount": paying("-1"),
    "5 an amount in quotes": paying('"100"'),
    "5 an amount too fine": paying("0.00001"),
    "5 an amount that is not exact": paying("9007199254740993"),
    "5 no amount": params('{"name":"pay","arguments":{}}'),
    "5 an amount beyond the limit": paying("101"),
    "5 minus nothing": paying("-0"),
    "5 an amount in other case": paying('1,"Amount":101'),
    "5 an amount in other case alone": params('{"name":"pay","arguments":{"AMOUNT":1}}'),
    "10 a Cyrillic letter": named("d\u0435lete"),
    "10 a blank behind": named("delete "),
    "10 a no-break space": named("delete\u00a0"),
    "10 other case": named("Delete"),
    "10 a zero-width space": named("de\u200blete"),
    "10 full width": named("\uff44elete"),
    "10 right to left": named("\u202edelete"),
    "10 hidden": named("secret"),
    "10 hidden in other case": named("SECRET"),
    "10 no name": named(""),
    "10 a long name": named("a" * 10_000),
    "11 a second document": DENIED.replace(b"delete", b"t") + b" " + DENIED,
    "11 a text behind": DENIED.replace(b"delete", b"t") + b"x",
    "12 bytes that are not UTF-8": named("X").replace(b"X", b"delet\xff"),
    "12 an overlong letter": named("X").replace(b"X", b"\xc1\xa4elete"),
    "12 a lone surrogate": named("\\ud800"),
    "12 a surrogate in UTF-8": named("X").replace(b"X", b"\xed\xa0\x80"),
    "12 a byte order mark": b"\xef\xbb\xbf" + named("t"),
    "12 UTF-16": named("t").decode().encode("utf-16-le"),
    "13 a hundred thousand brackets": b"[" * 100_000,
    "13 a hundred thousand brackets inside": params('{"name":"t","arguments":{"x":X}}').replace(
        b"X", b"[" * 100_000
    ),
    "13 sixty-five levels": params(
        '{"name":"t","arguments":{"x":%s%s}}' % ("[" * 65, "]" * 65)  # noqa: UP031
    ),
    "14 a call without an id": DENIED.replace(b'"id":7,', b""),
    "14 a call whose id is null": DENIED.replace(b"7", b"null"),
    "14 a call whose id is a fraction": DENIED.replace(b"7", b"7.0"),
    "14 a call whose id is true": DENIED.replace(b"7", b"true"),
    "14 a call whose id is an object": DENIED.replace(b"7", b"{}"),
    "14 a call whose id is long": DENIED.replace(b"7", b'"%b"' % (b"i" * 10_000)),
    "15 params in an array": CALL.replace(b"%s", b'["delete",{}]'),
    "15 arguments in a string": params('{"name":"t","arguments":"{}"}'),
    "15 arguments null": params('{"name":"t","arguments":null}'),
    "15 a name in an array": params('{"name":["delete"]}'),
    "15 meta in an array": params('{"name":"t","_meta":[]}'),
    "19 an escaped solidus": DENIED.replace(b"tools/call", b"tools\\/call"),
    "19 an escaped letter": DENIED.replace(b"tools/call", b"\\u0074ools/call"),
    "19 a nul": DENIED.replace(b"tools/call", b"tools/call\\u0000"),
    "19 a blank": DENIED.replace(b"tools/call", b"tools/call "),
    "19 a capital": DENIED.replace(b"tools/call", b"tools/Call"),
    "19 two solidi": DENIED.replace(b"tools/call", b"tools//call"),
    "19 a line end": DENIED.replace(b"tools/call", b"tools/call\\n"),
    "20 a request with a result": DENIED.replace(b'"id"', b'"result":{},"id"'),
    "20 another version": DENIED.replace(b"2.0", b"1.0"),
    "20 an unknown member": DENIED.replace(b'"id"', b'"x":1,"id"'),
    "20 nothing": b" ",
    "20 an event": b"data: " + DENIED + b"\n\n",
}

ON_ONE_LINE = {case: data for case, data in INPUTS.items() if b"\n" not in data}
"""Lines of their own; a line of blanks is no input."""

SMUGGLING = {
    "a CR between": b'{"jsonrpc":"2.0","id":7,"method":"ping"}\r' + DENIED,
    "a CR inside": DENIED.replace(b",", b",\r"),
    "a vertical tab between": b'{"jsonrpc":"2.0","id":7,"method":"ping"}\x0b' + DENIED,
    "a form feed between": b'{"jsonrpc":"2.0","id":7,"method":"ping"}\x0c' + DENIED,
    "a line separator between": b'{"jsonrpc":"2.0","id":7,"method":"ping"}\xe2\x80\xa8' + DENIED,
    "a next line between": b'{"jsonrpc":"2.0","id":7,"method":"ping"}\xc2\x85' + DENIED,
    "a NUL between": b'{"jsonrpc":"2.0","id":7,"method":"ping"}\0' + DENIED,
    "a header between": b'{"jsonrpc":"2.0","id":7,"method":"ping"}Content-Length: 9\r\r' + DENIED,
    "a huge line": named("t").replace(b'"t"', b'"t","x":"%b"' % (b"x" * (1 << 20))),
}

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
