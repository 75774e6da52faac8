"""A program as a real process, whose standard error is read as it comes.

A test waits for what it says and never for a length of time. Leaving the `with` block of a process
ends it and whatever it started: a test that fails leaves nothing running.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

PATIENCE_S = 30.0
"""The bound on every wait. Nothing here takes long: it is for machines that are busy."""

INTERLOCK = (sys.executable, "-m", "gateway")

READY = re.compile(
    r"interlock ready: mcp=(?P<mcp>\S+)(?: mcp=\S+)* admin=(?:http://)?(?P<admin>\S+)"
)
"""Its first URL, and the admin port's address."""


class Program:
    """A running command whose standard error is read as it comes.

    Args:
        command: What to run.
        env: Variables added to this process's own.
        cwd: Where it runs.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.command = tuple(command)
        self._lines: list[str] = []
        self._ended = False
        self._changed = threading.Condition()
        self.process = subprocess.Popen(
            self.command,
            env=environment(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self._lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def output(self) -> str:
        """What it has written to standard error so far."""
        with self._changed:
            return "\n".join(self._lines)

    def wait_for_line(self, pattern: re.Pattern[str] | str) -> re.Match[str]:
        """The first line that has a match, already there or awaited.

        Raises:
            AssertionError: It ended, or fell silent, without one.
        """
        pattern = re.compile(pattern)
        seen = silent_s = 0
        with self._changed:
            while True:
                for line in self._lines[seen:]:
                    if found := pattern.search(line):
                        return found
                seen = len(self._lines)
                # In steps: if the whole machine stands still meanwhile, that is nobody's silence.
                while not self._ended and silent_s < PATIENCE_S and not self._changed.wait(1):
                    silent_s += 1
                if not self._ended and silent_s < PATIENCE_S:
                    silent_s = 0
                else:
                    # Its standard error is closed; its exit, if there is one, is a moment away.
                    what = f"ended ({self.wait()})" if self._ended else "kept silent"
                    heard = "\n".join(self._lines)
                    message = f"{self.command} {what} before {pattern.pattern!r}; it said:\n{heard}"
                    raise AssertionError(message)

    def all_output(self) -> str:
        """What it wrote to standard error until it closed it."""
        self._reader.join(PATIENCE_S)
        return self.output

    def wait(self) -> int:
        """Its exit code, once it has ended by itself."""
        return self.process.wait(PATIENCE_S)

    def terminate(self) -> int:
        """Asks it to stop, and returns its exit code."""
        self.process.terminate()
        return self.wait()

    def kill_all(self) -> None:
        """Ends it and all that it started at once, as a machine that loses power does."""
        # Whoever starts others goes first, so that nobody is left to replace the dead.
        ends = []
        for pid in [self.process.pid, *descendants(self.process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                ends.append(os.pidfd_open(pid))
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE_S)
        # Until the last of them is gone, its locks are still held.
        for end in ends:
            select.select([end], [], [], PATIENCE_S)
            os.close(end)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(PATIENCE_S)
        self.kill_all()
        self._reader.join(PATIENCE_S)
        if self.process.stderr is not None:
            self.process.stderr.close()


def children(pid: int) -> list[int]:
    """The processes that a process started itself, in the order of their start."""
    try:
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    except (FileNotFoundError, ProcessLookupError):
        return []


def descendants(pid: int) -> list[int]:
    """The processes below a process, a parent before what it started."""
    below = []
    for child in children(pid):
        below += [child, *descendants(child)]
    return below


def running(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def environment(more: Mapping[str, str] | None) -> dict[str, str]:
    """This process's environment, without what somebody has set for a sidecar of their own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("INTERLOCK_")}
    return {**kept, **(more or {})}
