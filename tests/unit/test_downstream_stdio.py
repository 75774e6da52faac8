"""`wrap`: what a client on one side and a server on the other may say to each other."""

import asyncio
import json
import logging
import os
import signal
import sys
from contextlib import asynccontextmanager

import pytest

from gateway._core import Engine, LimitTable, PolicySet
from gateway.downstream.pipes import Output
from gateway.downstream.stdio import wrap
from gateway.enforcement import EnforcementPoint
from gateway.errors import UpstreamError
from gateway.settings import Settings
from support.stdio import INITIALIZE, HandClock, breathe, run, settings, until

POLICY = {
    "version": "1",
    "default": "allow",
    "hide": ["gone"],
    "tools": {"bad": {"action": "deny"}},
}


class Desk:
    """A desktop client: the other ends of the pipes."""

    def __init__(self, point):
        self.point = point
        theirs_in, self.fd_in = os.pipe()
        self.fd_out, theirs_out = os.pipe()
        self.theirs = theirs_in, theirs_out
        self.reader = asyncio.StreamReader(1 << 24)
        self.task = None
        self.out = None

    async def start(self, server, clock=None, **changes):
        loop = asyncio.get_running_loop()
        protocol = asyncio.StreamReaderProtocol(self.reader)
        self.out, _ = await loop.connect_read_pipe(
            lambda: protocol, os.fdopen(self.fd_out, "rb", 0)
        )
        config = Settings(servers=(server,), **changes)
        stdin, stdout = self.theirs
        work = wrap(config, self.point, stdin=stdin, stdout=stdout, clock=clock)
        self.task = asyncio.ensure_future(work)

    def say(self, line):
        os.write(self.fd_in, line + b"\n")

    async def hear(self):
        return json.loads(await self.reader.readline())

    async def ask(self, line):
        self.say(line)
        return await self.hear()

    def leave(self):
        if self.fd_in is not None:
            os.close(self.fd_in)
            self.fd_in = None

    def close_ours(self):
        for fd in self.theirs:
            os.close(fd)


class Spy:
    """An enforcement point that notes what it was asked and how it was settled."""

    def __init__(self, policy=POLICY, fail=False):
        policies = PolicySet.parse(json.dumps(policy).encode(), name="p.json")
        self.inner = EnforcementPoint(Engine(policies, LimitTable(64)))
        self.settled = []
        self.callers = []
        self.decided = []
        self.fail = fail
        spy = self

        class Seen:
            def decide(self, caller, body, headers, **how):
                assert headers is None
                spy.callers.append(caller)
                spy.decided.append(body)
                if spy.fail:
                    raise BaseException("panic")
                return spy.inner.engine.decide(caller, body, full=how.get("full", False))

            def settle(self, decision, outcome, **how):
                spy.settled.append((decision.method, outcome))
                spy.inner.engine.settle(decision, outcome, **how)

            def __getattr__(self, name):
                return getattr(spy.inner.engine, name)

        self.point = EnforcementPoint(Seen())


@asynccontextmanager
async def desk(*arguments, spy=None, server=None, clock=None, **changes):
    spy = spy or Spy()
    it = Desk(spy.point)
    it.spy = spy
    await it.start(server or settings(*arguments), clock, **changes)
    try:
        yield it
    finally:
        it.leave()
        it.code = await it.task
        it.out.close()
        it.close_ours()


def call(ident, name="t", **arguments):
    params = {"name": name, "arguments": arguments}
    return json.dumps(
        {"jsonrpc": "2.0", "id": ident, "method": "tools/call", "params": params}
    ).encode()


def test_what_is_allowed_passes_byte_for_byte():
    async def scenario():
        async with desk() as it:
            line = (
                b'  { "jsonrpc" : "2.0", "id": "\\u0041",'
                b' "method":"tools/call","params":{"name":"t"}} '
            )
            answer = await it.ask(line)
            assert answer["id"] == "A"
            assert answer["result"]["seen"] == [line.decode()]
            assert it.spy.decided == [line]
        assert it.code == 0
        assert it.spy.settled == [("tools/call", "done")]

    run(scenario())


def test_a_refusal_takes_the_place_of_the_answer():
    async def scenario():
        async with desk() as it:
            answer = await it.ask(call(7, "bad"))
            assert answer["id"] == 7
            assert answer["result"]["isError"] is True
            assert (await it.ask(call(8)))["result"]["seen"] == [call(8).decode()]
        assert it.spy.settled == [("tools/call", "done")]

    run(scenario())


def test_a_carriage_return_does_not_smuggle_a_second_message():
    async def scenario():
        async with desk() as it:
            inner = call(2, "bad").decode()
            outer = call(1, x="X").decode()
            line = outer.replace('"X"', f"\r{inner}\r").encode()
            answer = await it.ask(line)
            assert answer["id"] == 1
            assert answer["result"]["seen"] == [line.decode().replace("\r", " ")]
            assert it.spy.decided == [line.replace(b"\r", b" ")]
            joined = call(3) + b"\r" + call(4, "bad")
            assert "error" in await it.ask(joined)
            assert len((await it.ask(call(5) + b"\r"))["result"]["seen"]) == 2

    run(scenario())


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"a":1}{"b":2}', b"\xff", b"hello", b"x" * 5000])
def test_what_is_no_message_is_answered_and_not_passed(line):
    async def scenario():
        async with desk(max_body_bytes=4096) as it:
            assert "error" in await it.ask(line)
            assert (await it.ask(call(1)))["result"]["seen"] == [call(1).decode()]

    run(scenario())


def test_an_endless_line_is_held_up_to_the_bound_only():
    async def scenario():
        async with desk(max_body_bytes=1000) as it:
            for _ in range(100):
                os.write(it.fd_in, b"y" * 60_000)
                await breathe()
            assert "error" in await it.ask(b"")
            assert len(it.spy.decided[0]) == 1001

    run(scenario())


def test_refused_notifications_are_dropped(caplog):
    async def scenario():
        spy = Spy({**POLICY, "methods": {"notifications/x": {"action": "deny"}}})
        async with desk(spy=spy) as it:
            it.say(b'{"jsonrpc":"2.0","method":"notifications/x"}')
            assert (await it.ask(call(1)))["result"]["seen"] == [call(1).decode()]

    run(scenario())
    assert "a notification was refused: " in caplog.text


def test_the_negotiated_revision_counts_from_the_next_message():
    async def scenario():
        async with desk() as it:
            await it.ask(INITIALIZE)
            await it.ask(call(1))
            first, second = it.spy.callers
            assert (first.revision, second.revision) == (None, "2025-11-25")
            assert first.session == second.session
            assert (second.grant, second.server) == ("default", "s")

    run(scenario())


def test_hidden_tools_do_not_pass_and_what_cannot_be_read_neither(caplog):
    async def scenario():
        async with desk() as it:
            tools = [{"name": "gone"}, {"name": "kept"}]
            answer = {"jsonrpc": "2.0", "id": "$id", "result": {"tools": tools}}
            heard = await it.ask(call(1, script=[["say", answer], ["hush"]]))
            assert heard["result"]["tools"] == [{"name": "kept"}]

            twice = '{"jsonrpc":"2.0","id":2,"result":{"tools":[]},"result":{"tools":[]}}\n'
            heard = await it.ask(call(2, script=[["raw", twice], ["hush"]]))
            assert heard["id"] == 2
            assert heard["result"]["isError"]
        assert it.spy.settled == [("tools/call", "done")] * 2

    run(scenario())
    assert "a message of the server is not relayed" in caplog.text


def test_standard_output_carries_the_protocol_only(caplog):
    async def scenario():
        async with desk() as it:
            steps = [["raw", "Listening\n"], ["raw", '{"id":\n'], ["note", "a secret path\n"]]
            assert "result" in await it.ask(call(1, script=steps))

    caplog.set_level(logging.INFO)
    run(scenario())
    assert "Listening" in caplog.text
    assert "a secret path" in caplog.text


def test_messages_of_the_server_pass_both_ways():
    async def scenario():
        async with desk() as it:
            ask = {"jsonrpc": "2.0", "id": 1, "method": "roots/list"}
            heard = await it.ask(call(1, script=[["say", ask], ["wait"]]))
            assert heard == ask
            reply = b'{"jsonrpc":"2.0","id":1,"result":{"roots":[]}}'
            heard = await it.ask(reply)
            assert heard["result"]["seen"][-1] == reply.decode()

    run(scenario())


def test_a_cancelled_call_frees_its_place_and_stays_charged():
    async def scenario():
        async with desk() as it:
            it.say(call(1, script=[["hush"]]))
            note = {"method": "notifications/cancelled", "params": {"requestId": 1}}
            it.say(json.dumps({"jsonrpc": "2.0", **note}).encode())
            await it.ask(call(2))
            methods = [("tools/call", "unknown"), ("notifications/cancelled", "done")]
            assert it.spy.settled == [*methods, ("tools/call", "done")]

    run(scenario())


def test_an_answer_frees_the_place_of_its_call():
    async def scenario():
        limit = {"counter": "one", "algorithm": "concurrency", "max": 1}
        spy = Spy({"version": "1", "default": "deny", "tools": {"t": {"limits": [limit]}}})
        async with desk(spy=spy) as it:
            for ident in (1, 2):
                assert "seen" in (await it.ask(call(ident)))["result"]
            it.say(call(3, script=[["hush"]]))
            refused = await it.ask(call(4))
            assert refused["result"]["isError"]
            assert "one" in json.dumps(refused)

    run(scenario())


def test_open_requests_are_bounded():
    async def scenario():
        async with desk(max_in_flight=1) as it:
            it.say(call(1, script=[["hush"]]))
            heard = await it.ask(call(2))
            assert heard["id"] == 2
            assert code_of(heard) == "overloaded"
            assert it.spy.settled == []
        assert it.spy.settled == [("tools/call", "unknown")]

    run(scenario())


def code_of(refused):
    return refused["result"]["_meta"]["interlock/decision"]["code"]


def test_what_is_over_the_bound_is_refused_before_it_is_decided():
    async def scenario():
        spy = Spy({**POLICY, "tools": {**POLICY["tools"], "never": {"action": "deny"}}})
        async with desk(spy=spy, max_in_flight=1) as it:
            assert code_of(await it.ask(call(1, "never"))) == "tool-denied"
            it.say(call(2, script=[["hush"]]))
            assert code_of(await it.ask(call(3, "never"))) == "overloaded", "no rule was asked"
            it.say(b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}')
            assert code_of(await it.ask(call(4, "never"))) == "tool-denied", "there is room again"
        assert [outcome for _, outcome in spy.settled].count("not-sent") == 0

    run(scenario())


def test_an_array_that_wants_more_answers_than_there_is_room_for_is_given_back():
    async def scenario():
        async with desk(max_in_flight=1) as it:
            await it.ask(INITIALIZE.replace(b"2025-11-25", b"2025-03-26"))
            it.say(json.dumps([json.loads(call(ident)) for ident in (1, 2)]).encode())
            assert "seen" in (await it.ask(call(3)))["result"], "it left no trace"
            assert [outcome for _, outcome in it.spy.settled] == ["done", "not-sent", "done"]

    run(scenario())


def test_the_end_of_the_child_is_the_end_and_its_code_ours():
    async def scenario():
        async with desk() as it:
            it.say(call(1, script=[["exit", 9]]))
            assert await it.task == 9
            assert it.spy.settled == [("tools/call", "unknown")]

    run(scenario())


def test_a_child_that_reads_no_more_has_not_seen_a_call():
    async def scenario():
        code = (
            "import os, signal; os.close(0)\n"
            'print(\'{"jsonrpc":"2.0","method":"m"}\', flush=True); signal.pause()'
        )
        server = settings(command=(sys.executable, "-Ic", code))
        async with desk(server=server) as it:
            await it.hear()
            await breathe()
            heard = await it.ask(call(1))
            assert heard["id"] == 1
            assert it.spy.settled == [("tools/call", "not-sent")]
            os.kill(os.getpid(), signal.SIGTERM)

    run(scenario())


def test_the_end_of_our_input_reaches_the_child_and_its_code_us():
    async def scenario():
        server = settings(env={"EXIT_CODE": "5"})
        async with desk(server=server) as it:
            it.say(call(1))
            it.leave()
            assert (await it.hear())["id"] == 1
            assert await it.task == 5

    run(scenario())


def test_a_child_that_ignores_the_end_of_input_is_given_the_grace_and_then_ended():
    async def scenario():
        clock = HandClock()
        async with desk("--deaf", clock=clock, grace_s=25.0) as it:
            await it.ask(call(1))
            it.leave()
            await clock.armed(25)
            await clock.advance(25)
            for _ in range(2):
                await clock.armed(2)
                await clock.advance(2)
            assert await it.task == 128 + signal.SIGKILL

    run(scenario())


def test_a_signal_is_passed_on():
    async def scenario():
        async with desk() as it:
            await it.ask(call(1))
            os.kill(os.getpid(), signal.SIGTERM)
            assert await it.task == 128 + signal.SIGTERM

    run(scenario())


def test_a_client_that_does_not_read_makes_the_writer_wait():
    async def scenario():
        theirs, ours = os.pipe()
        sink = Output(ours)
        await sink.open()
        line = b"x" * 1_000_000
        writing = asyncio.ensure_future(sink.write(line))
        await breathe()
        assert not writing.done()
        with os.fdopen(theirs, "rb") as reader:
            assert await asyncio.to_thread(reader.readline) == line + b"\n"
            assert await writing
        await until(sink._lost.is_set)
        assert not await sink.write(b"more")
        await sink.close(asyncio.get_running_loop())
        os.close(ours)

    run(scenario())


def test_a_client_that_is_gone_ends_the_child():
    async def scenario():
        async with desk() as it:
            await it.ask(call(1))
            it.out.close()
            it.say(call(2))
            assert await it.task == 0

    run(scenario())


def test_a_decision_that_fails_is_refused():
    async def scenario():
        async with desk(spy=Spy(fail=True)) as it:
            heard = await it.ask(call(3))
            assert heard["id"] == 3
            assert heard["error"]["data"]["code"] == "internal-error"
            it.say(b'{"jsonrpc":"2.0","method":"notifications/x"}')
            await until(lambda: len(it.spy.decided) == 2)
            it.spy.fail = False
            assert (await it.ask(call(4)))["result"]["seen"] == [call(4).decode()]

    run(scenario())


def test_a_program_that_cannot_be_started():
    async def scenario():
        spy = Spy()
        config = Settings(servers=(settings(command=("/nonexistent",)),))
        with pytest.raises(UpstreamError) as caught:
            await wrap(config, spy.point)
        assert caught.value.reason == "connect"

    run(scenario())


def test_files_instead_of_pipes(tmp_path):
    async def scenario():
        spy = Spy()
        (tmp_path / "in").write_bytes(call(1, "bad") + b"\n" + call(2))
        with (tmp_path / "in").open("rb") as source, (tmp_path / "out").open("wb") as sink:
            config = Settings(servers=(settings(),))
            assert await wrap(config, spy.point, stdin=source.fileno(), stdout=sink.fileno()) == 0
        found = [json.loads(line)["id"] for line in (tmp_path / "out").read_bytes().splitlines()]
        assert found == [1, 2]

    run(scenario())
