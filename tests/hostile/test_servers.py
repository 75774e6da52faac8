"""What a server answers can cost it its connection, and never a charge, a second request or a
header of its choice."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.broken import BROKEN, RESULT, WHOLE
from support.process import Sidecar, sidecar, tools_call
from support.recorder import Received, Recorder, answer, plain, recording

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.e2e


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
