"""A policy file on disk: read, watched, and swapped for its successor.

INVARIANT: once a policy was loaded there is always one in force. A file that is replaced by
something unreadable or invalid leaves the last good policy where it is, and says so in the status.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway._core import Diagnostic, PolicyError, PolicySet

MAX_POLICY_BYTES = 1 << 20
"""What the compiler accepts; nothing beyond one byte more is ever read."""
COARSEST_STAMP_S = 3.0
"""No file system's time stamps are further apart."""

_log = logging.getLogger("interlock.policies")


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

    async def watch(
        self, changed: Callable[[PolicySet], object], *, period_s: float = 0.25
    ) -> None:
        """Call `changed` with each new policy that the file comes to hold, until cancelled.

        The path is looked up anew every `period_s`, so that a rename over the file and the swap of
        a symbolic link (Kubernetes' `..data`) are seen like a write in place, on any file system.
        What changed is read once it has stayed the same for a period: half of a file that is being
        written could be a policy too, and a laxer one.
        """
        last = read = None
        while True:
            await asyncio.sleep(period_s)
            stamp = self._stamp()
            if stamp == last != read:
                if (policies := self._look()) is not None:
                    changed(policies)
                # A file that was just written may be written again under the same time stamp.
                read = stamp if self._clock() - stamp[-1] > COARSEST_STAMP_S else None
            last = stamp

    def _stamp(self) -> tuple[float, ...]:
        """What tells one state of the file from another without reading it; the newest time in it
        comes last."""
        try:
            found = self.path.stat()
        except OSError as error:
            return (float(error.errno or 0), -math.inf)
        newest = max(found.st_mtime, found.st_ctime)
        return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, newest)

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


def _mark(found: bytes | OSError) -> str:
    """Tells one content of the file, or one failure to read it, from another."""
    return str(found) if isinstance(found, OSError) else hashlib.sha256(found).hexdigest()
