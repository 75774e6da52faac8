"""A process: how it starts, what it may say, how it ends."""

import asyncio
import logging
import os
import signal
import sys
from contextlib import asynccontextmanager

import pytest

from gateway.errors import UpstreamError
from gateway.upstream.child import Child, environment, printable
from support.stdio import SERVER, HandClock, breathe, request, run, until


@asynccontextmanager
async def running(code, *arguments, clock=None, env=None, line_bytes=1 << 16):
    """A child that runs Python code, or the scripted server if there is none."""
    program = ("-c", code) if code else (str(SERVER),)
    child = await Child.spawn(
        (sys.executable, "-I", *program, *arguments),
        env or {},
        name="s",
        clock=clock or asyncio.get_running_loop(),
        line_bytes=line_bytes,
    )
    try:
        yield child
    finally:
        child.signal(signal.SIGKILL)
        await child.stop()
        with pytest.raises(ProcessLookupError):
            os.kill(child.pid, 0)


async def lines(child):
    found = []
    while (line := await child.line()) is not None:
        found.append(line)
    return found


def test_the_environment_is_an_allow_list():
    ours = {
        "PATH": "/bin",
        "HOME": "/h",
        "LC_ALL": "C",
        "AWS_SECRET_ACCESS_KEY": "s",
        "INTERLOCK_TOKEN": "t",
        "LD_PRELOAD": "x.so",
        "TERM": "() { :; }; echo",
    }
    expected = {"PATH": "/x", "HOME": "/h", "LC_ALL": "C", "OWN": "1"}
    assert environment({"OWN": "1", "PATH": "/x"}, ours) == expected


def test_a_child_sees_that_environment_and_its_arguments_and_no_shell():
    async def scenario():
        code = "import os,sys; print(sorted(os.environ), sys.argv[1:])"
        async with running(code, "$(id); `id`", "--", env={"OWN": "1"}) as child:
            # Python itself may add LC_CTYPE.
            shown = (await child.line()).decode().replace("'LC_CTYPE', ", "")
            assert shown == "['OWN'] ['$(id); `id`', '--']"

    run(scenario())


def test_lines_come_whole_without_their_ends():
    async def scenario():
        code = (
            "import sys; w = sys.stdout.buffer.write; w(b'a\\r\\n\\n \\nb');"
            "sys.stdout.flush(); w(b'c\\nd')"
        )
        async with running(code) as child:
            assert await lines(child) == [b"a", b"bc", b"d"]

    run(scenario())


@pytest.mark.parametrize("end", ["\\n", ""])
def test_a_line_that_is_too_long_kills(end):
    async def scenario():
        code = f"print('ok'); print('x' * 70000, end='{end}', flush=True); input()"
        async with running(code) as child:
            assert await child.wait() == -signal.SIGKILL
            assert b"x" * 70000 not in await lines(child)
            assert child.fault == "it wrote a line that is too long"
            assert child.ending().reason == "invalid"
            with pytest.raises(UpstreamError):
                await child.write(b"{}")

    run(scenario())


def test_a_child_that_is_not_read_is_made_to_wait():
    async def scenario():
        code = (
            "import sys\n"
            "for n in range(100000):\n"
            "    print(n, 'x' * 1000)\n"
            "    if n % 1000 == 0: sys.stderr.write(str(n) + '\\n')\n"
        )
        async with running(code) as child:
            assert (await child.line()).startswith(b"0 ")
            await until(lambda: child._paused)
            # 100 MB are to be had; what is held is a few chunks past the bound.
            for _ in range(200):
                await breathe()
            assert child.returncode is None
            assert child._held < 4 << 20
            rest = await lines(child)
            assert len(rest) == 99_999
            assert rest[-1].startswith(b"99999 ")

    run(scenario())


def test_a_child_that_does_not_read_makes_the_writer_wait():
    async def scenario():
        code = (
            "import signal, sys\n"
            "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])\n"
            "print('up', flush=True)\n"
            "signal.sigwait([signal.SIGUSR1])\n"
            "print([len(sys.stdin.readline()) for _ in range(3)])\n"
        )
        async with running(code) as child:
            await child.line()
            await child.write(b"x" * 4_000_000)
            blocked = asyncio.ensure_future(child.write(b"second"))
            await breathe()
            assert not blocked.done()
            child.signal(signal.SIGUSR1)
            await blocked
            await child.write(b"third")
            assert await child.line() == b"[4000001, 7, 6]"

    run(scenario())


def test_a_polite_child_ends_when_its_input_does():
    async def scenario():
        clock = HandClock()
        async with running(None, clock=clock, env={"EXIT_CODE": "7"}) as child:
            assert await child.stop() == 7
            assert not child.alive
            assert not child.post(b"{}")
            with pytest.raises(UpstreamError) as caught:
                await child.write(b"{}")
            assert not caught.value.sent

    run(scenario())


@pytest.mark.parametrize(("flags", "last"), [((), signal.SIGTERM), (("--deaf",), signal.SIGKILL)])
def test_a_stubborn_child_is_signalled_step_by_step(flags, last):
    async def scenario():
        clock = HandClock()
        code = (
            "import signal,sys\n"
            "if '--deaf' in sys.argv: signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "print('up', flush=True)\n"
            "while True: signal.pause()\n"
        )
        async with running(code, *flags, clock=clock) as child:
            await child.line()
            stopping = asyncio.ensure_future(child.stop())
            await clock.armed(2)
            assert child.returncode is None
            await clock.advance(2)
            if last == signal.SIGKILL:
                await clock.armed(2)
                await clock.advance(2)
            assert await stopping == -last

    run(scenario())


def test_a_cancelled_caller_does_not_keep_a_child_alive():
    async def scenario():
        clock = HandClock()
        async with running("import signal; signal.pause()", clock=clock) as child:
            stopping = asyncio.ensure_future(child.stop())
            await clock.armed(2)
            stopping.cancel()
            await clock.advance(2)
            assert await child.wait() == -signal.SIGTERM

    run(scenario())


def test_descendants_go_with_the_child():
    async def scenario():
        code = (
            "import subprocess,sys\n"
            "p = subprocess.Popen([sys.executable, '-Ic', 'import signal; signal.pause()'])\n"
            "print(p.pid, flush=True)\n"
        )
        # Time stands still: nothing else lets go of the pipe.
        async with running(code, clock=HandClock()) as child:
            descendant = int(await child.line())
            assert await child.wait() == 0
            # The pipe it inherited ends only with it.
            assert await child.line() is None
            assert descendant > 0

    run(scenario())


def test_a_descendant_in_another_group_holds_nothing_up():
    async def scenario():
        clock = HandClock()
        code = (
            "import subprocess,sys\n"
            "c = 'import os,signal; print(os.getpid(), flush=True); signal.pause()'\n"
            "subprocess.Popen([sys.executable, '-Ic', c], start_new_session=True)\n"
            "print('ready', flush=True)\n"
        )
        async with running(code, clock=clock) as child:
            said = {await child.line(), await child.line()}
            await child.wait()
            await clock.armed(2)
            await clock.advance(2)
            assert await child.line() is None
            os.kill(next(int(line) for line in said if line.isdigit()), signal.SIGKILL)

    run(scenario())


def test_stray_text_is_passed_over_and_logged_but_not_for_ever(caplog):
    async def scenario(count):
        code = (
            f"print('Server started\\x1b[2J'); [print('x') for _ in range({count})]; print('{{}}')"
        )
        async with running(code + '; print(\'{"method":"m"}\')') as child:
            found = [line.method async for line in child.messages()]
            return found, child.fault

    caplog.set_level(logging.INFO, "interlock.upstream")
    assert run(scenario(10)) == (["m"], None)
    assert "Server started\\x1b[2J" in caplog.text
    found, fault = run(scenario(200))
    assert found == []
    assert fault is not None


def test_a_broken_message_kills():
    async def scenario():
        async with running("print('{\"id\":1,', flush=True); input()") as child:
            assert [line async for line in child.messages()] == []
            with pytest.raises(UpstreamError) as caught:
                await child.write(b"{}")
            assert not caught.value.sent
            assert await child.wait() == -signal.SIGKILL

    run(scenario())


def test_standard_error_is_logged_in_bounded_lines(caplog):
    async def scenario():
        clock = HandClock()
        code = (
            "import sys\n"
            "sys.stderr.write('\\x07bell\\n' + 'y' * 100000 + '\\n')\n"
            "[print('line', n, file=sys.stderr) for n in range(5000)]\n"
        )
        async with running(code, clock=clock) as child:
            await child.wait()
            await lines(child)
            await clock.advance(61)

    caplog.set_level(logging.INFO, "interlock.upstream")
    run(scenario())
    assert "\\x07bell" in caplog.text
    assert max(len(record.getMessage()) for record in caplog.records) < 5000
    assert len(caplog.records) <= 601


def test_printable_text_has_no_line_ends_nor_escapes():
    assert printable("a\u2028b\x1b[0m é\n".encode()) == "a\\x2028b\\x1b[0m é\\x0a"
    assert printable(b"\xff") == "\ufffd"


def test_the_scripted_server_is_spoken_to_in_lines():
    async def scenario():
        async with running(None) as child:
            await child.write(request(1, "ping"))
            assert b'"id": 1' in await child.line()

    run(scenario())


def test_a_child_that_ends_at_once_takes_nobody_along(monkeypatch):
    """Group 0 is our own, and whatever is left of a dead child is signalled by its group."""
    signalled = []
    monkeypatch.setattr(os, "killpg", lambda group, number: signalled.append(group))

    async def scenario():
        for _ in range(10):
            child = await Child.spawn(
                ("/bin/true",), {}, name="s", clock=asyncio.get_running_loop()
            )
            assert await child.wait() == 0
            assert signalled[-1] == child.pid > 0
            await child.stop()

    run(scenario())
    assert 0 not in signalled
