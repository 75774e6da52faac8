"""What a server answers means the same to a client whichever way its message went: through the
core's reader of plain answers, or through the relay."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.process import HEADERS, WAIT_S, Sidecar, sidecar, tools_call
from support.recorder import Received, Recorder, answer, recording

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.e2e

RESULT = b'{"jsonrpc":"2.0","id":1,"result":{"content":[]}}'
LIST = b'{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"secret"},{"name":"open"}]}}'
ASKS = b'{"jsonrpc":"2.0","id":7,"method":"sampling/createMessage","params":{}}'
LONG = b'{"jsonrpc":"2.0","id":1,"result":{"text":"%b"}}' % (b"x" * 70_000)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ntransfer-encoding: chunked\r\n\r\n"


def chunked(body: bytes, kind: bytes = b"text/event-stream", *, size: int = 50) -> bytes:
    """A whole answer in chunks."""
    pieces = [body[at : at + size] for at in range(0, len(body), size)] + [b""]
    return HEAD % kind + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


def events(*payloads: bytes, end: bytes = b"\n") -> bytes:
    """A stream with an event for each payload."""
    return b"".join(b"event: message%bdata: %b%b%b" % (end, p, end, end) for p in payloads)


def counted(body: bytes, kind: str) -> bytes:
    """A whole answer of this type with its length."""
    return answer(body).replace(b"application/json", kind.encode())


JSON = b"application/json"
ANSWERS: dict[str, bytes] = {
    "a result": answer(RESULT),
    "a result with fields": answer(RESULT, "cache-control: no-cache", "ETag: x", "date: today"),
    "a result in chunks": chunked(RESULT, JSON),
    "a result in one chunk": chunked(RESULT, JSON, size=999),
    "chunks with extensions": chunked(RESULT, JSON).replace(b"\r\n{", b";a=b\r\n{"),
    "chunks with trailers": chunked(RESULT, JSON)[:-2] + b"set-cookie: a\r\n\r\n",
    "after early hints": b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n" + answer(RESULT),
    "a charset": counted(RESULT, "application/json; charset=UTF-8"),
    "another charset": counted(RESULT, "application/json; charset=utf-16"),
    "another parameter": counted(RESULT, "application/json; profile=x"),
    "no type": answer(RESULT).replace(b"content-type: application/json\r\n", b""),
    "text": counted(RESULT, "text/plain"),
    "a list": answer(LIST),
    "a list in another case": answer(LIST.replace(b'"tools"', b'"Tools"')),
    "a list twice": answer(LIST.replace(b'"result"', b'"result":{},"result"')),
    "a long result": answer(LONG),
    "a long result in chunks": chunked(LONG, JSON, size=30_000),
    "a long result broken off": answer(LONG)[:-9],
    "an error": answer(b'{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"x"}}'),
    "an error of nobody": answer(b'{"jsonrpc":"2.0","error":{"code":-1,"message":"x"}}'),
    "an error with null": answer(b'{"jsonrpc":"2.0","id":null,"error":{"code":-1}}'),
    "an error for another": answer(b'{"jsonrpc":"2.0","id":2,"error":{"code":-1}}'),
    "another id": answer(RESULT.replace(b":1,", b":2,")),
    "an id as text": answer(RESULT.replace(b":1,", b':"1",')),
    "an id in other digits": answer(RESULT.replace(b":1,", b":1.0,")),
    "true for an id": answer(RESULT.replace(b":1,", b":true,")),
    "no id": answer(RESULT.replace(b'"id":1,', b"")),
    "the id twice": answer(RESULT.replace(b'"id":1,', b'"id":1,"id":1,')),
    "half a surrogate": answer(RESULT.replace(b"[]", b'"\\ud83d"')),
    "bytes that are no text": answer(RESULT.replace(b"[]", b'"\xff"')),
    "an array": answer(b"[" + RESULT + b"]"),
    "a number": answer(b"1"),
    "no JSON": answer(b"{"),
    "nothing in it": answer(b""),
    "blanks": answer(b" \n"),
    "a mark": answer(b"\xef\xbb\xbf" + RESULT),
    "events": chunked(events(ASKS, RESULT)),
    "events that are counted": counted(events(ASKS, RESULT), "text/event-stream"),
    "events with CRLF": chunked(events(ASKS, RESULT, end=b"\r\n")),
    "events with CR": chunked(events(RESULT, end=b"\r")),
    "events byte by byte": chunked(events(ASKS, LIST, end=b"\r\n"), size=1),
    "events with a list": chunked(b"id: 1\n: x\n" + events(LIST) + b": bye\n\n"),
    "a list over lines": chunked(events(LIST.replace(b"[{", b"[\ndata:{"))),
    "an event without end": chunked(events(RESULT) + b"data: x"),
    "events without answer": chunked(events(ASKS)),
    "no events": chunked(b""),
    "an ambiguous event": chunked(b"id: 1\xe2\x80\xa8data: x\n\n"),
    "a list that is no JSON": chunked(events(LIST + b"}")),
    "events broken off": chunked(events(ASKS))[:-5],
    "events broken off in one": chunked(events(ASKS) + b"data: x")[:-5],
    "events broken off after the answer": chunked(events(RESULT))[:-5],
    "events with a bad chunk": chunked(events(ASKS))[:-5] + b"zz\r\n",
    "a session": answer(RESULT, "mcp-session-id: s"),
    "an impossible session": answer(RESULT, "mcp-session-id: a b"),
    "two types": answer(RESULT, "content-type: text/event-stream"),
    "a coding": answer(RESULT, "content-encoding: identity"),
    "another coding": answer(RESULT, "content-encoding: br"),
    "length and chunks": answer(RESULT, "transfer-encoding: chunked"),
    "two lengths": answer(RESULT, "content-length: 3"),
    "the length twice": answer(RESULT, f"content-length: {len(RESULT)}"),
    "no length": b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n" + RESULT,
    "HTTP/1.0": answer(RESULT).replace(b"HTTP/1.1", b"HTTP/1.0"),
    "no reason": answer(RESULT).replace(b"200 OK", b"200"),
    "bare line ends": answer(RESULT).replace(b"\r\n", b"\n"),
    "a folded field": answer(RESULT, "x: a\r\n b"),
    "an empty line before": b"\r\n" + answer(RESULT),
    "a control character": answer(RESULT, "etag: a\1b"),
    "eight bits": answer(RESULT, "etag: \xe9"),
    "created": answer(RESULT, status="201 Created"),
    "accepted": answer(b"", status="202 Accepted"),
    "no content": answer(b"", status="204 No"),
    "moved": answer(b"", "location: /x", status="307 Elsewhere"),
    "a challenge": answer(b"", "www-authenticate: Bearer", status="401 No"),
    "not found": answer(RESULT, status="404 Not"),
    "broken": answer(RESULT, status="500 Oh"),
    "half a head": answer(RESULT)[:30],
    "half a body": answer(RESULT)[:-9],
    "no HTTP": b"\0\1garbage\r\n\r\n",
    "nothing": b"",
}
OPEN = {"version": "1", "default": "allow"}
POLICIES: dict[str, dict[str, Any]] = {"open": OPEN, "hiding": {**OPEN, "hide": ["secret"]}}


@dataclass(frozen=True)
class Place:
    server: Recorder
    ways: dict[str, tuple[Sidecar, Sidecar]]
    """By policy: the core's way, and the relay's."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder: Path = tmp_path_factory.mktemp("ways")
    with ExitStack() as stack:
        server = stack.enter_context(recording())
        ways = {}
        for name, policy in POLICIES.items():
            path = folder / f"{name}.json"
            path.write_text(json.dumps(policy))
            arguments = ("--policy", str(path), "--state", "memory", "--upstream", server.url)
            core, relay = (
                stack.enter_context(sidecar(*arguments, *more))
                for more in ((), ("--no-fast-path",))
            )
            ways[name] = core, relay
        yield Place(server, ways)


def once(data: bytes) -> Callable[[Received, socket.socket], bytes]:
    """Send these bytes and end the connection."""

    def answering(request: Received, client: socket.socket) -> bytes:
        client.sendall(data)
        client.shutdown(socket.SHUT_RDWR)
        return b""

    return answering


def got(way: Sidecar, message: dict[str, Any]) -> tuple[int, list[tuple[str, str]], bytes, bool]:
    """Status, fields but for framing, content, and whether that is all of it."""
    connection = http.client.HTTPConnection(way.mcp, timeout=WAIT_S)
    try:
        connection.request("POST", "/mcp", json.dumps(message).encode(), HEADERS)
        response = connection.getresponse()
        framing = ("content-length", "transfer-encoding", "connection")
        fields = [(name.lower(), value) for name, value in response.getheaders()]
        kept = [field for field in fields if field[0] not in framing]
        try:
            return response.status, kept, response.read(), True
        except http.client.IncompleteRead as error:
            return response.status, kept, error.partial, False
    finally:
        connection.close()


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("case", ANSWERS)
def test_an_answer_means_the_same_on_both_ways(place: Place, case: str, policy: str) -> None:
    place.server.answering = once(ANSWERS[case])
    core, relay = (got(way, tools_call("t")) for way in place.ways[policy])
    assert core == relay


@pytest.mark.parametrize("case", ["accepted", "no content", "a result", "broken", "nothing"])
def test_a_notification_is_answered_the_same_on_both_ways(place: Place, case: str) -> None:
    note = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    place.server.answering = once(ANSWERS[case])
    core, relay = (got(way, note) for way in place.ways["open"])
    assert core == relay
