"""One MCP server as a child process: spawned clean, spoken to in lines, stopped for certain.

Invariants: no shell and no inherited environment beyond the allow-list; a line is written whole or
not at all; what a child writes is held in bounded memory, and a child that writes faster than it
is read is made to wait; when the child goes, its whole process group goes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from gateway.errors import UpstreamError
from gateway.upstream.clock import within
from gateway.upstream.lines import Broken, Line, read

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from gateway.upstream.clock import Clock

logger = logging.getLogger("interlock.upstream")

LINE_BYTES = 4 << 20
"""The longest line a child may write; images travel in lines."""

_HELD_LINES = 64
_HELD_BYTES = 1 << 20
_UNREAD_BYTES = 2 << 20
_NOTE_BYTES = 4096
_NOTES_A_MINUTE = 600
_STRAY_LINES = 100
_STEP_S = 2.0

_INHERITED = frozenset(
    {"PATH", "HOME", "LANG", "TERM", "TZ", "TMPDIR", "USER", "SHELL", "LOGNAME"},
)


def environment(extra: Mapping[str, str], inherited: Mapping[str, str]) -> dict[str, str]:
    """The variables a child starts with: an allow-list of ours, and what its settings give it."""
    kept = {
        name: value
        for name, value in inherited.items()
        # A value that starts so is a function that some shells would run.
        if (name in _INHERITED or name.startswith("LC_")) and not value.startswith("()")
    }
    return kept | dict(extra)


def printable(text: bytes) -> str:
    """Text of a stranger for a log: one line, bounded, nothing a terminal would obey."""
    shown = text[:_NOTE_BYTES].decode("utf-8", "replace")
    plain = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in shown)
    return plain if len(text) <= _NOTE_BYTES else plain + "…"


class Child(asyncio.SubprocessProtocol):
    """A running process and its three pipes. One reader: whoever calls `line`.

    Attributes:
        pid: the process, which leads a group of its own.
        returncode: its exit code once it ended; negative for a signal.
        fault: why it was killed for what it wrote, if it was.
    """

    def __init__(self, name: str, clock: Clock, line_bytes: int) -> None:
        self.pid = 0
        self.returncode: int | None = None
        self.fault: str | None = None
        self._name = name
        self._clock = clock
        self._line_bytes = line_bytes
        self._transport: asyncio.SubprocessTransport | None = None
        self._exited = asyncio.Event()
        self._lines: deque[bytes] = deque()
        self._held = 0
        self._partial = bytearray()
        self._paused = False
        self._deaf = False
        self._ended = False
        self._reader: asyncio.Future[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._stdin_closed = False
        self._notes = _Notes(name, clock)
        self._stopping: asyncio.Task[int] | None = None

    @classmethod
    async def spawn(
        cls,
        command: Sequence[str],
        env: Mapping[str, str],
        *,
        name: str,
        clock: Clock,
        line_bytes: int = LINE_BYTES,
    ) -> Child:
        """Start `command` with exactly the variables of `env`.

        Raises:
            UpstreamError: `connect`, the program cannot be started.
        """
        child = cls(name, clock, line_bytes)
        loop = asyncio.get_running_loop()
        try:
            await loop.subprocess_exec(
                lambda: child, *command, env=dict(env), start_new_session=True
            )
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            message = f"`{command[0]}` cannot be started: {reason.lower()}"
            raise UpstreamError("connect", message, sent=False) from error
        return child

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)
        # Before anything can end: a child that is gone at once must not be signalled as group 0,
        # which is our own.
        self.pid = self._transport.get_pid()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 2:
            self._notes.feed(data)
            return
        if self._deaf:
            return
        first, *rest = data.split(b"\n")
        self._partial += first
        if rest:
            self._keep(bytes(self._partial))
            for line in rest[:-1]:
                self._keep(line)
            self._partial[:] = rest[-1]
        if len(self._partial) > self._line_bytes:
            self.condemn("it wrote a line that is too long")
        self._pace()
        self._wake()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 0:
            self._stdin_closed = True
            self._writable.set()
        elif fd == 1:
            self._finish()
        else:
            self._notes.close()

    def process_exited(self) -> None:
        assert self._transport is not None
        self.returncode = self._transport.get_returncode()
        self._exited.set()
        self._signal(signal.SIGKILL)
        self._clock.call_later(_STEP_S, self._abandon)
        self._stdin_closed = True
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # What the gateway calls.

    @property
    def alive(self) -> bool:
        """Whether a line written now may still be read."""
        return not self._stdin_closed

    async def line(self) -> bytes | None:
        """The next line the child wrote, without its line end; None after the last. Blank lines are
        passed over."""
        while not self._lines:
            if self._ended:
                return None
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        line = self._lines.popleft()
        self._held -= len(line)
        self._pace()
        return line

    async def messages(self) -> AsyncIterator[Line]:
        """What the child says, until it ends.

        Stray text, such as a banner, is logged and passed over, up to a bound. A line that begins
        like a message and is none means that an answer may be lost: then the child is killed.
        """
        stray = 0
        while (raw := await self.line()) is not None:
            try:
                found = read(raw)
            except Broken as broken:
                self.condemn(str(broken))
                return
            stray = 0 if found else stray + 1
            if stray:
                self.remark(raw)
            if stray > _STRAY_LINES:
                self.condemn("it writes text where messages belong")
            for line in found:
                yield line

    def remark(self, text: bytes) -> None:
        """Log free text of the child, within the bounds that its standard error has."""
        self._notes.note(text)

    def ending(self) -> UpstreamError:
        """Why requests that the child had seen have no answer."""
        if self.fault is not None:
            return UpstreamError("invalid", f"the server was stopped: {self.fault}", sent=True)
        return UpstreamError("exited", "the server's process has ended", sent=True)

    async def write(self, line: bytes) -> None:
        """Hand the child one line, whole, once it has read enough of what came before.

        Args:
            line: one message without LF.

        Raises:
            UpstreamError: `exited`, the child is gone and saw nothing of it.
        """
        while not self._writable.is_set():
            await self._writable.wait()
        self._put(line)

    def post(self, line: bytes) -> bool:
        """Hand the child a short line without waiting; False if it reads too little, or no more."""
        stdin = self._pipe(0)
        if self._stdin_closed or stdin.get_write_buffer_size() > _UNREAD_BYTES:
            return False
        self._put(line)
        return True

    def condemn(self, fault: str) -> None:
        """Kill the child for what it wrote; nothing more of it is believed."""
        if self.fault is None:
            self.fault = fault
            logger.error("server `%s` is killed: %s", self._name, fault)
        self._stdin_closed = True
        self._ignore()
        self.signal(signal.SIGKILL)
        self._finish()

    def eof(self) -> None:
        """Tell the child that no more will come, after what it was already given."""
        self._stdin_closed = True
        self._pipe(0).close()

    def signal(self, number: int) -> None:
        """Send a signal to the child's whole process group."""
        if self.returncode is None:
            self._signal(number)

    async def wait(self) -> int:
        """The exit code, once there is one; negative for a signal."""
        await self._exited.wait()
        assert self.returncode is not None
        return self.returncode

    async def stop(self, *, step_s: float = _STEP_S) -> int:
        """End the child: close its input, then SIGTERM, then SIGKILL to the group, `step_s` apart.

        Safe to call again and from several tasks; goes on if the caller is cancelled.

        Returns:
            The exit code.
        """
        if self._stopping is None:
            # At once: nothing may be written to a child that is on its way out.
            self.eof()
            self._stopping = asyncio.create_task(self._stop(step_s))
        return await asyncio.shield(self._stopping)

    async def _stop(self, step_s: float) -> int:
        # A child that blocks on a full pipe cannot read the end of its input.
        self._ignore()
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(TimeoutError):
                async with within(self._clock, step_s):
                    await self._exited.wait()
            if self._exited.is_set():
                break
            self.signal(number)
        code = await self.wait()
        assert self._transport is not None
        self._transport.close()
        return code

    def _put(self, line: bytes) -> None:
        if self._stdin_closed:
            raise UpstreamError("exited", "the server's process has ended", sent=False)
        self._pipe(0).write(line + b"\n")

    def _keep(self, line: bytes) -> None:
        line = line.removesuffix(b"\r")
        if len(line) > self._line_bytes:
            self.condemn("it wrote a line that is too long")
        elif line and not line.isspace() and not self._deaf:
            self._lines.append(line)
            self._held += len(line)

    def _ignore(self) -> None:
        self._deaf = True
        self._lines.clear()
        self._partial.clear()
        self._held = 0
        self._pace()

    def _finish(self) -> None:
        if self._partial and not self._deaf:
            # The last line of a child that died in the middle of it: a whole message or nothing.
            self._keep(bytes(self._partial))
            self._partial.clear()
        self._ended = True
        self._wake()

    def _abandon(self) -> None:
        """Let go of pipes that a descendant outside the group still holds; nobody else ends
        them."""
        assert self._transport is not None
        if self._paused:
            # Our own reader is slow: what the child left in the pipe is still wanted.
            self._clock.call_later(_STEP_S, self._abandon)
        else:
            self._transport.close()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _pace(self) -> None:
        full = len(self._lines) > _HELD_LINES or self._held > _HELD_BYTES
        if full == self._paused or self._transport is None:
            return
        stdout = cast("asyncio.ReadTransport", self._transport.get_pipe_transport(1))
        self._paused = full
        if full:
            stdout.pause_reading()
        elif not stdout.is_closing():
            stdout.resume_reading()

    def _pipe(self, fd: int) -> asyncio.WriteTransport:
        assert self._transport is not None
        return cast("asyncio.WriteTransport", self._transport.get_pipe_transport(fd))

    def _signal(self, number: int) -> None:
        # The group may be empty by now, or hold only processes that are no longer ours to signal.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


class _Notes:
    """A child's free text, as bounded lines of our log."""

    def __init__(self, name: str, clock: Clock) -> None:
        self._name = name
        self._clock = clock
        self._partial = b""
        self._since = clock.time()
        self._count = 0

    def feed(self, data: bytes) -> None:
        *lines, rest = (self._partial + data).split(b"\n")
        for line in lines:
            self.note(line)
        # What is past the bound is not kept: the line shows that it was cut.
        self._partial = rest[: _NOTE_BYTES + 1]

    def close(self) -> None:
        self.note(self._partial)
        self._partial = b""

    def note(self, line: bytes) -> None:
        """Log a line, unless there were too many."""
        now = self._clock.time()
        if now - self._since >= 60:
            if self._count > _NOTES_A_MINUTE:
                left_out = self._count - _NOTES_A_MINUTE
                logger.warning("server `%s` wrote %d more lines to stderr", self._name, left_out)
            self._since, self._count = now, 0
        line = line.removesuffix(b"\r")
        if line:
            self._count += 1
            if self._count <= _NOTES_A_MINUTE:
                logger.info("server `%s`: %s", self._name, printable(line))
