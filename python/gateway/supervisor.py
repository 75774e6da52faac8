"""Several workers on one port: starts them, replaces the dead, adds up what they count.

INVARIANT: the limit table is this process's, so that no worker's end loses a count; and the sidecar
is ready only while every worker is.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import signal
import socket
import sys
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import orjson

from gateway._core import LimitTable
from gateway.app import telling_of_approvals
from gateway.errors import Problem, StartError
from gateway.operate.family import text
from gateway.operate.metrics import deliveries
from gateway.operate.report import Topic, merge, retire
from gateway.process import (
    Signals,
    announce,
    bind_all,
    log_to_stderr,
    open_table,
    serve_admin,
)
from gateway.server import bind
from gateway.worker import Order

if TYPE_CHECKING:
    from gateway.config.source import ConfigSource
    from gateway.settings import Settings

START_TIMEOUT_S = 30
ASK_TIMEOUT_S = 2.0
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 10.0
HEALTHY_S = 10.0
"""A worker that lived this long did not die of its start; the next one may start at once."""
MARGIN_S = 5.0
"""What a worker gets beyond the grace before it is killed."""

_log = logging.getLogger("interlock.supervisor")


class _Worker:
    """A worker that came up, and what it tells.

    Attributes:
        last: what it told last, by topic, good for the day it dies.
        silent: it did not answer when it was last asked.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.process = process
        self.last: dict[Topic, bytes] = {}
        self.silent = False
        self._reader = reader
        self._writer = writer
        self._asked: deque[tuple[Topic, asyncio.Future[None]]] = deque()

    async def listen(self) -> None:
        """Take in what it tells, until it ends."""
        while (told := await _told(self._reader)) is not None:
            topic, answer = self._asked.popleft()
            self.last[topic] = told
            if not answer.done():
                answer.set_result(None)

    async def ask(self, topic: Topic) -> bytes | None:
        """What it tells now; what it told last if it does not answer in time."""
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked.append((topic, answer))
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                self._writer.write(topic.encode() + b"\n")
                await answer
            self.silent = False
        except TimeoutError:
            self.silent = True
        return self.last.get(topic)


async def _told(reader: asyncio.StreamReader) -> bytes | None:
    """One answer of a worker; None once it has ended."""
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        if size := await reader.readline():
            return await reader.readexactly(int(size))
    return None


def run(settings: Settings, source: ConfigSource | None = None) -> int:
    """Serve with several workers until told to stop; the exit code.

    Args:
        settings: checked.
        source: where they come from, if each worker is to look at it again.

    Raises:
        StartError: a port or the state file is not to be had, or a worker did not come up.
    """
    log_to_stderr()
    return asyncio.run(_Supervisor(settings, source).run())


class _Supervisor:
    def __init__(self, settings: Settings, source: ConfigSource | None = None) -> None:
        self._source = source
        self._table, self._table_path, self._fds = _open_shared(settings)
        # A plain bind finds out what SO_REUSEPORT would hide: that somebody else has the port.
        if settings.listen.port != 0:
            bind(settings.listen).close()
        # Bound but never listening: it keeps the port ours while workers come and go.
        self._placeholder, self._admin, self._settings = bind_all(settings, shared=True)
        self._workers: dict[int, _Worker] = {}
        self._past = b""
        self._deliveries: Mapping[str, int] = {}
        self._failed: StartError | None = None
        self._up = asyncio.Event()

    async def run(self) -> int:
        self._signals = Signals(self._reload)
        keepers = [asyncio.create_task(self._keep(i)) for i in range(self._settings.workers)]
        stopping = asyncio.create_task(self._signals.stop.wait())
        up = asyncio.create_task(self._up.wait())
        await asyncio.wait({up, stopping}, return_when=asyncio.FIRST_COMPLETED)
        operators = None
        if self._up.is_set():
            operators = await serve_admin(self.ask, self._admin, self._settings)
            announce(self._settings)
            with telling_of_approvals(self._settings) as self._deliveries:
                await stopping
        up.cancel()
        await self._drain(keepers)
        if operators is not None:
            await operators.drain(0)
        if self._failed is not None:
            raise self._failed
        return 0

    async def ask(self, topic: Topic) -> bytes:
        """What all workers tell, and what those that died have counted."""
        workers = list(self._workers.values())
        told = await asyncio.gather(*(worker.ask(topic) for worker in workers))
        own = text(deliveries(self._deliveries))
        merged = merge(topic, [one for one in told if one is not None], self._past, own)
        if topic != "ready":
            return merged
        reasons = orjson.loads(merged)
        missing = self._settings.workers - sum(not worker.silent for worker in workers)
        if self._signals.stop.is_set():
            reasons.append("draining")
        elif missing:
            reasons.append(f"{missing} of {self._settings.workers} workers are down")
        return orjson.dumps(reasons)

    async def _keep(self, index: int) -> None:
        """Have one worker running until told to stop."""
        pause_s = FIRST_PAUSE_S
        loop = asyncio.get_running_loop()
        while not self._signals.stop.is_set():
            started = loop.time()
            code = await self._one_life(index)
            if self._signals.stop.is_set():
                return
            if not self._up.is_set():
                self._fail(f"worker {index} ended with exit code {code} before it was ready")
                return
            _log.error("worker %d ended with exit code %s, starting another", index, code)
            pause_s = (
                FIRST_PAUSE_S
                if loop.time() - started > HEALTHY_S
                else min(pause_s * 2, LONGEST_PAUSE_S)
            )
            await self._stop_within(pause_s)

    async def _one_life(self, index: int) -> int:
        """Start a worker, and wait for its end; the exit code."""
        process, reader, writer = await self._spawn(index)
        telling = asyncio.create_task(_told(reader))
        for _ in range(START_TIMEOUT_S):
            # In steps, so that a machine which stood still meanwhile costs one of them.
            if telling in (await asyncio.wait({telling}, timeout=1))[0]:
                break
        else:
            _log.error("worker %d did not come up within %d s", index, START_TIMEOUT_S)
            telling.cancel()
            process.kill()
        serves = telling.done() and telling.result() is not None
        listening = None
        if serves:
            worker = _Worker(process, reader, writer)
            listening = asyncio.create_task(worker.listen())
            self._workers[index] = worker
            if len(self._workers) == self._settings.workers:
                self._up.set()
        if self._signals.stop.is_set():
            _signal(process, signal.SIGTERM)
        code = await process.wait()
        if listening is not None:
            await listening
        writer.close()
        if (dead := self._workers.pop(index, None)) is not None:
            self._past = retire(self._past, dead.last.get("metrics", b""))
        return code

    async def _spawn(
        self, number: int
    ) -> tuple[asyncio.subprocess.Process, asyncio.StreamReader, asyncio.StreamWriter]:
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "gateway",
                "--worker",
                str(theirs.fileno()),
                stdin=asyncio.subprocess.PIPE,
                pass_fds=(theirs.fileno(), *self._fds),
                # A terminal's interrupt goes to a whole process group; the supervisor passes it on.
                start_new_session=True,
            )
        assert process.stdin is not None
        order = Order(self._settings, self._table_path, number, self._source)
        process.stdin.write(pickle.dumps(order))
        process.stdin.close()
        return process, *await asyncio.open_connection(sock=ours)

    async def _drain(self, keepers: list[asyncio.Task[None]]) -> None:
        self._placeholder.close()
        self._signal_all(signal.SIGTERM)
        hurried: asyncio.Future[Any] = asyncio.create_task(self._signals.hurry.wait())
        ended: asyncio.Future[Any] = asyncio.gather(*keepers, return_exceptions=True)
        await asyncio.wait(
            {ended, hurried},
            timeout=self._settings.grace_s + MARGIN_S,
            return_when=asyncio.FIRST_COMPLETED,
        )
        hurried.cancel()
        if not ended.done():
            self._signal_all(signal.SIGKILL)
            await ended

    def _reload(self) -> None:
        self._signal_all(signal.SIGHUP)

    def _signal_all(self, number: signal.Signals) -> None:
        for worker in self._workers.values():
            _signal(worker.process, number)

    def _fail(self, message: str) -> None:
        self._failed = self._failed or StartError(Problem(message))
        self._signals.stop.set()

    async def _stop_within(self, seconds: float) -> None:
        """Wait, but no longer than until it is time to stop."""
        try:
            async with asyncio.timeout(seconds):
                await self._signals.stop.wait()
        except TimeoutError:
            return


def _open_shared(settings: Settings) -> tuple[LimitTable, str, tuple[int, ...]]:
    """The table as its owner, the path by which workers join it, and what they inherit for that."""
    if settings.state is not None:
        return open_table(settings), str(settings.state), ()
    table, fd = LimitTable.shared(settings.slots)
    os.set_inheritable(fd, True)
    return table, f"/proc/self/fd/{fd}", (fd,)


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    if process.returncode is None:
        process.send_signal(number)
