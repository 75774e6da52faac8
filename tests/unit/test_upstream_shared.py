"""Modern clients over one child."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from gateway.errors import UpstreamError
from gateway.upstream.shared import Backoff
from gateway.upstream.stdio import StdioUpstream
from support.stdio import Client, HandClock, breathe, closing, request, run, settings, until

TAG = "io.modelcontextprotocol/subscriptionId"


@asynccontextmanager
async def client(*arguments, clock=None, **changes):
    async with closing(
        StdioUpstream(settings(*arguments, **changes), clock=clock), clock
    ) as server:
        yield Client(server, modern=True)


def modern(ident, method="tools/call", **params):
    return request(ident, method, modern=True, **params)


def test_requests_with_one_id_are_kept_apart_and_ids_come_back_as_spelt():
    async def scenario():
        async with client() as it:
            spelt = modern("ID").replace(b'"ID"', b'"\\u0041"')
            one, two, three = await asyncio.gather(
                it.ask(modern(1)), it.ask(modern(1)), it.ask(spelt)
            )
            assert [r.last["id"] for r in (one, two, three)] == [1, 1, "A"]
            assert b'"\\u0041"' in three.raw[0]
            pids = {r.last["result"]["pid"] for r in (one, two, three)}
            assert len(pids) == it.upstream.children == 1
            seen = [json.loads(line)["id"] for line in three.last["result"]["seen"]]
            assert len(set(seen)) == 4
            assert b"mcp-session-id" not in one.headers

    run(scenario())


def test_nothing_but_ids_and_tokens_is_changed():
    async def scenario():
        async with client() as it:
            body = (
                b'{"params": {"_meta":{"io.modelcontextprotocol/clientCapabilities":{},'
                b'"progressToken" : "p", "io.modelcontextprotocol/protocolVersion":"2026-07-28"},'
                b'\n"name":"t","arguments":{"id":1.0,"progressToken":"p"},"requestState":"\\u00e9"},'
                b'"id":  1e0 ,"method":"tools/call","jsonrpc":"2.0"}'
            ).replace(b"1e0", b"41")
            reply = await it.ask(body)
            expected = body.replace(b"\n", b" ").replace(b"  41 ", b"  2 ")
            expected = expected.replace(b'"progressToken" : "p"', b'"progressToken" : 2')
            assert reply.last["result"]["seen"][1] == expected.decode()

    run(scenario())


def test_progress_bears_the_token_of_its_client():
    async def scenario():
        def progress(token):
            params = {"progressToken": token, "progress": 1}
            return {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}

        async with client() as it:
            steps = [["say", progress("$token")], ["say", progress("p")], ["say", progress(99)]]
            reply = await it.ask(modern(1, meta={"progressToken": "p"}, script=steps))
            assert reply.messages[:-1] == [progress("p")]
            # A token that no client gave brings nothing.
            reply = await it.ask(modern(1, script=[["say", progress(3)], ["say", progress(2)]]))
            assert not reply.streams

    run(scenario())


def test_a_client_that_leaves_cancels_at_the_child_and_a_late_answer_goes_nowhere():
    async def scenario():
        async with client() as it:
            await it.ask(modern(0))
            reply = it.post(modern(7, script=[["wait"]]))
            await breathe()
            reply.task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reply.done()
            after = await it.ask(modern(7))
            lines = [json.loads(line) for line in after.last["result"]["seen"]]
            left = lines[2]["id"]
            assert lines[3]["method"] == "notifications/cancelled"
            assert lines[3]["params"] == {"requestId": left}
            assert lines[4]["id"] != left
            assert after.last["id"] == 7

    run(scenario())


def test_an_answered_request_is_not_cancelled():
    async def scenario():
        async with client() as it:
            for ident in (1, 2):
                reply = await it.ask(modern(ident))
            assert not any("cancelled" in line for line in reply.last["result"]["seen"])

    run(scenario())


def listen(ident, *script):
    return modern(ident, "subscriptions/listen", notifications={}, script=list(script))


def tagged(method, tag="$id"):
    return {"jsonrpc": "2.0", "method": method, "params": {"_meta": {TAG: tag}}}


def test_a_listen_is_a_stream_whose_messages_bear_its_own_id():
    async def scenario():
        async with client() as it:
            changed = "notifications/tools/list_changed"
            steps = [["say", tagged(changed)], ["say", tagged(changed, "x")], ["hush"]]
            reply = it.post(listen("L", *steps))
            await reply.holds(1)
            # What bears no tag, or another's, reaches nobody.
            other = {"jsonrpc": "2.0", "method": changed}
            await it.ask(modern(1, script=[["say", other]]))
            await it.ask(modern(2, script=[["say", tagged(changed, 2)]]))
            assert not (await it.ask(modern(3, script=[["say", tagged(changed)]]))).streams
            await reply.holds(2)
            assert reply.messages == [tagged(changed, "L")] * 2
            closing = asyncio.ensure_future(it.upstream.aclose(5))
            await reply.done()
            assert reply.ended
            assert reply.last == {
                "jsonrpc": "2.0",
                "id": "L",
                "result": {"resultType": "complete", "_meta": {TAG: "L"}},
            }
            await closing

    run(scenario())


def test_a_drain_begins_no_listen():
    async def scenario():
        async with client() as it:
            it.upstream.drain()
            with pytest.raises(UpstreamError) as caught:
                await it.ask(listen("L"))
            assert caught.value.reason == "busy"
            assert (await it.ask(modern(1))).status == 200

    run(scenario())


def test_a_listen_that_the_child_ends_ends_cleanly():
    async def scenario():
        async with client() as it:
            ended = {"jsonrpc": "2.0", "id": "$id", "result": {"_meta": {TAG: "$id"}}}
            reply = await it.ask(listen("L", ["say", ended], ["hush"]))
            assert reply.messages == [
                {"jsonrpc": "2.0", "id": "L", "result": {"_meta": {TAG: "L"}}}
            ]
            assert reply.streams
            gone = {"jsonrpc": "2.0", "method": "notifications/cancelled"}
            reply = await it.ask(listen("M", ["say", gone | {"params": {"requestId": "$id"}}]))
            assert reply.messages == [gone | {"params": {"requestId": "M"}}]

    run(scenario())


def test_a_slow_reader_loses_its_listen_and_delays_nobody():
    async def scenario():
        async with client() as it:
            many = [["say", tagged("notifications/tools/list_changed")]] * 70
            reply = it.post(listen("L", *many, ["hush"]))
            reply.go.clear()
            assert (await it.ask(modern(1))).status == 200
            reply.go.set()
            with pytest.raises(UpstreamError):
                await reply.done()
            assert not reply.ended

    run(scenario())


def test_requests_of_the_child_are_dropped():
    async def scenario():
        async with client() as it:
            ask = {"jsonrpc": "2.0", "id": 1, "method": "roots/list"}
            reply = await it.ask(modern(1, script=[["say", ask]]))
            assert not reply.streams

    run(scenario())


def test_notifications_of_clients_stop_here_and_their_answers_are_400():
    async def scenario():
        async with client() as it:
            note = {
                "jsonrpc": "2.0",
                "method": "notifications/cancelled",
                "params": {"requestId": 1},
            }
            told = await it.ask(json.dumps(note).encode())
            assert (told.status, told.body) == (202, b"")
            answer = b'{"jsonrpc":"2.0","id":1,"result":{}}'
            assert (await it.ask(answer)).status == 400
            assert it.upstream.children == 0

    run(scenario())


def test_errors_have_the_status_that_the_revision_gives_them():
    async def scenario():
        async with client() as it:
            for code, status in (
                (-32601, 404),
                (-32602, 400),
                (-32021, 400),
                (-32603, 200),
                (1, 200),
            ):
                answer = {"jsonrpc": "2.0", "id": "$id", "error": {"code": code, "message": "m"}}
                reply = await it.ask(modern(1, script=[["say", answer], ["hush"]]))
                assert (reply.status, reply.last) == (status, {**answer, "id": 1})

    run(scenario())


@pytest.mark.parametrize("era", ["legacy", "crash"])
def test_a_legacy_child_sends_modern_clients_to_its_own_era(era):
    async def scenario():
        clock = HandClock()
        async with client("--era", era, clock=clock) as it:
            for _ in range(2):
                reply = await it.ask(modern("x"))
                assert (reply.status, reply.last["id"]) == (400, "x")
                fault = reply.last["error"]
                assert fault["code"] == -32022
                assert "2025-11-25" in fault["data"]["supported"]
                assert fault["data"]["requested"] == "2026-07-28"
            await until(lambda: not it.upstream.children)

    run(scenario())


def test_a_child_that_is_silent_about_its_era_is_legacy():
    async def scenario():
        clock = HandClock()
        async with client("--era", "silent", clock=clock, first_byte_timeout_s=33.0) as it:
            reply = it.post(modern(1))
            await clock.armed(33)
            await clock.advance(33)
            assert (await reply.done()).status == 400

    run(scenario())


def test_a_child_that_dies_is_restarted_but_not_at_once():
    async def scenario():
        clock = HandClock()
        async with client(clock=clock) as it:
            for delay in (0.1, 0.2, 0.4):
                doomed = it.post(modern(1, "x/y", script=[["exit", 1]]))
                listening = it.post(listen("L"))
                with pytest.raises(UpstreamError) as caught:
                    await doomed.done()
                assert (caught.value.reason, caught.value.sent) == ("exited", True)
                with pytest.raises(UpstreamError):
                    await listening.done()
                assert b"error" not in listening.body
                reply = it.post(modern(2))
                await clock.armed(delay)
                assert not reply.status
                await clock.advance(delay)
                assert (await reply.done()).status == 200

    run(scenario())


def test_restarts_back_off_up_to_a_bound_and_forget_after_a_long_life():
    async def scenario():
        clock = HandClock()
        backoff = Backoff(clock)
        waits = []
        for _ in range(12):
            backoff.ended(1.0)
            waits.append(backoff.wait_s())
        assert waits[:3] == pytest.approx([0.1, 0.2, 0.4])
        assert waits[-1] == 30.0
        backoff.ended(61.0)
        assert backoff.wait_s() == 0.0

    run(scenario())


def test_who_leaves_during_the_start_takes_nothing_from_those_who_wait():
    async def scenario():
        async with client() as it:
            one, two = it.post(modern(1)), it.post(modern(2))
            await breathe()
            one.task.cancel()
            assert (await two.done()).status == 200
            assert it.upstream.children == 1

    run(scenario())


def test_a_message_that_reads_two_ways_ends_the_child():
    async def scenario():
        async with client() as it:
            await it.ask(modern(0))
            raw = '{"jsonrpc":"2.0","id":2,"id":2,"result":{}}\n'
            with pytest.raises(UpstreamError) as caught:
                await it.ask(modern(1, script=[["raw", raw.replace("2,", "3,")], ["wait"]]))
            assert caught.value.reason == "invalid"

    run(scenario())
