"""The SDK's client and server with the sidecar between, over HTTP; and bytes that are not quite
HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp.client.client import Client
from mcp.types import ElicitResult

from support.process import HEADERS, Sidecar, request, sidecar, tools_call, upstream

pytestmark = pytest.mark.e2e

TESTS = Path(__file__).parents[1]
POLICY = {
    "version": "1",
    "default": "allow",
    "hide": ["die"],
    "tools": {
        "shut": {"action": "deny"},
        "pid": {"limits": [{"counter": "pids", "window": "day", "max": 2}]},
    },
}
LIMIT_S = 30.0


@pytest.fixture(scope="module", params=[(), ("--no-fast-path",)], ids=["fast", "asgi"])
def door(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The options by which each way in is had."""
    options: tuple[str, ...] = request.param
    return options


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(POLICY))
    return path


@contextmanager
def sdk_server() -> Iterator[str]:
    """The SDK's server in a process of its own; its URL."""
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    with subprocess.Popen(
        [sys.executable, str(TESTS / "support" / "sdk_http_main.py")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    ) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/mcp"
        finally:
            process.kill()


@asynccontextmanager
async def connected(
    policy: Path, mode: str, door: tuple[str, ...], **callbacks: Any
) -> AsyncIterator[Client]:
    arguments = ("--policy", str(policy), "--state", "memory", *door)
    with sdk_server() as url, sidecar(*arguments, "--upstream", url) as it:
        async with Client(f"http://{it.mcp}/mcp", mode=mode, **callbacks) as client:
            yield client


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_the_sdk_at_both_ends(mode: str, policy: Path, door: tuple[str, ...]) -> None:
    async def answers(*_: object) -> ElicitResult:
        return ElicitResult(action="accept", content={"name": "Ada"})

    async def main() -> None:
        async with (
            asyncio.timeout(LIMIT_S),
            connected(policy, mode, door, elicitation_callback=answers) as client,
        ):
            assert (client.session.protocol_version >= "2026") is (mode == "auto")
            names = {tool.name for tool in (await client.list_tools()).tools}
            assert "greet" in names
            assert "die" not in names
            assert text(await client.call_tool("greet", {"name": "Bo"})) == "hello Bo"
            for tool, code in (("shut", "tool-denied"), ("die", "hidden")):
                refused = await client.call_tool(tool, {})
                assert refused.is_error
                assert (refused.meta or {})["interlock/decision"]["code"] == code
            limited = [(await client.call_tool("pid", {})).is_error for _ in range(3)]
            assert limited == [False, False, True]
            assert len(text(await client.call_tool("picture", {"size": 300_000}))) == 300_000
            seen: list[float] = []

            async def progress(done: float, *_: object) -> None:
                seen.append(done)

            steps = await client.call_tool("steps", {"count": 3}, progress_callback=progress)
            assert text(steps) == "done"
            assert seen == [0, 1, 2]
            if mode == "legacy":
                assert text(await client.call_tool("ask", {})) == "hello Ada"
            async with asyncio.TaskGroup() as group:
                for name in ("a", "b", "c"):
                    group.create_task(client.call_tool("greet", {"name": name}))

    asyncio.run(main())


def text(result: Any) -> str:
    return str(result.content[0].text)


CALL = json.dumps(tools_call("t")).encode()
HEAD = (
    b"POST /mcp HTTP/1.1\r\nHost: %(host)s\r\n"
    b"Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"
)
LENGTH = b"Content-Length: %d\r\n" % len(CALL)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(CALL), CALL)
END = b"\r\n"

WIRE = {
    "plain": (HEAD + LENGTH + END + CALL, 200, True),
    "chunked": (HEAD + CHUNKED + END + CHUNKS, 200, True),
    "twice": ((HEAD + LENGTH + END + CALL) * 2, 200, True),
    "trailer": (
        HEAD + CHUNKED + END + CHUNKS[:-2] + b"Mcp-Name: other\r\nAuthorization: x\r\n\r\n",
        200,
        True,
    ),
    "length and chunks": (HEAD + LENGTH + CHUNKED + END + CHUNKS, 400, False),
    "chunks and length": (HEAD + CHUNKED + b"Content-Length: 4\r\n" + END + CHUNKS, 400, False),
    "chunks in 1.0": (HEAD.replace(b"1.1", b"1.0") + CHUNKED + END + CHUNKS, 400, False),
    "gzip, chunked": (HEAD + b"Transfer-Encoding: gzip, chunked\r\n" + END + CHUNKS, 501, False),
    "two lengths": (HEAD + LENGTH + b"Content-Length: 4\r\n" + END + CALL, 400, False),
    "version": (HEAD.replace(b"1.1", b"1.7") + LENGTH + END + CALL, 400, False),
    "two hosts": (HEAD + b"Host: evil\r\n" + LENGTH + END + CALL, 400, False),
    "foreign host": (HEAD.replace(b"%(host)s", b"evil") + LENGTH + END + CALL, 403, False),
    "no host": (HEAD.replace(b"Host: %(host)s\r\n", b"") + LENGTH + END + CALL, 400, False),
    "prior knowledge": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, False),
    "absolute": (HEAD.replace(b" /mcp", b" http://%(host)s/mcp") + LENGTH + END + CALL, 404, False),
    "encoded": (HEAD.replace(b" /mcp", b" /%%6dcp") + LENGTH + END + CALL, 404, False),
    "get with body": (HEAD.replace(b"POST", b"GET") + LENGTH + END + CALL, 400, False),
    "lower-case header value": (HEAD + b"X-A: a\x00b\r\n" + LENGTH + END + CALL, 400, False),
}


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, door: tuple[str, ...]
) -> Iterator[tuple[Sidecar, Any]]:
    path = tmp_path_factory.mktemp("wire") / "policy.json"
    path.write_text(json.dumps({"version": "1", "default": "allow"}))
    arguments = ("--policy", str(path), "--state", "memory", *door)
    with upstream() as server, sidecar(*arguments, "--upstream", server.url) as it:
        yield it, server


@pytest.mark.parametrize("name", WIRE)
def test_what_can_be_read_in_two_ways_reaches_no_server(
    name: str, running: tuple[Sidecar, Any]
) -> None:
    it, server = running
    data, status, passes = WIRE[name]
    server.calls.clear()
    data = data.replace(b"%(host)s", it.mcp.encode()).replace(b"%%", b"%")
    answers = exchange(it.mcp, data, closes=not passes, count=data.count(b"POST /mcp"))
    assert int(answers[0].split(b" ", 2)[1]) == status
    wanted = [json.loads(CALL)] * data.count(b"POST /mcp") if passes else []
    assert server.calls == wanted
    assert request(it.mcp, "POST", "/mcp", CALL, HEADERS).status == 200


def exchange(place: str, data: bytes, *, closes: bool, count: int) -> list[bytes]:
    """Send raw bytes; the heads of the answers, one to each request, or one and then the end."""
    host, _, port = place.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=LIMIT_S) as connection:
        connection.sendall(data)
        received = b""
        wanted = 1 if closes else count
        while received.count(b'"jsonrpc"') < wanted and (piece := connection.recv(65536)):
            received += piece
    return [head for head in received.split(b"HTTP/1.1")[1:] if head]
