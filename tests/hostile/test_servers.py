"""What a server answers can cost it its connection, and never a charge, a second request or a
header of its choice."""

from __future__ import annotations

import json
import socket
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.process import Sidecar, sidecar, tools_call
from support.recorder import Received, Recorder, answer, plain, recording

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.e2e

RESULT = b'{"jsonrpc":"2.0","id":1,"result":{"content":[]}}'
WHOLE = answer(RESULT)
CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
SPACES = zlib.compressobj(wbits=31)
BOMB = SPACES.compress(b" " * (8 << 20)) + SPACES.flush()

BROKEN: dict[str, bytes] = {
    "nothing": b"",
    "no HTTP": b"\0\1garbage\r\n\r\n",
    "half a head": WHOLE[:30],
    "half a body": WHOLE[:-9],
    "chunks without the last": CHUNKED + b"%x\r\n%b\r\n" % (len(RESULT), RESULT),
    "a bad chunk": CHUNKED + b"zz\r\n" + RESULT,
    "length and chunks": answer(RESULT, "transfer-encoding: chunked"),
    "two lengths": answer(RESULT, "content-length: 3"),
    "many heads before": b"HTTP/1.1 103 Early\r\n\r\n" * 20 + WHOLE,
    "another protocol": b"HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n" + RESULT,
    "many fields": answer(RESULT, *(f"x-{n}: y" for n in range(20_000))),
    "a redirect": answer(b"", "location: http://127.0.0.1:9/", status="307 Elsewhere"),
    "a challenge": answer(b"", "www-authenticate: Bearer", status="401 No"),
    "forbidden": answer(b"", status="403 No"),
    "two types": answer(RESULT, "content-type: text/event-stream"),
    "two sessions": answer(RESULT, "mcp-session-id: a", "mcp-session-id: b"),
    "a coding of its own": answer(RESULT, "content-encoding: br"),
    "no gzip for all it says": answer(RESULT, "content-encoding: gzip"),
    "a bomb": answer(BOMB, "content-encoding: gzip"),
    "something behind the gzip": answer(zlib.compress(RESULT) + b"x", "content-encoding: deflate"),
    "another id": answer(RESULT.replace(b":1,", b":2,")),
    "an id of another type": answer(RESULT.replace(b":1,", b':"1",')),
    "true for an id": answer(RESULT.replace(b":1,", b":true,")),
    "accepted": answer(b"", status="202 Accepted"),
    "text": b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\nhi",
}


@dataclass(frozen=True)
class Place:
    sidecar: Sidecar
    server: Recorder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder: Path = tmp_path_factory.mktemp("servers")
    tools = {
        str(number): {"limits": [{"counter": str(number), "window": "day", "max": 1}]}
        for number in range(len(BROKEN))
    }
    policy = {"version": "1", "default": "allow", "hide": ["secret"], "tools": tools}
    (folder / "policy.json").write_text(json.dumps(policy))
    arguments = ("--policy", str(folder / "policy.json"), "--state", "memory")
    with recording() as server, sidecar(*arguments, "--upstream", server.url) as running:
        yield Place(running, server)


def once(data: bytes) -> Callable[[Received, socket.socket], bytes]:
    """Send these bytes and end the connection."""

    def answering(request: Received, client: socket.socket) -> bytes:
        client.sendall(data)
        client.shutdown(socket.SHUT_RDWR)
        return b""

    return answering


@pytest.mark.parametrize("case", BROKEN)
def test_a_call_that_was_sent_is_sent_once_and_stays_charged(place: Place, case: str) -> None:
    before = len(place.server.received)
    place.server.answering = once(BROKEN[case])
    tool = str(list(BROKEN).index(case))
    reply = place.sidecar.post(tools_call(tool))
    assert reply.status == 200
    assert reply.json["result"]["_meta"]["interlock/decision"]["code"].startswith("upstream-")
    place.server.answering = None
    assert place.sidecar.call(tool) == "limit-exceeded"
    assert len(place.server.received) == before + 1


@pytest.mark.parametrize("behind", [b"x", WHOLE, WHOLE.replace(b'"id":1', b'"id":9')])
def test_what_comes_behind_an_answer_meets_no_other_request(place: Place, behind: bytes) -> None:
    place.server.answering = lambda request, client: plain(request) + behind
    for number in range(3):
        reply = place.sidecar.post(tools_call("free", id=number))
        assert reply.json == {"jsonrpc": "2.0", "id": number, "result": {"content": []}}


def test_a_server_chooses_no_field_for_the_client(place: Place) -> None:
    fields = ("set-cookie: a=b", "mcp-session-id: fixed", "location: /x", "x-y: z", "server: s")
    place.server.answering = lambda request, client: answer(RESULT, *fields)
    reply = place.sidecar.post(tools_call("free"))
    assert set(reply.headers) == {"content-type", "content-length"}
