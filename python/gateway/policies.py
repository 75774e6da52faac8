"""A policy file on disk: read, watched, and swapped for its successor.

INVARIANT: once a policy was loaded there is always one in force. A file that is replaced by
something unreadable or invalid leaves the last good policy where it is, and says so in the status.
A watched file is read only while it stays the same: half of one that is being written could be a
policy too, and a laxer one.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from gateway._core import Diagnostic, PolicyError, PolicySet

MAX_POLICY_BYTES = 1 << 20
"""What the compiler accepts; nothing beyond one byte more is ever read."""
STEP_MS = 200
"""How often the watching thread wakes up, and how long a file must stay the same to be read."""
SLOW_MS = 5_000
"""How long a change may go unseen where the file system tells nobody of it."""

_log = logging.getLogger("interlock.policies")


class Watched(Protocol):
    """Files that are looked at when something has happened in their folders."""

    def look(self, changed: Callable[[Any], object]) -> bool:
        """Call `changed` if they hold something new that has settled.

        Returns:
            Whether they are as they were at the last look: if not, look again once they have had
            time to settle.
        """

    def folders(self) -> set[Path]:
        """Where something happens when the files change."""


@dataclass(frozen=True, slots=True)
class PolicyStatus:
    """What is in force and how the last look at the file went, for `/policies` and the metrics."""

    name: str
    digest: str
    source: str
    loaded_at: float
    """Seconds since 1970 UTC at which the policy in force was read."""
    last_error: str | None
    """Why the file as it is now could not be used; None when it is the one in force."""
    reloads: Mapping[str, int]
    """How often a reload was a `success`, a `failure`, or found the file `unchanged`."""


class PolicySource:
    """One policy file: the last good policy it held, and why the present one is not in force if so.

    Args:
        path: the file; JSON or YAML by its suffix.
        clock: seconds since 1970 UTC.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._clock = clock
        self._policies: PolicySet | None = None
        self._seen = ""
        self._stamp_seen: tuple[int, ...] = ()
        self._loaded_at = 0.0
        self._last_error: str | None = None
        self._reloads: dict[str, int] = {"success": 0, "failure": 0, "unchanged": 0}

    @property
    def policies(self) -> PolicySet:
        """The policy in force.

        Raises:
            LookupError: nothing was loaded yet.
        """
        if self._policies is None:
            raise LookupError(f"policy `{self.path}` was not loaded")
        return self._policies

    def status(self) -> PolicyStatus:
        """A copy of what is known; raises LookupError as `policies` does."""
        policies = self.policies
        return PolicyStatus(
            name=policies.name,
            digest=policies.digest,
            source=str(self.path),
            loaded_at=self._loaded_at,
            last_error=self._last_error,
            reloads=dict(self._reloads),
        )

    def load(self) -> PolicySet:
        """Read the file for the first time.

        Raises:
            OSError: it cannot be read.
            PolicyError: it is not a policy; carries every problem.
        """
        source = self._read()
        self._seen = _mark(source)
        return self._adopt(source)

    def reload(self) -> PolicySet | None:
        """Look at the file again; never raises for what it holds.

        Returns:
            The new policy, or None where the old one stays: the same bytes, unreadable, or invalid.
        """
        return self._apply(self._try_read())

    def look(self, changed: Callable[[PolicySet], object]) -> bool:
        """Read the file if it is as it was at the last look, and call `changed` with a new policy.

        Returns:
            Whether it was as at the last look: if not, look again once it has had time to settle.
        """
        stamp = self._stamp()
        settled = stamp == self._stamp_seen
        self._stamp_seen = stamp
        if settled and (policies := self._look()) is not None:
            changed(policies)
        return settled

    def folders(self) -> set[Path]:
        """Where something happens when the file changes: not in the file itself, so that a rename
        over it and the swap of a symbolic link (Kubernetes' `..data`) are seen like a write."""
        return folders_of(self.path)

    def _stamp(self) -> tuple[int, ...]:
        return stamp_of(self.path)

    def _look(self) -> PolicySet | None:
        """Reload if the file is not as it was at the last look, good or bad."""
        found = self._try_read()
        return None if _mark(found) == self._seen else self._apply(found)

    def _apply(self, found: bytes | OSError) -> PolicySet | None:
        self._seen = _mark(found)
        if isinstance(found, OSError):
            self._keep(f"cannot read `{self.path}`: {found.strerror or found}")
            return None
        if self._policies is not None and self._seen == self._policies.digest:
            self._last_error = None
            self._reloads["unchanged"] += 1
            return None
        try:
            policies = self._adopt(found)
        except PolicyError as error:
            self._keep("; ".join(self._one_line(problem) for problem in error.diagnostics))
            return None
        self._reloads["success"] += 1
        _log.info("policy `%s` reloaded, digest %s", self.path, policies.digest[:12])
        return policies

    def _read(self) -> bytes:
        with self.path.open("rb") as file:
            return file.read(MAX_POLICY_BYTES + 1)

    def _try_read(self) -> bytes | OSError:
        try:
            return self._read()
        except OSError as error:
            return error

    def _adopt(self, source: bytes) -> PolicySet:
        policies = PolicySet.parse(source, name=self.path.name)
        self._policies = policies
        self._loaded_at = self._clock()
        self._last_error = None
        return policies

    def _keep(self, error: str) -> None:
        _log.error("policy not reloaded, the one in force stays: %s", error)
        self._last_error = error
        self._reloads["failure"] += 1

    def _one_line(self, problem: Diagnostic) -> str:
        place = f"{self.path}:{problem.line}:{problem.column}"
        return f"{place}: {problem.severity}[{problem.code}]: {problem.message}"


def stamp_of(path: Path) -> tuple[int, ...]:
    """What tells one state of a file from another without reading it."""
    try:
        found = path.stat()
    except OSError as error:
        return (error.errno or 0,)
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def folders_of(path: Path) -> set[Path]:
    """Where something happens when a file, or what links to it, changes."""
    folders = (path.parent, path.resolve().parent)
    return {folder for folder in folders if folder.is_dir()}


async def watch(
    installs: Mapping[Watched, Callable[[Any], object]],
    *,
    step_ms: int = STEP_MS,
    slow_ms: int = SLOW_MS,
) -> None:
    """Install each new policy that a file comes to hold, until cancelled.

    Args:
        installs: what the new content of each source is given to; may change meanwhile.
        step_ms: see `STEP_MS`.
        slow_ms: see `SLOW_MS`.
    """
    while True:
        folders = _folders(installs)
        async with aclosing(_stirs(folders, step_ms, slow_ms)) as stirs:
            async for _ in stirs:
                while True:
                    # A file that does not settle keeps no other from being read.
                    looks = [source.look(install) for source, install in list(installs.items())]
                    if all(looks):
                        break
                    await asyncio.sleep(step_ms / 1000)
                if _folders(installs) != folders:
                    break


async def _stirs(folders: set[Path], step_ms: int, slow_ms: int) -> AsyncGenerator[None]:
    """Yield whenever something has happened in a folder, and after `slow_ms` of nothing."""
    # Takes longer to load than the sidecar takes to open its ports: only here, behind them.
    from watchfiles import awatch

    notifications = awatch(
        *folders,
        watch_filter=None,
        debounce=2 * step_ms,
        step=step_ms,
        rust_timeout=slow_ms,
        yield_on_timeout=True,
        recursive=False,
    )
    try:
        async with aclosing(notifications):
            async for _ in notifications:
                yield
    except (OSError, RuntimeError) as error:  # no more watches or threads to be had
        _log.warning("policies are looked at every %s ms: %s", slow_ms, error)
    while True:
        await asyncio.sleep(slow_ms / 1000)
        yield


def _folders(sources: Iterable[Watched]) -> set[Path]:
    return {folder for source in sources for folder in source.folders()}


def _mark(found: bytes | OSError) -> str:
    """Tells one content of the file, or one failure to read it, from another."""
    return str(found) if isinstance(found, OSError) else hashlib.sha256(found).hexdigest()
