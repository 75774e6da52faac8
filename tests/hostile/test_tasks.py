"""A task of another grant stays out of reach, whatever a request says of its own revision."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from support.door import Rig, answer, answer_events, answer_json, event, message, modern, run

if TYPE_CHECKING:
    from gateway.asgi import Headers

LEGACY_IN_META = "2025-11-25"


def rig() -> Rig:
    rig = Rig(policy=b'{"version":"1","default":"allow"}')
    rig.sessions.open_task("theirs", "other")
    return rig


@pytest.mark.parametrize("method", ["tasks/get", "tasks/result", "tasks/cancel"])
def test_a_request_of_a_revision_with_sessions_cannot_call_itself_stateless(method: str) -> None:
    async def main() -> None:
        door = rig()
        body = modern(message(method, {"taskId": "theirs"}))
        body["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = LEGACY_IN_META
        claims = [
            (b"mcp-protocol-version", LEGACY_IN_META.encode()),
            (b"mcp-method", method.encode()),
            (b"mcp-name", b"theirs"),
        ]
        await door.client.post(body, claims)
        assert door.upstream.seen == []

    run(main())


@pytest.mark.parametrize("task", [["theirs"], {"theirs": 1}, 17, True, None])
@pytest.mark.parametrize("method", ["tasks/get", "tasks/result", "tasks/cancel"])
def test_an_id_that_is_no_string_names_no_task(method: str, task: object) -> None:
    async def main() -> None:
        door = rig()
        reply = await door.client.post(message(method, {"taskId": task}))
        assert reply.status == 400
        assert door.upstream.seen == []

    run(main())


def test_an_array_names_no_task() -> None:
    async def main() -> None:
        door = rig()
        fields = await door.open_session(b"s", "2025-03-26")
        door.upstream.seen.clear()
        reply = await door.client.post([message("tasks/result", {"taskId": "theirs"})], fields)
        assert reply.status == 400
        assert door.upstream.seen == []

    run(main())


def task(ident: object) -> dict[str, object]:
    return {"taskId": ident, "status": "working", "ttl": 12345678901234567890123}


def listing(*tasks: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"tasks": tasks}}).encode()


MINE = listing(task("mine"))
ALL = listing(task("theirs"), task("mine"), task("nobody's"))


def listed(document: bytes, carried: str, **settings: bytes) -> Rig:
    script = {
        "json": answer_json(document),
        "events": answer_events(event(document)),
        "error": answer_json(document, status=400),
        "resumed": answer_events(event(document)),
    }[carried]
    rig = Rig(script, **settings)
    rig.sessions.open_task("theirs", "other")
    rig.sessions.open_task("mine", "default")
    return rig


async def shown(rig: Rig, carried: str) -> bytes:
    if carried == "resumed":
        fields: Headers = [(b"last-event-id", b"1")]
        return (await rig.client.request("GET", headers=fields)).body
    return (await rig.client.post(message("tasks/list"))).body


@pytest.mark.parametrize("carried", ["json", "events", "error", "resumed"])
def test_a_list_has_only_the_tasks_of_the_grant(carried: str) -> None:
    async def main() -> None:
        data = await shown(listed(ALL, carried), carried)
        assert json.loads(data.removeprefix(b"data: ")) == json.loads(MINE)
        assert await shown(listed(MINE, carried), carried) in (MINE, event(MINE))

    run(main())


@pytest.mark.parametrize(
    "document",
    [
        ALL.replace(b'"tasks"', b'"tasks":[],"tasks"'),
        ALL.replace(b"theirs", b"theirs\xff"),
        ALL.replace(b"12345678901234567890123", b"1e999"),
        ALL[:-1],
        b"\xef\xbb\xbf" + ALL,
        ALL.decode().encode("utf-16"),
        b"[" * 100_000,
    ],
    ids=["twice", "no UTF-8", "number", "short", "mark", "UTF-16", "deep"],
)
@pytest.mark.parametrize("carried", ["json", "events", "error", "resumed"])
def test_a_list_that_cannot_be_read_is_not_passed_on(document: bytes, carried: str) -> None:
    async def main() -> None:
        assert b"theirs" not in await shown(listed(document, carried), carried)

    run(main())


@pytest.mark.parametrize("entry", ["theirs", ["theirs"], {"id": "theirs"}, task(["theirs"]), None])
def test_an_entry_that_names_no_task_is_no_task_of_the_grant(entry: object) -> None:
    async def main() -> None:
        rig = listed(listing(task("mine"), entry), "json")
        assert json.loads(await shown(rig, "json")) == json.loads(MINE)

    run(main())


def test_what_is_hidden_leaves_a_list_of_tasks_too() -> None:
    async def main() -> None:
        document = MINE.replace(b'"tasks"', b'"tools":[{"name":"secret"}],"tasks"')
        rig = listed(document, "json", policy=b'{"version":"1","default":"allow","hide":["*"]}')
        assert json.loads(await shown(rig, "json"))["result"]["tools"] == []

    run(main())


def test_no_other_answer_is_read_for_tasks() -> None:
    async def main() -> None:
        rig = Rig(answer(200, [(b"content-type", b"application/json")], ALL))
        assert (await rig.client.post(message("x/list"))).body == ALL

    run(main())
