"""Asking servers for their tools, however they behave."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.author.asking import MAX_TOOLS, Outcome, ask, ask_all
from gateway.author.targets import ScanError, Target
from support.raw_server import Asked, Script, Server, document, plainly

SERVER = str(Path(__file__).parents[1] / "support" / "asked_server.py")


def target(how: str, *more: str, name: str = "") -> Target:
    return Target(name, command=(sys.executable, SERVER, how, *more))


def names(how: str) -> list[str]:
    return [tool.name for tool in asyncio.run(ask(target(how))).tools]


def why_not(to: Target, timeout_s: float = 60.0) -> str:
    with pytest.raises(ScanError) as error:
        asyncio.run(ask(to, timeout_s=timeout_s))
    return str(error.value)


@pytest.mark.parametrize("how", ["legacy", "modern", "banner", "asks"])
def test_a_server_of_either_era_tells_its_tools(how: str) -> None:
    assert names(how) == ["get_x"]


def test_all_pages_are_asked_for() -> None:
    assert names("pages") == [f"get_{n}" for n in range(5)]


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("garbage", "it answers no MCP: it wrote a line that is not JSON"),
        ("circle", "its list of tools does not end"),
        ("endless", "its list of tools does not end"),
        ("many", f"it lists more than {MAX_TOOLS:,} tools"),
        ("twice", "it answers no MCP: two of its tools are named `get`"),
        ("nameless", "it answers no MCP: a tool in its list has no name"),
        ("listless", "it answers no MCP: its answer to `tools/list` has no tools"),
        ("refuses", "it answers with an error: no database"),
        ("neither", "it answers with an error: speak 2026-07-28 to me"),
    ],
)
def test_what_is_wrong_with_a_server_is_said(how: str, why: str) -> None:
    assert why_not(target(how)) == why


def test_a_server_that_ends_is_quoted_without_the_secret_it_was_given() -> None:
    assert why_not(target("dies", "geheim-7")) == (
        "it ended without an answer; it said: cannot reach the database with …"
    )


def test_a_server_that_cannot_be_started_is_named() -> None:
    why = why_not(Target("x", command=("no-such-program", "--key=geheim")))
    assert why == "`no-such-program` cannot be started: no such file or directory"


def test_a_silent_server_gets_the_time_it_is_given() -> None:
    assert why_not(target("silent"), 0.3) == "it did not tell its tools within 0.3 s"


def test_a_server_is_called_as_it_was_found_or_as_it_calls_itself_in_plain_text() -> None:
    assert asyncio.run(ask(target("legacy", name="mine"))).server == "mine"
    assert asyncio.run(ask(target("legacy"))).server == "asked\\x1b[31m"


def test_one_that_fails_takes_no_other_with_it_and_order_stays() -> None:
    told: list[Outcome] = []
    asked = [target("legacy", name="a"), target("garbage", name="b"), target("pages", name="c")]
    outcomes = asyncio.run(ask_all(asked, told=told.append))
    assert [outcome.target.name for outcome in outcomes] == ["a", "b", "c"]
    assert [outcome.problem is None for outcome in outcomes] == [True, False, True]
    assert {outcome.target.name for outcome in told} == {"a", "b", "c"}


def over_http(script: Script, **more: Any) -> tuple[Any, list[Asked]]:
    """What asking a scripted HTTP server comes to, and what it was asked."""
    server = Server(script)

    async def main() -> Any:
        listening = await server.start()
        to = Target("h", url=f"http://127.0.0.1:{server.port}/mcp", **more)
        try:
            return await ask(to, timeout_s=20.0)
        except ScanError as error:
            return str(error)
        finally:
            listening.close()

    return asyncio.run(main()), server.asked


TOOLS = {"tools": [{"name": "get_x", "inputSchema": {}}]}


def listing(asked: Asked) -> Any:
    message = json.loads(asked.body) if asked.body else {}
    if message.get("method") == "tools/list":
        return [document({"jsonrpc": "2.0", "id": message["id"], "result": TOOLS})]
    return plainly(asked)


def test_an_http_server_of_the_handshake_era() -> None:
    found, seen = over_http(listing, headers={"Authorization": "Bearer geheim"})
    assert [tool.name for tool in found.tools] == ["get_x"]
    hello, ready, asked, bye = seen
    assert b"initialize" in hello.body
    assert b"notifications/initialized" in ready.body
    assert (b"authorization", b"Bearer geheim") in hello.fields
    assert (b"mcp-session-id", b"session-1") in asked.fields
    assert (b"mcp-protocol-version", b"2025-11-25") in asked.fields
    assert bye.line.startswith(b"DELETE ")


def test_an_http_server_of_the_stateless_era() -> None:
    def modern(asked: Asked) -> Any:
        message = json.loads(asked.body)
        if message["method"] == "initialize":
            return [b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"]
        fields = dict(asked.fields)
        assert fields[b"mcp-protocol-version"] == b"2026-07-28"
        assert fields[b"mcp-method"] == message["method"].encode()
        return listing(asked)

    found, _ = over_http(modern)
    assert [tool.name for tool in found.tools] == ["get_x"]


def test_an_answer_may_be_an_event_stream() -> None:
    def events(asked: Asked) -> Any:
        message = json.loads(asked.body) if asked.body else {}
        if message.get("method") != "tools/list":
            return plainly(asked)
        note = json.dumps({"jsonrpc": "2.0", "method": "notifications/message", "params": {}})
        answer = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": TOOLS})
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
        return [head, f"data: {note}\n\ndata: {answer}\n\n".encode(), "wait"]

    found, _ = over_http(events)
    assert [tool.name for tool in found.tools] == ["get_x"]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n", "it asks for credentials"),
        (b"HTTP/1.1 405 No\r\ncontent-length: 0\r\n\r\n", "HTTP+SSE"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>", "it is not JSON"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", "no response to the request"),
        (b'HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{"a":1,"a":1}', "a key is there twice"),
        (b"nonsense\r\n\r\n", "not HTTP"),
    ],
)
def test_what_is_wrong_with_an_http_server_is_said(answer: bytes, why: str) -> None:
    told, _ = over_http(lambda _: [answer])
    assert why in told


def test_an_answer_without_an_end_is_not_held() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99999999\r\n\r\n"
    told, _ = over_http(lambda _: [head, b" " * (9 << 20), "wait"])
    assert told == "its answer is too long"


def test_a_url_with_credentials_is_refused_without_being_repeated() -> None:
    why = why_not(Target("x", url="http://ann:geheim@127.0.0.1:1/mcp"))
    assert "credentials" in why
    assert "geheim" not in why
