"""The protocol's rules for what belongs to someone: sessions, streams, replies and tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway._core import LimitTable
from support.door import (
    EVENTS,
    LEGACY,
    MODERN,
    Client,
    Reply,
    Rig,
    Seen,
    answer,
    answer_events,
    answer_json,
    call,
    end,
    event,
    message,
    modern,
    modern_headers,
    piece,
    result,
    run,
    start,
)

if TYPE_CHECKING:
    from gateway.asgi import Headers, Send


def test_rule_22_a_session_id_passes_both_ways_and_belongs_to_its_grant() -> None:
    async def main() -> None:
        rig = Rig(answer_json(headers=[(b"mcp-session-id", b"s1")]))
        fields = await rig.open_session(b"s1")
        reply = await rig.client.post(call("t"), fields)
        assert reply.header(b"mcp-session-id") == b"s1"
        assert rig.upstream.seen[0].header(b"mcp-session-id") == b"s1"
        other = Rig(table=rig.table, grant="other")
        for method in ("POST", "GET", "DELETE"):
            reply = await ask(other.client, method, fields)
            unknown = await ask(other.client, method, [(b"mcp-session-id", b"never")])
            assert reply.status == unknown.status == 404
            assert reply.json["error"]["code"] == unknown.json["error"]["code"] == -32600
        assert other.upstream.seen == []

    run(main())


def test_rule_22_no_other_session_id_reaches_a_client() -> None:
    async def main() -> None:
        rig = Rig(answer_json(headers=[(b"mcp-session-id", b"foreign")]))
        fields = await rig.open_session(b"s1")
        assert (await rig.client.post(call("t"), fields)).header(b"mcp-session-id") is None
        assert (await rig.client.post_modern(call("t"))).header(b"mcp-session-id") is None

    run(main())


def test_rule_23_after_a_delete_the_session_is_gone() -> None:
    async def main() -> None:
        rig = Rig(answer(200, []))
        fields = await rig.open_session()
        assert (await rig.client.request("DELETE", headers=fields)).status == 200
        rig.upstream.seen.clear()
        for method in ("POST", "GET", "DELETE"):
            assert (await ask(rig.client, method, fields)).status == 404
        assert rig.upstream.seen == []

    run(main())


def test_rule_23_a_delete_that_the_server_refuses_ends_nothing() -> None:
    async def main() -> None:
        rig = Rig(answer(405, [(b"allow", b"GET, POST")]))
        fields = await rig.open_session()
        assert (await rig.client.request("DELETE", headers=fields)).status == 405
        rig.upstream.script = answer_json()
        assert (await rig.client.post(call("t"), fields)).status == 200

    run(main())


def test_rule_23_a_session_that_ended_at_the_server_is_gone_here_too() -> None:
    async def main() -> None:
        rig = Rig(answer_json(b"{}", status=404))
        fields = await rig.open_session()
        assert (await rig.client.post(call("t"), fields)).status == 404
        assert (await rig.client.post(call("t"), fields)).status == 404
        assert len(rig.upstream.seen) == 1

    run(main())


def test_rule_23_without_an_id_the_server_says_that_one_is_needed() -> None:
    async def main() -> None:
        body = b'{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"Missing session ID"}}'
        rig = Rig(answer_json(body, status=400))
        reply = await rig.client.post(call("t"))
        assert (reply.status, reply.body) == (400, body)

    run(main())


def test_rule_24_streams_deletes_and_resumption_pass() -> None:
    async def main() -> None:
        rig = Rig(answer_events(event(b"{}")))
        fields = await rig.open_session()
        reply = await rig.client.request(
            "GET", headers=[*fields, (b"last-event-id", b"e-7"), (b"accept", b"text/event-stream")]
        )
        assert (reply.status, reply.body) == (200, event(b"{}"))
        (seen,) = rig.upstream.seen
        assert (seen.method, seen.header(b"last-event-id")) == ("GET", b"e-7")
        assert seen.exchange.last_event_id == b"e-7"
        rig.upstream.script = answer(405, [(b"allow", b"POST")])
        reply = await rig.client.request(
            "GET", headers=[(b"mcp-protocol-version", MODERN.encode())]
        )
        assert (reply.status, reply.header(b"allow")) == (405, b"POST")

    run(main())


def test_rule_24_what_has_no_session_resumes_nothing() -> None:
    async def main() -> None:
        rig = Rig()
        fields = await rig.open_session()
        resume = (b"last-event-id", b"e-7")
        await rig.client.request("GET", headers=[resume])
        await rig.client.request(
            "GET", headers=[(b"mcp-protocol-version", MODERN.encode()), fields[0], resume]
        )
        await rig.client.post(call("t"), [*fields, resume])
        assert [seen.header(b"last-event-id") for seen in rig.upstream.seen] == [None] * 3
        assert rig.upstream.seen[1].header(b"mcp-session-id") is None

    run(main())


ASKS = b'{"jsonrpc":"2.0","id":%b,"method":"sampling/createMessage","params":{}}'


@pytest.mark.parametrize(
    ("asked", "replied", "status"),
    [
        (b"7", b"7", 202),
        (b'"7"', b'"7"', 202),
        (b'"a\\u0062"', b'"ab"', 202),
        (b"7", b'"7"', 400),
        (b'"7"', b"7", 400),
        (b"7", b"8", 400),
    ],
)
def test_rule_28_a_reply_passes_if_the_server_asked(
    asked: bytes, replied: bytes, status: int
) -> None:
    reply_body = b'{"jsonrpc":"2.0","id":%b,"result":{}}' % replied

    async def main() -> None:
        replies: list[Reply] = []

        async def script(seen: Seen, send: Send) -> None:
            if seen.exchange.decision is not None and seen.exchange.decision.kind == "response":
                await answer(202, [])(seen, send)
                return
            await start(send, 200, EVENTS)
            await piece(send, event(ASKS % asked))
            replies.append(await rig.client.post(reply_body, fields))
            await piece(send, event(result(1)))
            await end(send)

        rig = Rig(script)
        fields = await rig.open_session()
        reply = await rig.client.post(call("t"), fields)
        assert reply.body == event(ASKS % asked) + event(result(1))
        assert [found.status for found in replies] == [status]
        again = await rig.client.post(reply_body, fields)
        assert again.status == 400, "a request is answered once"
        assert (await rig.client.post(b"[]", fields)).status == 400

    run(main())


def test_rule_28_a_reply_belongs_to_its_session() -> None:
    async def main() -> None:
        rig = Rig(answer_events(event(ASKS % b"7")))
        mine = await rig.open_session(b"s1")
        theirs = await rig.open_session(b"s2")
        await rig.client.request("GET", headers=mine)
        rig.upstream.script = answer(202, [])
        reply = b'{"jsonrpc":"2.0","id":7,"result":{}}'
        assert (await rig.client.post(reply, theirs)).status == 400
        assert (await rig.client.post(reply, mine)).status == 202

    run(main())


@pytest.mark.parametrize(
    ("asks", "members"),
    [
        ({"task": {"ttl": 1}}, {"task": {"taskId": "t-1", "status": "working"}}),
        ({"_meta": {"extensions": {"x/tasks": {}}}}, {"resultType": "task", "taskId": "t-1"}),
    ],
    ids=["2025-11-25", "extension"],
)
@pytest.mark.parametrize("stream", [False, True], ids=["json", "events"])
def test_rule_35_a_task_belongs_to_the_grant_whose_call_made_it(
    asks: dict[str, object], members: dict[str, object], stream: bool
) -> None:
    async def main() -> None:
        table = LimitTable()
        body = result(1, **members)
        rig = Rig(answer_events(event(body)) if stream else answer_json(body), table=table)
        get = message("tasks/get", {"taskId": "t-1", "name": "t-1"}, id="g")
        before = await rig.client.post(get)
        assert before.status == 200
        assert before.json == {
            "jsonrpc": "2.0",
            "id": "g",
            "error": {"code": -32602, "message": "unknown task"},
        }
        assert rig.upstream.seen == []
        reply = await rig.client.post(message("tools/call", {"name": "t", "arguments": {}, **asks}))
        assert reply.body == (event(body) if stream else body)
        rig.upstream.script = answer_json()
        assert "result" in (await rig.client.post(get)).json
        other = Rig(table=table, grant="other")
        assert (await other.client.post(get)).json["error"]["code"] == -32602
        assert other.upstream.seen == []

    run(main())


def test_rule_35_a_task_is_not_asked_for_without_an_id() -> None:
    async def main() -> None:
        rig = Rig()
        rig.sessions.open_task("t-1", "default")
        reply = await rig.client.post(message("tasks/cancel", {"taskId": "t-1"}, id=None))
        assert reply.status == 400
        assert rig.upstream.seen == []

    run(main())


def test_rule_35_what_a_revision_does_not_have_is_the_servers_to_answer() -> None:
    async def main() -> None:
        rig = Rig()
        asked = modern(message("tasks/result", {"taskId": "t-1"}))
        await rig.client.post(asked, modern_headers("tasks/result", "t-1"))
        assert len(rig.upstream.seen) == 1
        reply = await rig.client.post(message("tasks/result", {"taskId": "t-1"}))
        assert reply.json["error"] == {"code": -32602, "message": "unknown task"}
        assert len(rig.upstream.seen) == 1

    run(main())


@pytest.mark.parametrize(
    ("watched", "seen"),
    [(["mine"], 1), ([], 1), (None, 1), (["mine", "t-1"], 0), (["t-1"], 0), ("t-1", 0), ([1], 0)],
)
def test_rule_35_a_task_of_another_grant_is_not_watched(watched: object, seen: int) -> None:
    async def main() -> None:
        rig = Rig()
        rig.sessions.open_task("mine", "default")
        rig.sessions.open_task("t-1", "other")
        listen = modern(message("subscriptions/listen", {"notifications": {"taskIds": watched}}))
        await rig.client.post(listen, modern_headers("subscriptions/listen"))
        assert len(rig.upstream.seen) == seen

    run(main())


async def ask(client: Client, method: str, fields: Headers) -> Reply:
    """One request of a session with whichever method."""
    if method == "POST":
        return await client.post(call("t"), fields)
    return await client.request(method, headers=fields)


def test_sessions_remember_their_revision() -> None:
    async def main() -> None:
        for stream in (False, True):
            rig = Rig()
            body = result(0, protocolVersion=LEGACY)
            opened = [(b"mcp-session-id", b"s")]
            rig.upstream.script = (
                answer_events(event(body), headers=opened)
                if stream
                else answer_json(body, headers=opened)
            )
            reply = await rig.client.post(message("initialize", {}, id=0))
            assert reply.header(b"mcp-session-id") == b"s"
            assert rig.sessions.revision("s", "default") == 20251125
            assert rig.sessions.live == 1

    run(main())
