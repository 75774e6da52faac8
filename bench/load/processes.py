"""Starts, pins and measures the processes of a run.

INVARIANT: a process that was started here is gone, with its children, when its `with` ends.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType

PATIENCE_S = 20.0
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Process:
    """A server or a proxy that listens on a port of loopback.

    Args:
        command: the program and its arguments.
        port: which it is ready once it accepts connections on.
        cpus: the cores that it, and what it starts, may run on.

    Raises:
        RuntimeError: it ended, or did not listen in time; with what it said.
    """

    def __init__(self, command: Sequence[str], port: int, cpus: Iterable[int]) -> None:
        self.port = port
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `__exit__`
        begun = time.perf_counter()
        self._process = subprocess.Popen(
            ["taskset", "--cpu-list", ",".join(map(str, sorted(cpus))), *command],
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            self._wait_until_ready()
        except RuntimeError:
            self.__exit__(None, None, None)
            raise
        self.ready_s = time.perf_counter() - begun
        """Seconds from start to the first connection."""

    def _wait_until_ready(self) -> None:
        end = time.monotonic() + PATIENCE_S
        while self._process.poll() is None and time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.005)
            else:
                return
        self._said.seek(0)
        said = self._said.read().decode(errors="replace")
        raise RuntimeError(f"`{self._process.args!r}` did not listen; it said:\n{said}")

    def pids(self) -> list[int]:
        """It and everything it started, by process id."""
        return family(self._process.pid)

    def cpu_seconds(self) -> float:
        """What it and its children have used so far, in user and in kernel mode."""
        return sum(map(cpu_seconds, self.pids()))

    def resident_bytes(self) -> int:
        """Memory that it and its children have in use; pages they share count for each."""
        return sum(map(resident_bytes, self.pids()))

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._said.close()


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def allow_many_files() -> None:
    """Let this process, and what it starts, open as many files as it is permitted."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def stat_fields(text: str) -> list[str]:
    """The fields of `/proc/PID/stat` from the third on: a name in parentheses may hold anything."""
    return text.rpartition(")")[2].split()


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parents[int(entry.name)] = int(stat_fields((entry / "stat").read_text())[1])
            except OSError:
                continue  # it ended meanwhile
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads of one process, ended ones included."""
    fields = stat_fields(Path(f"/proc/{pid}/stat").read_text())
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND


def written_bytes(pid: int) -> int:
    """What one process has given to `write` and its like so far, to sockets too; not to `send`."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["wchar"])


def resident_bytes(pid: int) -> int:
    """Resident memory of one process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES


def stolen_seconds() -> float:
    """CPU time that other machines on the same host have taken so far, over all cores."""
    return int(Path("/proc/stat").read_text().splitlines()[0].split()[8]) / TICKS_A_SECOND
