"""A task of another grant stays out of reach, whatever a request says of its own revision."""

from __future__ import annotations

import pytest

from support.door import Rig, message, modern, run

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
