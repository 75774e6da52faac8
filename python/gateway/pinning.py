"""Lock files on disk: read at start, watched, and swapped for their successors.

INVARIANT: once a lock was read there is always one in force; one that is replaced by something that
is no lock leaves the last good one where it is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gateway._core import Pins
from gateway.errors import Problem, SettingsError
from gateway.policies import folders_of, stamp_of
from gateway.reloads import Reload

if TYPE_CHECKING:
    from gateway.settings import ServerSettings

MAX_LOCK_BYTES = 16 << 20

_log = logging.getLogger("interlock.pinning")


class LockSource:
    """The part of one lock file that is one server's.

    Raises:
        SettingsError: it cannot be used.
    """

    def __init__(self, path: Path, server: str, mode: Literal["enforce", "warn"]) -> None:
        self._path = path
        self._server = server
        self._mode: Literal["enforce", "warn"] = mode
        self._loaded = self._seen = stamp_of(path)
        self.pins = self._read(None)
        self.reload = Reload("pins", str(path))

    @classmethod
    def of(cls, server: ServerSettings) -> LockSource | None:
        """The lock of a server; None where its definitions are not pinned.

        Raises:
            SettingsError: it cannot be used.
        """
        return None if server.lock is None else cls(server.lock, server.name, server.pin)

    def look(self, changed: Callable[[Pins], object]) -> bool:
        """Call `changed` with what the file has come to hold, once it stays the same
        (`gateway.policies.Watched`)."""
        stamp = stamp_of(self._path)
        settled = stamp == self._seen
        self._seen = stamp
        if settled and stamp != self._loaded:
            self._loaded = stamp
            try:
                self.pins = self._read(self.pins)
            except SettingsError as error:
                _log.error("lock not reloaded, the one in force stays: %s", error)
                self.reload.failed(str(error))
            else:
                self.reload.succeeded()
                _log.info("lock `%s` reloaded for server `%s`", self._path, self._server)
                changed(self.pins)
        return settled

    def folders(self) -> set[Path]:
        """Where something happens when the file changes."""
        return folders_of(self._path)

    def _read(self, before: Pins | None) -> Pins:
        try:
            with self._path.open("rb") as file:
                source = file.read(MAX_LOCK_BYTES + 1)
            return Pins.parse(source, self._server, self._mode, before)
        except OSError as error:
            why = f"cannot read lock `{self._path}`: {(error.strerror or str(error)).lower()}"
        except ValueError as error:
            why = f"`{self._path}` cannot be used: {error}"
        help = f"`interlock scan --lock --name {self._server}` pins what the server offers"
        raise SettingsError([Problem(why, help)])
