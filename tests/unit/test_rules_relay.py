"""The protocol's rules for what passes: headers, statuses, streams, sessions, disconnects."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from gateway._core import LimitTable
from support.door import (
    HOST,
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
    from gateway.asgi import Headers, Message, Send

EVENTS: Headers = [(b"content-type", b"text/event-stream")]


def test_rule_01_the_decided_bytes_are_the_forwarded_bytes() -> None:
    body = (
        b'{ "jsonrpc" : "2.0",\r\n "id":"\\u0061", "method":"tools\\/call",'
        b'"params":{"name":"t","arguments":{"n":1.0e2,"\xc3\xa9":[ ]}}}\n'
    )

    async def main() -> None:
        rig = Rig()
        assert (await rig.client.post(body)).status == 200
        assert [seen.body for seen in rig.upstream.seen] == [body]

    run(main())


SINGLE = [
    b"mcp-protocol-version",
    b"mcp-session-id",
    b"mcp-method",
    b"mcp-name",
    b"mcp-param-x",
    b"content-type",
    b"content-length",
    b"host",
    b"authorization",
    b"origin",
]


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("same", [True, False], ids=["same", "different"])
def test_rule_04_two_copies_of_a_header_are_refused(name: bytes, same: bool) -> None:
    async def main() -> None:
        rig = Rig()
        values = {
            b"host": HOST,
            b"content-type": b"application/json",
            b"content-length": b"1",
            b"origin": b"http://" + HOST,
        }
        value = values.get(name, b"x")
        reply = await rig.client.post(call("t"), [(name, value), (name, value if same else b"y")])
        assert reply.status == 400
        assert reply.json["error"]["code"] == -32600
        assert rig.upstream.seen == []

    run(main())


def test_rule_09_headers_of_the_protocol_pass_byte_identical() -> None:
    fields = [
        (b"mcp-param-region", b"=?base64?w6k=?="),
        (b"mcp-param-n", b"42.0"),
        (b"mcp-future", b"Any \t Thing"),
        (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        (b"user-agent", b"client/1"),
    ]

    async def main() -> None:
        rig = Rig()
        await rig.client.post(call("t"), fields)
        (seen,) = rig.upstream.seen
        assert [pair for pair in seen.headers if pair[0] not in (b"accept", b"content-type")] == (
            fields
        )

    run(main())


def test_rule_21_handshakes_are_relayed_status_for_status() -> None:
    async def main() -> None:
        for method in ("initialize", "server/discover"):
            for status in (200, 400, 404, 429, 500, 503):
                body = json.dumps({"jsonrpc": "2.0", "id": 1, "error": {"code": -32022}}).encode()
                rig = Rig(answer_json(body, status=status))
                reply = await rig.client.post(message(method, {}))
                assert (reply.status, reply.body) == (status, body)
                assert len(rig.upstream.seen) == 1

    run(main())


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


STREAM = (
    b'\xef\xbb\xbfid: 1\r\nretry: 10\r\ndata:\r\n\r\n: comment\n\nevent: message\rdata: {"a":\r'
    b"data:  1}\r\rid\ndata: [1]\n\n\n: tail"
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_rule_25_the_bytes_of_a_stream_pass_unaltered(size: int) -> None:
    async def main() -> None:
        pieces = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]
        rig = Rig(answer_events(*pieces))
        fields = await rig.open_session()
        for reply in (
            await rig.client.post(call("t"), fields),
            await rig.client.post_modern(call("t")),
            await rig.client.request("GET", headers=fields),
        ):
            assert reply.body == STREAM
            assert reply.complete
            assert reply.header(b"content-type") == b"text/event-stream"

    run(main())


@pytest.mark.parametrize(
    "policy",
    [b'{"version":"1","default":"allow"}', b'{"version":"1","default":"allow","hide":["x"]}'],
)
def test_rule_26_an_event_leaves_before_the_next_one_comes(policy: bytes) -> None:
    async def main() -> None:
        arrived: asyncio.Queue[Message] = asyncio.Queue()

        async def script(seen: Seen, send: Send) -> None:
            await start(send, 200, EVENTS)
            assert (await arrived.get())["type"] == "http.response.start"
            for number in range(3):
                data = event(b'{"jsonrpc":"2.0","method":"n","params":{"n":%d}}' % number)
                await piece(send, data)
                assert (await arrived.get())["body"] == data
            await end(send)

        rig = Rig(script, policy=policy)
        reply = await rig.client.post(call("t"), on_send=arrived.put)
        assert reply.complete

    run(main())


def test_rule_27_a_legacy_client_that_leaves_cancels_nothing() -> None:
    async def main() -> None:
        gone, left, go = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def script(seen: Seen, send: Send) -> None:
            await start(send, 200, EVENTS)
            gone.set()
            left.set()
            await go.wait()
            await piece(send, event(result(1)))
            await end(send)

        rig = Rig(script)
        asking = asyncio.create_task(rig.client.post(call("t"), gone=gone))
        await left.wait()
        for _ in range(10):
            await asyncio.sleep(0)
        go.set()
        reply = await asking
        assert rig.upstream.finished == 1
        assert rig.engine.outcomes == ["done"]
        assert reply.body == b""

    run(main())


def test_rule_27_a_modern_client_that_leaves_cancels_at_once_and_stays_charged() -> None:
    async def main() -> None:
        gone = asyncio.Event()

        async def script(seen: Seen, send: Send) -> None:
            gone.set()
            await asyncio.Event().wait()

        rig = Rig(script)
        await rig.client.post_modern(call("t"), gone=gone)
        assert rig.upstream.seen[0].cancelled
        assert rig.engine.outcomes == ["unknown"]

    run(main())


def test_rule_27_a_listening_stream_ends_with_its_client() -> None:
    async def main() -> None:
        gone = asyncio.Event()

        async def script(seen: Seen, send: Send) -> None:
            await start(send, 200, EVENTS)
            gone.set()
            await asyncio.Event().wait()

        rig = Rig(script)
        fields = await rig.open_session()
        await rig.client.request("GET", headers=fields, gone=gone)
        assert rig.upstream.seen[0].cancelled

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


def test_rule_29_messages_of_one_session_do_not_wait_for_each_other() -> None:
    async def main() -> None:
        both = asyncio.Barrier(2)

        async def script(seen: Seen, send: Send) -> None:
            await both.wait()  # reached only if two requests are at the server together
            await answer_json()(seen, send)

        rig = Rig(script)
        fields = await rig.open_session()
        replies = await asyncio.gather(
            rig.client.post(call("t"), fields),
            rig.client.post(message("notifications/progress", {}, id=None), fields),
        )
        assert [reply.status for reply in replies] == [200, 202]

    run(main())


def test_rule_30_a_202_has_no_body_and_answers_no_request() -> None:
    async def main() -> None:
        rig = Rig(
            answer(202, [(b"content-length", b"4"), (b"content-type", b"text/plain")], b"body")
        )
        note = await rig.client.post(message("notifications/initialized", id=None))
        assert (note.status, note.body, note.header(b"content-length")) == (202, b"", None)
        for content_type in (b"text/plain", b"application/json", b"text/event-stream"):
            rig.upstream.script = answer(202, [(b"content-type", content_type)], b"body")
            reply = await rig.client.post(message("ping"))
            assert (reply.status, reply.json["id"]) == (200, 1)
            assert reply.json["error"]["data"]["code"] == "upstream-invalid"

    run(main())


def test_rule_34_what_a_client_says_beside_its_arguments_passes() -> None:
    params = {
        "name": "t",
        "arguments": {},
        "requestState": "opaque==",
        "inputResponses": {"k": {"action": "accept"}},
        "task": {"ttl": 1},
        "_meta": {"progressToken": 1e1, "x.y/z": None},
    }

    async def main() -> None:
        rig = Rig()
        body = json.dumps(message("tools/call", params)).encode()
        await rig.client.post(body)
        assert rig.upstream.seen[0].body == body

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


PRIVATE = [
    (b"authorization", b"Bearer canary"),
    (b"cookie", b"a=canary"),
    (b"proxy-authorization", b"Basic canary"),
    (b"dpop", b"canary"),
    (b"forwarded", b"for=canary"),
    (b"x-forwarded-for", b"canary"),
    (b"x-forwarded-host", b"canary"),
    (b"x-real-ip", b"canary"),
    (b"x-api-key", b"canary"),
    (b"x-anything", b"canary"),
    (b"origin", b"http://" + HOST),
    (b"connection", b"keep-alive, x-hop, user-agent"),
    (b"x-hop", b"canary"),
    (b"user-agent", b"canary"),
    (b"te", b"trailers"),
    (b"trailer", b"canary"),
    (b"upgrade", b"canary"),
    (b"expect", b"100-continue"),
    (b"keep-alive", b"canary"),
    (b"accept-encoding", b"gzip"),
]


def test_rule_36_no_credential_of_the_client_reaches_the_server() -> None:
    async def main() -> None:
        rig = Rig()
        reply = await rig.client.post(call("t"), PRIVATE)
        assert reply.status == 200
        names = [name for name, _ in rig.upstream.seen[0].headers]
        assert names == [b"content-type", b"accept"]

    run(main())


def test_rule_36_no_credential_of_the_server_reaches_the_client() -> None:
    async def main() -> None:
        theirs = [
            (b"set-cookie", b"canary"),
            (b"www-authenticate", b"Bearer canary"),
            (b"location", b"http://canary/"),
            (b"server", b"canary"),
            (b"x-powered-by", b"canary"),
            (b"access-control-allow-origin", b"*"),
            (b"alt-svc", b"canary"),
            (b"connection", b"close"),
        ]
        ours = [
            (b"content-type", b"application/json"),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
            (b"retry-after", b"3"),
        ]
        body = result(1)
        length = (b"content-length", str(len(body)).encode())
        rig = Rig(answer(200, [*theirs, *ours, length], body))
        reply = await rig.client.post(call("t"))
        assert reply.headers == [*ours, length]

    run(main())


@pytest.mark.parametrize("status", [401, 403, 301, 302, 307, 308])
def test_rule_36_challenges_and_redirects_are_our_fault(status: int) -> None:
    async def main() -> None:
        rig = Rig(answer(status, [(b"www-authenticate", b"Bearer"), (b"location", b"http://x/")]))
        reply = await rig.client.post(message("initialize", {}))
        assert reply.status == 502
        assert reply.header(b"www-authenticate") is reply.header(b"location") is None
        assert (await rig.client.request("GET")).status == 502
        assert (await rig.client.post(call("t"))).json["result"]["isError"] is True

    run(main())


FOREIGN_HOSTS = [
    b"evil.example",
    b"evil.example:8080",
    b"127.0.0.1",
    b"127.0.0.1:80",
    b"127.0.0.1:08080",
    b"127.0.0.1.evil.example:8080",
    b"localhost.:8080",
    b"localhost:8080@evil.example",
    b"",
]
OWN_HOSTS = [b"127.0.0.1:8080", b"localhost:8080", b"LocalHost:8080", b"[::1]:8080"]


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_rule_37_a_foreign_host_is_refused_before_the_body(host: bytes) -> None:
    async def main() -> None:
        rig = Rig()
        read: list[Message] = []

        async def refuse_to_read() -> Message:
            read.append({})
            return {"type": "http.disconnect"}

        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "http_version": "1.1",
            "scheme": "http",
            "method": "POST",
            "path": "/mcp",
            "raw_path": b"/mcp",
            "headers": [(b"host", host), (b"content-type", b"application/json")],
            "server": ("127.0.0.1", 8080),
        }
        await rig.door(scope, refuse_to_read, send)
        assert 400 <= sent[0]["status"] < 500
        assert read == []
        assert rig.upstream.seen == []

    run(main())


@pytest.mark.parametrize("host", OWN_HOSTS)
def test_rule_37_our_own_names_pass_and_stay_here(host: bytes) -> None:
    async def main() -> None:
        rig = Rig()
        own_origin = (b"origin", b"http://" + host)
        reply = await rig.client.post(call("t"), [(b"host", host), own_origin])
        assert reply.status == 200
        assert rig.upstream.seen[0].header(b"host") is None

    run(main())


@pytest.mark.parametrize(
    "origin",
    [
        b"null",
        b"",
        b"http://evil.example",
        b"http://evil.example:8080",
        b"http://127.0.0.1:8080.evil.example",
        b"http://127.0.0.1:9999",
        b"http://localhost",
        b"file://",
        b"chrome-extension://127.0.0.1:8080",
    ],
)
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE", "OPTIONS"])
def test_rule_37_a_foreign_origin_is_refused(origin: bytes, method: str) -> None:
    async def main() -> None:
        rig = Rig()
        reply = await rig.client.request(method, headers=[(b"origin", origin)])
        assert (reply.status, reply.code) == (403, "origin-not-allowed")
        assert reply.header(b"access-control-allow-origin") is None
        assert rig.upstream.seen == []

    run(main())


def test_rule_38_no_metadata_is_served_where_no_oauth_is() -> None:
    async def main() -> None:
        rig = Rig()
        for path in (b"/.well-known/oauth-protected-resource/mcp", b"/.well-known/x", b"/"):
            reply = await rig.client.request("GET", path=path)
            assert reply.status == 404
            assert reply.header(b"content-type") == b"application/json"
            assert "error" in reply.json

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
