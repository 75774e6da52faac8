"""Hidden entries leave no door."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import pytest

from gateway.listing import filter_event
from gateway.sse import Event
from support.door import EVENTS, JSON, Rig, answer, answer_events, call, event, message, result, run

POLICY = b'{"version":"1","default":"allow","hide":["secret*"]}'


def tools(*names: str, **members: Any) -> bytes:
    return result(1, tools=[{"name": name, "inputSchema": {}} for name in names], **members)


LIST = tools("open", "secret_one", "also", nextCursor="c-2")
KEPT = tools("open", "also", nextCursor="c-2")


async def listed(rig: Rig, method: str = "POST") -> bytes:
    if method == "GET":
        return (await rig.client.request("GET")).body
    reply = await rig.client.post(message("tools/list"))
    assert reply.status == 200
    return reply.body


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_rule_31_streams_lose_the_hidden_entries_only(size: int, end: bytes, method: str) -> None:
    async def main() -> None:
        around = b": ping" + end * 2 + b"id: 4" + end + b"data:" + end * 2
        stream = around + b"id: 5" + end + b"data: " + LIST + end * 2 + around
        pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
        rig = Rig(answer_events(*pieces), policy=POLICY)
        body = await listed(rig, method)
        assert b"secret" not in body
        assert body == around + b"id: 5" + end + b"data: " + KEPT + end * 2 + around

    run(main())


def test_rule_31_documents_lose_the_hidden_entries_only() -> None:
    async def main() -> None:
        rig = Rig(
            answer(200, [*JSON, (b"content-length", b"9999")], LIST[:9], LIST[9:]), policy=POLICY
        )
        reply = await rig.client.post(message("tools/list"))
        assert reply.body == KEPT
        assert reply.header(b"content-length") == str(len(KEPT)).encode()

    run(main())


def test_a_list_without_hidden_entries_passes_byte_for_byte() -> None:
    body = b'{ "id":1,"result":{"tools":[ {"name":"open","x":1.0e1} ]} , "jsonrpc":"2.0"}'

    async def main() -> None:
        rig = Rig(answer(200, JSON, body), policy=POLICY)
        assert await listed(rig) == body
        rig = Rig(answer_events(b"data:" + body + b"\n\n"), policy=POLICY)
        assert await listed(rig) == b"data:" + body + b"\n\n"

    run(main())


def test_a_payload_in_several_lines_is_read_as_one() -> None:
    pretty = json.dumps(json.loads(LIST), indent=1).encode()

    async def main() -> None:
        lines = b"".join(b"data: " + line + b"\n" for line in pretty.split(b"\n"))
        body = await listed(Rig(answer_events(lines + b"\n"), policy=POLICY))
        assert b"secret" not in body
        payload = b"\n".join(line[6:] for line in body.split(b"\n") if line.startswith(b"data: "))
        assert json.loads(payload) == json.loads(KEPT)

    run(main())


def test_a_list_is_filtered_on_whatever_answer_it_comes() -> None:
    async def main() -> None:
        rig = Rig(answer(200, JSON, LIST), policy=POLICY)
        assert (await rig.client.post(call("t"))).body == KEPT
        rig = Rig(answer(400, JSON, LIST), policy=POLICY)
        assert (await rig.client.post(call("t"))).body == KEPT
        rig = Rig(answer_events(event(LIST)), policy=POLICY)
        assert (await rig.client.post_modern(call("t"))).body == event(KEPT)

    run(main())


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        (b"gzip", gzip.compress(LIST)),
        (b"X-GZIP", gzip.compress(LIST)),
        (b"deflate", zlib.compress(LIST)),
    ],
)
@pytest.mark.parametrize("policy", [POLICY, b'{"version":"1","default":"allow"}'])
def test_a_compressed_answer_is_read_and_sent_plain(
    coding: bytes, packed: bytes, policy: bytes
) -> None:
    async def main() -> None:
        headers = [*JSON, (b"content-encoding", coding), (b"content-length", b"%d" % len(packed))]
        pieces = [packed[at : at + 5] for at in range(0, len(packed), 5)]
        reply = await Rig(answer(200, headers, *pieces), policy=policy).client.post(
            message("tools/list")
        )
        assert reply.body == (KEPT if policy == POLICY else LIST)
        assert reply.header(b"content-encoding") is None
        assert reply.header(b"content-length") == str(len(reply.body)).encode()

    run(main())


def test_a_compressed_stream_flows() -> None:
    async def main() -> None:
        packer = zlib.compressobj(wbits=31)
        pieces = [packer.compress(event(LIST)) + packer.flush(zlib.Z_SYNC_FLUSH) for _ in range(2)]
        pieces.append(packer.flush())
        headers = [*EVENTS, (b"content-encoding", b"gzip")]
        body = await listed(Rig(answer(200, headers, *pieces), policy=POLICY))
        assert body == event(KEPT) * 2

    run(main())


PACKED = gzip.compress(LIST)


@pytest.mark.parametrize(
    "body",
    [PACKED[:-1], PACKED + b"x", PACKED * 2, b"plain", PACKED[:12] + b"\xff" * 30],
    ids=["short", "surplus", "twice", "plain", "damaged"],
)
def test_a_compressed_answer_that_is_damaged_is_a_fault(body: bytes) -> None:
    async def main() -> None:
        headers = [*JSON, (b"content-encoding", b"gzip")]
        reply = await Rig(answer(200, headers, body), policy=POLICY).client.post(
            message("tools/list")
        )
        assert reply.json["error"]["data"]["code"] == "upstream-invalid"

    run(main())


def test_a_compression_bomb_stays_small() -> None:
    async def main() -> None:
        bomb = gzip.compress(bytes(64 * 1024 * 1024))
        headers = [*JSON, (b"content-encoding", b"gzip")]
        reply = await Rig(answer(200, headers, bomb), policy=POLICY).client.post(
            message("tools/list")
        )
        assert reply.json["error"]["data"]["code"] == "upstream-invalid"

    run(main())


@pytest.mark.parametrize("body", [b"tools: secret", LIST[:-1], LIST + b"x"])
def test_what_cannot_be_read_is_not_passed_on(body: bytes) -> None:
    async def main() -> None:
        document = await listed(Rig(answer(200, JSON, body), policy=POLICY))
        assert b"secret" not in document
        refused = await Rig(answer(500, JSON, body), policy=POLICY).client.post(call("t"))
        assert (refused.status, refused.body) == (500, b"")
        good = event(result(2))
        stream = await Rig(answer_events(good, event(body)), policy=POLICY).client.request("GET")
        assert (stream.body, stream.complete) == (good, False)

    run(main())


def test_an_event_over_the_bound_becomes_a_fault() -> None:
    async def main() -> None:
        good = event(b'{"jsonrpc":"2.0","method":"notifications/x"}')
        long = b"data: " + b"tools" * 1_000_000
        reply = await Rig(answer_events(good, long), policy=POLICY).client.post(call("t"))
        assert reply.body.startswith(b"data: ")
        assert reply.json_events[-1]["result"]["isError"] is True
        assert reply.complete
        plain = await Rig(answer_events(good, long)).client.post(call("t"))
        assert plain.body == good + long

    run(main())


def test_the_unfinished_end_of_a_filtered_stream_is_left_out() -> None:
    async def main() -> None:
        rig = Rig(answer_events(event(KEPT), b"data: " + LIST), policy=POLICY)
        assert await listed(rig, "GET") == event(KEPT)

    run(main())


def test_an_unchanged_event_is_the_same_object() -> None:
    found = Event(b"data: 1\n\n")
    assert filter_event(found, lambda data: data) is found
    assert filter_event(Event(b": x\n\n"), lambda _: b"never") == Event(b": x\n\n")
