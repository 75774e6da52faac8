"""Real processes: a test waits for what they say and never for a length of time.

Leaving the `with` block of a process ends it and whatever it started: a test that fails leaves
nothing running.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PATIENCE_S = 30.0
"""The bound on every wait. Nothing here takes long: it is for machines that are busy."""

INTERLOCK = (sys.executable, "-m", "gateway")

READY = re.compile(r"interlock ready: mcp=(?P<mcp>\S+) admin=(?P<admin>\S+)")


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
            env=_environment(env),
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


class Sidecar(Program):
    """`interlock run`, ready to serve on ports of its own choosing.

    Attributes:
        url: Where clients connect.
        admin: The admin port's base URL.

    Args:
        folder: Where its policy document is written.
        policy: The document.
        upstream: The server's URL, or the command that starts a stdio server.
        options: More options of `run`.
    """

    def __init__(
        self,
        folder: Path,
        policy: Mapping[str, Any],
        upstream: str | Sequence[str],
        *options: str,
    ) -> None:
        document = write_policy(folder, policy)
        ports = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
        state = () if "--state" in options else ("--state", "memory")
        grace = ("--grace", "5")
        server = ("--upstream", upstream) if isinstance(upstream, str) else ("--", *upstream)
        super().__init__(
            (
                *INTERLOCK,
                "run",
                "--policy",
                str(document),
                *ports,
                *state,
                *grace,
                *options,
                *server,
            )
        )
        try:
            ready = self.wait_for_line(READY)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self.url = ready["mcp"]
        self.admin = ready["admin"]


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


def write_policy(folder: Path, policy: Mapping[str, Any]) -> Path:
    """The policy as a file in the folder, as `--policy` takes it."""
    path = folder / "policy.json"
    path.write_text(json.dumps({"version": "1", **policy}))
    return path


def wrapped(
    folder: Path, policy: Mapping[str, Any], command: Sequence[str], *options: str
) -> tuple[str, ...]:
    """The command line of `interlock wrap` around a stdio server, for a client to start."""
    document = write_policy(folder, policy)
    given = ("--policy", str(document), "--state", "memory", *options)
    return (*INTERLOCK, "wrap", *given, "--", *command)


def free_port() -> int:
    """A port that nothing listens on now, for servers that cannot say which one they were given."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def run_json(
    command: Sequence[str], *, timeout_s: float = PATIENCE_S, env: Mapping[str, str] | None = None
) -> Any:
    """Runs a command to its end and reads its standard output as JSON.

    Raises:
        AssertionError: It failed, or took longer than allowed; with what it wrote.
    """
    with subprocess.Popen(
        command,
        env=_environment(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, errors = process.communicate()
            raise AssertionError(f"{command} took over {timeout_s} s\n{output}\n{errors}") from None
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert process.returncode == 0, f"{command} exited {process.returncode}\n{output}\n{errors}"
    return json.loads(output)


def _environment(more: Mapping[str, str] | None) -> dict[str, str]:
    """This process's environment, without what somebody has set for a sidecar of their own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("INTERLOCK_")}
    return {**kept, **(more or {})}
