"""What belongs to whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway._core import LimitTable
from gateway.sessions import MAX_OUTSTANDING, Outstanding, Sessions, read_id
from support.door import (
    LEGACY,
    Rig,
    Seen,
    answer,
    answer_events,
    answer_json,
    event,
    message,
    result,
    run,
)

if TYPE_CHECKING:
    from gateway.asgi import Send


def test_a_session_belongs_to_one_grant_on_one_server() -> None:
    table = LimitTable()
    here, there = Sessions(table, "a"), Sessions(table, "b")
    assert here.open("s", "me", 20250326)
    assert here.revision("s", "me") == 20250326
    assert here.revision("s", "you") is None
    assert there.revision("s", "me") is None
    assert not here.open("s", "you")
    here.close("s", "me")
    assert here.revision("s", "me") is None


def test_open_sessions_are_counted_once() -> None:
    sessions = Sessions(LimitTable(), "a")
    sessions.open("s", "me")
    sessions.open("s", "me", 20250618)
    sessions.open("t", "me")
    assert sessions.live == 2
    for closed in ("s", "s", "never"):
        sessions.close(closed, "me")
    sessions.close("t", "you")
    assert sessions.live == 1


def test_the_requests_of_one_stream_are_bounded() -> None:
    sessions = Sessions(LimitTable(), "a")
    outstanding = Outstanding(sessions, "s", "me")
    for number in range(MAX_OUTSTANDING + 1):
        outstanding.add(number)
        outstanding.add(number)
    assert sessions.expects_reply("s", 0, "me") is None
    assert sessions.expects_reply("s", 1, "me") is not None
    assert sessions.expects_reply("s", MAX_OUTSTANDING, "me") is not None
    assert sessions.expects_reply("s", 1, "you") is None
    assert sessions.expects_reply(None, 1, "me") is None


@pytest.mark.parametrize("odd", [None, True, 1.5, [], {}])
def test_what_is_no_id_is_never_expected(odd: object) -> None:
    sessions = Sessions(LimitTable(), "a")
    Outstanding(sessions, None, "me").add(odd)
    assert sessions.expects_reply(None, odd, "me") is None


def test_ids_are_read_by_value() -> None:
    assert read_id(b'"\\u0061"') == "a"
    assert read_id(b"1") == 1
    assert read_id(None) is read_id(b"{") is None


def test_a_session_that_cannot_be_remembered_is_not_given_out() -> None:
    async def main() -> None:
        rig = Rig(
            answer_json(result(1, protocolVersion=LEGACY), headers=[(b"mcp-session-id", b"taken")])
        )
        rig.table.bind("session", "default", "taken", "someone else")
        reply = await rig.client.post(message("initialize", {}))
        assert (reply.status, reply.code) == (503, "table-full")
        assert reply.header(b"mcp-session-id") is None
        assert rig.engine.outcomes == ["unknown"]

    run(main())


def test_a_stateless_answer_opens_no_session() -> None:
    async def main() -> None:
        rig = Rig(answer_json(headers=[(b"mcp-session-id", b"s")]))
        reply = await rig.client.post_modern(message("initialize", {}))
        assert reply.status == 200
        assert reply.header(b"mcp-session-id") is None
        assert rig.sessions.revision("s", "default") is None

    run(main())


def test_only_an_initialize_opens_a_session() -> None:
    async def main() -> None:
        rig = Rig(answer_json(headers=[(b"mcp-session-id", b"s")]))
        assert (await rig.client.post(message("ping"))).header(b"mcp-session-id") is None
        assert rig.sessions.revision("s", "default") is None
        rig.upstream.script = answer_json(
            b'{"jsonrpc":"2.0","id":1,"error":{}}', status=400, headers=[(b"mcp-session-id", b"s")]
        )
        await rig.client.post(message("initialize", {}))
        assert rig.sessions.revision("s", "default") is None

    run(main())


@pytest.mark.parametrize("version", ["not-a-date", 5, None, "2025-3-26"])
def test_a_revision_that_is_no_date_is_not_known(version: object) -> None:
    async def main() -> None:
        rig = Rig(
            answer_json(result(1, protocolVersion=version), headers=[(b"mcp-session-id", b"s")])
        )
        await rig.client.post(message("initialize", {}))
        assert rig.sessions.revision("s", "default") == 0

    run(main())


def test_what_the_core_is_told_of_a_session() -> None:
    async def main() -> None:
        rig = Rig()
        fields = await rig.open_session(b"s1", "2025-03-26")
        callers = []
        decide = rig.engine.decide

        def spy(caller: object, *rest: object, **more: object) -> object:
            callers.append(caller)
            return decide(caller, *rest, **more)

        rig.engine.decide = spy  # type: ignore[attr-defined]
        await rig.client.post(message("ping"), fields)
        await rig.client.post(message("ping"))
        await rig.client.post_modern(message("tools/list"))
        told = [(c.grant, c.server, c.session, c.revision) for c in callers]
        assert told == [
            ("default", "default", "s1", "2025-03-26"),
            ("default", "default", None, None),
            ("default", "default", None, None),
        ]

    run(main())


def test_a_reply_to_a_server_without_sessions_passes_by_grant() -> None:
    reply = b'{"jsonrpc":"2.0","id":7,"result":{}}'
    asks = b'{"jsonrpc":"2.0","id":7,"method":"roots/list"}'

    async def script(seen: Seen, send: Send) -> None:
        if seen.body == reply:
            await answer(202, [])(seen, send)
        else:
            await answer_events(event(asks), event(result(1)))(seen, send)

    async def main() -> None:
        rig = Rig(script)
        assert (await rig.client.post(reply)).status == 400
        await rig.client.post(message("ping"))
        other = Rig(script, table=rig.table, grant="other")
        assert (await other.client.post(reply)).status == 400
        assert (await rig.client.post(reply)).status == 202

    run(main())


def test_a_reply_that_did_not_arrive_may_be_sent_again() -> None:
    reply = b'{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":"no"}}'

    async def main() -> None:
        rig = Rig(answer(500, []))
        rig.sessions.expect_reply(None, 7, "default")
        assert (await rig.client.post(reply)).status == 500
        rig.upstream.script = answer(202, [])
        assert (await rig.client.post(reply)).status == 202
        assert (await rig.client.post(reply)).status == 400

    run(main())


def test_a_modern_client_has_nothing_to_reply_to() -> None:
    async def main() -> None:
        rig = Rig()
        rig.sessions.expect_reply(None, 7, "default")
        reply = await rig.client.post(
            b'{"jsonrpc":"2.0","id":7,"result":{}}', [(b"mcp-protocol-version", b"2026-07-28")]
        )
        assert (reply.status, reply.json["error"]["code"]) == (400, -32600)
        assert rig.upstream.seen == []

    run(main())
