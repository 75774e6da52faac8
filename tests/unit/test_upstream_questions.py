"""What a child asks of its client, and the one answer that it gets."""

import json

from support.stdio import breathe, client, request, run

ASK = {"jsonrpc": "2.0", "id": "q", "method": "roots/list"}
ANSWER = b'{"jsonrpc":"2.0","id":"q","result":{"roots":[]}}'


def test_the_child_may_ask_and_one_answer_reaches_it():
    async def scenario():
        async with client() as it:
            reply = it.post(request(1, script=[["say", ASK], ["wait"]]))
            await reply.holds(1)
            assert reply.messages == [ASK]
            wrong = ANSWER.replace(b'"q"', b'"r"')
            assert (await it.ask(wrong)).status == 400
            told = await it.ask(ANSWER)
            assert (told.status, told.body) == (202, b"")
            await reply.done()
            assert reply.last["result"]["seen"][-1] == ANSWER.decode()
            assert (await it.ask(ANSWER)).status == 400

    run(scenario())


def test_with_two_requests_open_a_question_waits_for_the_get_stream():
    async def scenario():
        async with client() as it:
            one = it.post(request(1, script=[["wait"], ["say", ASK], ["wait"]]))
            await breathe()
            two = it.post(request(2, script=[["hush"]]))
            note = b'{"jsonrpc":"2.0","method":"notifications/x"}'
            await breathe()
            stream = it.get()
            await stream.holds(1)
            assert stream.messages == [ASK]
            assert not one.status
            assert (await it.ask(ANSWER)).status == 202
            await one.done()
            assert not one.streams
            two.task.cancel()
            assert (await it.ask(note)).status == 202

    run(scenario())


def test_questions_that_nobody_can_be_asked_are_refused_to_the_child():
    async def scenario():
        async with client() as it:
            asks = [["say", {**ASK, "id": i}] for i in range(17)]
            reply = it.post(request(1, script=[["wait"], *asks, ["wait"]]))
            other = it.post(request(2, script=[["hush"]]))
            await reply.done()
            refused = json.loads(reply.last["result"]["seen"][-1])
            assert (refused["id"], refused["error"]["code"]) == (16, -32603)
            other.task.cancel()

    run(scenario())


def test_a_withdrawn_question_may_still_be_answered_but_goes_no_further():
    async def scenario():
        withdraw = {
            "jsonrpc": "2.0",
            "method": "notifications/cancelled",
            "params": {"requestId": "q"},
        }
        async with client() as it:
            reply = it.post(request(1, script=[["say", ASK], ["say", withdraw], ["wait"]]))
            await reply.holds(2)
            assert (await it.ask(ANSWER)).status == 202
            assert (await it.ask(ANSWER)).status == 400
            await it.ask(b'{"jsonrpc":"2.0","method":"notifications/x"}')
            await reply.done()
            assert ANSWER.decode() not in reply.last["result"]["seen"]

    run(scenario())
