"""Legacy sessions over a child each."""

import asyncio
import json
import os

import pytest

from gateway.errors import UpstreamError
from support.stdio import (
    INITIALIZE,
    Client,
    HandClock,
    breathe,
    client,
    log,
    request,
    run,
    until,
    upstream,
)


def test_initialize_mints_a_session_that_cannot_be_guessed():
    async def scenario():
        async with upstream() as server:
            one, two = Client(server), Client(server)
            first = await one.open()
            await two.open()
            assert first.status == 200
            assert first.last["result"]["protocolVersion"] == "2025-11-25"
            assert one.session != two.session
            assert len(one.session) >= 22
            assert server.sessions == server.children == 2

    run(scenario())


def test_the_child_sees_the_bytes_of_the_body_on_one_line():
    async def scenario():
        async with client() as it:
            body = b'{ "jsonrpc": "2.0",\r\n "id": "\\u0061", "method":"ping" }'
            reply = await it.ask(body)
            assert reply.last["result"]["seen"][1] == body.decode().replace("\r\n", "  ")
            assert reply.last["id"] == "a"

    run(scenario())


def test_an_answer_that_comes_first_is_json():
    async def scenario():
        async with client() as it:
            reply = await it.ask(request(1))
            assert (reply.status, reply.streams, reply.ended) == (200, False, True)
            assert reply.headers == {b"content-type": b"application/json"}

    run(scenario())


def test_an_answer_with_something_before_it_is_a_stream():
    async def scenario():
        async with client() as it:
            reply = await it.ask(request(1, script=[["say", log("a")], ["say", log("b")]]))
            assert reply.streams
            assert [m.get("id") for m in reply.messages] == [None, None, 1]
            assert reply.ended

    run(scenario())


def test_a_late_answer_turns_into_a_stream_that_is_kept_alive():
    async def scenario():
        clock = HandClock()
        async with client(clock=clock) as it:
            reply = it.post(request(1, script=[["wait"]]))
            await clock.armed(15)
            assert not reply.status
            await clock.advance(15)
            await reply.holds(0)
            assert reply.streams
            await clock.armed(15)
            await clock.advance(15)
            assert reply.body == b":\n\n:\n\n"
            await it.ask(b'{"jsonrpc":"2.0","method":"notifications/x"}')
            await reply.done()
            assert reply.last["id"] == 1

    run(scenario())


def test_a_silent_child_is_told_to_stop_and_the_client_that_it_failed():
    async def scenario():
        clock = HandClock()
        async with client(clock=clock, idle_timeout_s=60.0) as it:
            reply = it.post(request(1, script=[["hush"]]))
            for _ in range(4):
                await clock.armed(15)
                await clock.advance(15)
            with pytest.raises(UpstreamError) as caught:
                await reply.done()
            assert (caught.value.reason, caught.value.sent) == ("timeout", True)
            assert reply.last["id"] == 1
            assert not reply.ended
            seen = (await it.ask(request(2))).last["result"]["seen"]
            assert json.loads(seen[2]) == {
                "jsonrpc": "2.0",
                "method": "notifications/cancelled",
                "params": {"requestId": 1},
            }

    run(scenario())


def test_unknown_sessions_are_404_and_missing_ones_400():
    async def scenario():
        async with upstream() as server:
            it = Client(server)
            assert (await it.ask(request(7))).status == 400
            it.session = "x"
            reply = await it.ask(request(7))
            assert (reply.status, reply.last["id"]) == (404, 7)
            assert (await it.get().done()).status == 404
            assert (await it.delete().done()).status == 404
            it.session = None
            assert (await it.get().done()).status == 400
            assert server.children == 0

    run(scenario())


def test_delete_ends_the_session_and_its_process():
    async def scenario():
        async with client() as it:
            pid = (await it.ask(request(1))).last["result"]["pid"]
            reply = await it.delete().done()
            assert (reply.status, reply.body) == (200, b"")
            assert (await it.ask(request(2))).status == 404
            await until(lambda: not it.upstream.children)
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)

    run(scenario())


def test_a_session_ends_when_it_is_idle_and_not_while_something_is_open():
    async def scenario():
        clock = HandClock()
        async with client(clock=clock, session_idle_s=100.0, idle_timeout_s=900.0) as it:
            reply = it.post(request(1, script=[["wait"]]))
            await clock.armed(15)
            await clock.advance(200)
            assert it.upstream.sessions == 1
            await it.ask(b'{"jsonrpc":"2.0","method":"notifications/x"}')
            await reply.done()
            await clock.advance(60)
            assert it.upstream.sessions == 1
            await clock.advance(60)
            assert it.upstream.sessions == 0
            assert (await it.ask(request(2))).status == 404

    run(scenario())


def test_a_child_that_dies_fails_what_is_open_and_ends_the_session():
    async def scenario():
        async with client() as it:
            plain = it.post(request(1, script=[["wait"], ["exit", 1]]))
            stream = it.post(request(2))
            with pytest.raises(UpstreamError) as caught:
                await plain.done()
            assert (caught.value.reason, caught.value.sent) == ("exited", True)
            with pytest.raises(UpstreamError):
                await stream.done()
            await until(lambda: not it.upstream.sessions)
            assert (await it.ask(request(3))).status == 404

    run(scenario())


def test_a_stream_that_had_begun_gets_an_error_event_when_the_child_dies():
    async def scenario():
        async with client() as it:
            reply = it.post(request(5, "x/y", script=[["say", log("a")], ["exit", 1]]))
            with pytest.raises(UpstreamError):
                await reply.done()
            assert reply.last["id"] == 5
            assert reply.last["error"]["code"] == -32603
            assert not reply.ended

    run(scenario())


def test_progress_goes_to_the_request_that_gave_the_token():
    async def scenario():
        def progress(token):
            params = {"progressToken": token, "progress": 1}
            return {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}

        async with client() as it:
            steps = [["wait"], ["say", progress("1")], ["say", progress(1)], ["say", progress(9)]]
            one = it.post(request(1, meta={"progressToken": "1"}, script=steps))
            await breathe()
            two = it.post(request(2, meta={"progressToken": 1}))
            await one.done()
            assert one.messages[:-1] == [progress("1")]
            await two.holds(1)
            assert two.messages == [progress(1)]
            two.task.cancel()

    run(scenario())


def test_other_messages_go_to_the_get_stream_and_else_to_a_post_stream():
    async def scenario():
        async with client() as it:
            stream = it.get()
            await stream.holds(0)
            assert stream.streams
            reply = await it.ask(request(1, script=[["say", log("a")]]))
            assert not reply.streams
            await stream.holds(1)
            assert stream.messages == [log("a")]
            assert (await it.get().done()).status == 409
            stream.task.cancel()
            await breathe()
            reply = await it.ask(request(2, script=[["say", log("b")]]))
            assert reply.messages[0] == log("b")

    run(scenario())


def test_a_legacy_client_that_leaves_cancels_nothing():
    async def scenario():
        async with client() as it:
            reply = it.post(request(1, script=[["hush"]]))
            await breathe()
            reply.task.cancel()
            await breathe()
            seen = (await it.ask(request(2))).last["result"]["seen"]
            assert not any("cancelled" in line for line in seen)

    run(scenario())


def test_a_cancelled_request_is_forwarded_and_does_not_stay_open():
    async def scenario():
        clock = HandClock()
        async with client(clock=clock) as it:
            reply = it.post(request(1, script=[["hush"]]))
            await clock.armed(15)
            note = {"method": "notifications/cancelled", "params": {"requestId": 1}}
            body = json.dumps({"jsonrpc": "2.0", **note}).encode()
            assert (await it.ask(body)).status == 202
            assert body.decode() in (await it.ask(request(2))).last["result"]["seen"]
            assert not reply.ended
            await clock.advance(15)
            await reply.done()
            assert reply.messages == []

    run(scenario())


def test_initialize_at_a_modern_child_is_400_and_names_its_versions():
    async def scenario():
        async with upstream("--era", "modern") as server:
            reply = await Client(server).ask(INITIALIZE)
            assert (reply.status, reply.last["id"]) == (400, 0)
            assert reply.last["error"]["code"] == -32022
            assert reply.last["error"]["data"]["supported"] == ["2026-07-28"]
            assert b"mcp-session-id" not in reply.headers
            assert server.sessions == 0

    run(scenario())


def test_the_number_of_processes_is_bounded():
    async def scenario():
        async with upstream(max_children=1) as server:
            await Client(server).open()
            with pytest.raises(UpstreamError) as caught:
                await Client(server).open()
            assert (caught.value.reason, caught.value.sent) == ("busy", False)

    run(scenario())


def test_a_program_that_does_not_exist_was_not_sent_anything():
    async def scenario():
        async with upstream(command=("/nonexistent",)) as server:
            with pytest.raises(UpstreamError) as caught:
                await Client(server).open()
            assert (caught.value.reason, caught.value.sent) == ("connect", False)

    run(scenario())


def test_a_second_request_with_an_open_id_is_not_sent():
    async def scenario():
        async with client() as it:
            first = it.post(request(1, script=[["hush"]]))
            await breathe()
            with pytest.raises(UpstreamError) as caught:
                await it.ask(request(1))
            assert not caught.value.sent
            first.task.cancel()

    run(scenario())


def test_a_drain_ends_streams_and_lets_requests_come():
    async def scenario():
        async with client() as it:
            stream = it.get()
            await stream.holds(0)
            it.upstream.drain()
            await stream.done()
            assert stream.ended
            with pytest.raises(UpstreamError) as caught:
                await it.get().done()
            assert (caught.value.reason, caught.value.sent) == ("busy", False)
            assert (await it.ask(request(1))).status == 200
            assert (await it.delete().done()).status == 200

    run(scenario())


def test_closing_ends_streams_and_lets_requests_finish():
    async def scenario():
        async with client() as it:
            stream = it.get()
            await stream.holds(0)
            reply = it.post(request(1, script=[["wait"]]))
            await breathe()
            closing = asyncio.ensure_future(it.upstream.aclose(5))
            await stream.done()
            assert stream.ended
            with pytest.raises(UpstreamError) as caught:
                await it.ask(request(2))
            assert caught.value.reason == "busy"
            assert not closing.done()
            session = it.upstream._sessions[it.session]
            await session._write(b'{"jsonrpc":"2.0","method":"notifications/x"}')
            await reply.done()
            await closing
            assert it.upstream.children == 0

    run(scenario())
