"""Fixed shares of a core, by Linux's control groups, of version 1 or 2.

INVARIANT: what is in a share gets no more of the processor than that in any period, together with
all its threads, whatever else the machine has to spare.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.load.peers import Missing

PERIOD_US = 10_000
"""Short, so that whoever has used up its share waits some milliseconds for the next."""
MOUNTS = (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))
EMPTYING_S = 2.0


@dataclass(frozen=True)
class Share:
    """A group of processes that has a fixed share of one core.

    Attributes:
        folder: of the group, in the file system of control groups.
        cpu: the core that its processes are put on.
    """

    folder: Path
    cpu: int

    def take(self, pids: Iterable[int]) -> None:
        """Put processes into it and on its core, with all their threads.

        Raises:
            Missing: that is not permitted.
        """
        for pid in pids:
            try:
                (self.folder / "cgroup.procs").write_text(str(pid))
            except OSError as error:
                raise Missing(f"no process can be put into `{self.folder}`: {error}") from error
            for thread in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), {self.cpu})

    def periods(self) -> tuple[int, int]:
        """How many periods somebody in it wanted to run in so far, and in how many of them the
        share was used up."""
        lines = (self.folder / "cpu.stat").read_text().splitlines()
        found = {name: int(count) for name, count in (line.split() for line in lines)}
        return found["nr_periods"], found["nr_throttled"]


@contextmanager
def shares(cpus: Iterable[int], of_a_core: float) -> Iterator[list[Share]]:
    """A share on each of these cores; whoever is in one must have ended when the `with` does.

    Args:
        of_a_core: more than 0 and at most 1.

    Raises:
        Missing: no control group can be made here; why.
    """
    quota_us = round(of_a_core * PERIOD_US)
    with ExitStack() as stack:
        root = controlled()
        made = []
        for cpu in cpus:
            folder = root / f"interlock-bench-{os.getpid()}-{cpu}"
            try:
                folder.mkdir()
                stack.callback(remove, folder)
                bound(folder, quota_us)
            except OSError as error:
                raise Missing(f"no control group can be made in `{root}`: {error}") from error
            made.append(Share(folder, cpu))
        yield made


def controlled(mounts: Iterable[Path] = MOUNTS) -> Path:
    """Where groups can be made that bound the processor.

    Raises:
        Missing: nowhere.
    """
    for mount in mounts:
        if (mount / "cpu.cfs_quota_us").exists():
            return mount
        if "cpu" in read(mount / "cgroup.subtree_control").split():
            return mount
    known = ", ".join(f"`{mount}`" for mount in mounts)
    raise Missing(f"no control group of the processor in {known}")


def bound(folder: Path, quota_us: int) -> None:
    """Give a group what it may have of each period, in the words of its version.

    Raises:
        OSError: it cannot be given that.
    """
    if (folder.parent / "cpu.cfs_quota_us").exists():
        (folder / "cpu.cfs_period_us").write_text(str(PERIOD_US))
        (folder / "cpu.cfs_quota_us").write_text(str(quota_us))
    else:
        (folder / "cpu.max").write_text(f"{quota_us} {PERIOD_US}")


def read(file: Path) -> str:
    """What a file says; nothing if it is not there."""
    try:
        return file.read_text()
    except OSError:
        return ""


def remove(folder: Path) -> None:
    """Take a group away, once the kernel has noticed that its processes ended."""
    end = time.monotonic() + EMPTYING_S
    while True:
        try:
            return folder.rmdir()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)
