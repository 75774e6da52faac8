"""Bytes that two readers could take for different requests: what the server sees is what was
decided, framed anew."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from support.framing import GOOD, PASSED, REFUSED, UNFINISHED, WHOLE
from support.process import Sidecar, sidecar
from support.recorder import Recorder, recording, talk

pytestmark = pytest.mark.e2e

POLICY = {"version": "1", "default": "allow", "tools": {"evil": {"action": "deny"}}}


@dataclass(frozen=True)
class Place:
    sidecar: Sidecar
    server: Recorder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    policy = tmp_path_factory.mktemp("framing") / "policy.json"
    policy.write_text(json.dumps(POLICY))
    arguments = ("--policy", str(policy), "--state", "memory")
    with recording() as server, sidecar(*arguments, "--upstream", server.url) as running:
        yield Place(running, server)


OURS = {"host", "content-length", "accept-encoding", "content-type"}


def send(place: Place, data: bytes, answers: int) -> tuple[list[int], list[bytes]]:
    """The statuses that came back, and the bodies that the server saw by then."""
    before = len(place.server.received)
    statuses = talk(place.sidecar.mcp, data.replace(b"HOST", place.sidecar.mcp.encode()), answers)
    # What is still on its way would come before this one.
    assert talk(place.sidecar.mcp, WHOLE.replace(b"HOST", place.sidecar.mcp.encode()), 1) == [200]
    seen = place.server.received[before:]
    assert seen.pop().body == GOOD
    for each in seen:
        names = [name for name, _ in each.fields]
        assert len(names) == len(set(names))
        fields = dict(each.fields)
        assert int(fields["content-length"]) == len(each.body)
        assert fields["host"] == f"127.0.0.1:{place.server.port}"
        assert all(name in OURS or name.startswith("mcp-") for name in names)
        assert each.head.startswith(b"POST /mcp HTTP/1.1\r\n")
    return statuses, [each.body for each in seen]


@pytest.mark.parametrize("case", REFUSED)
def test_what_could_be_read_in_two_ways_reaches_nobody(place: Place, case: str) -> None:
    data, statuses = REFUSED[case]
    assert send(place, data, len(statuses)) == (statuses, [])


@pytest.mark.parametrize("case", PASSED)
def test_what_can_be_read_in_one_way_is_framed_anew(place: Place, case: str) -> None:
    data, statuses, bodies = PASSED[case]
    assert send(place, data, len(statuses)) == (statuses, bodies)


@pytest.mark.parametrize("case", UNFINISHED)
def test_what_is_not_whole_is_not_sent(place: Place, case: str) -> None:
    assert send(place, UNFINISHED[case], 0) == ([], [])


def test_there_are_enough_cases() -> None:
    assert len(REFUSED) + len(PASSED) + len(UNFINISHED) >= 120
