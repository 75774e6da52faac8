"""The configuration file on disk: loaded whole or not at all, and looked at again when it changes.

INVARIANT: `load` opens nothing but files to read, and reports every problem of the configuration
and of the policies that it names at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway._core import PolicyError, PolicySet
from gateway.config.document import CONFIG, GRANTS_FILE
from gateway.config.forms import step
from gateway.config.reading import Reading, reason
from gateway.config.translation import grants, settings
from gateway.errors import Problem, SettingsError
from gateway.policies import PolicySource, folders_of, stamp_of
from gateway.validation import check

if TYPE_CHECKING:
    from gateway.settings import GrantSettings, Settings


class ConfigSource:
    """A configuration file, and what the command line and the environment say instead of it.

    Args:
        path: the file; JSON or YAML by its suffix.
        given: what beats it, named as in the file.
    """

    def __init__(self, path: Path, given: Mapping[str, Any]) -> None:
        self.path = path
        self.at_start: Settings | None = None
        """What was loaded first."""
        self._given = dict(given)
        self._files: frozenset[Path] = frozenset({path})
        self._loaded: tuple[tuple[int, ...], ...] = ()
        self._seen: tuple[tuple[int, ...], ...] = ()

    def load(self) -> Settings:
        """Read the file, and every secret and policy that it names.

        Raises:
            SettingsError: with every problem found, in the order of the file.
        """
        whole = Whole(self.path, self._given, os.environ)
        self._files = frozenset(whole.files)
        self._loaded = self._stamps()
        whole.compile()
        if whole.problems or whole.settings is None:
            raise SettingsError(whole.problems)
        self.at_start = self.at_start or whole.settings
        return whole.settings

    def look(self, changed: Callable[[Any], object]) -> bool:
        """Call `changed` if the file or a secret is not as it was when it was loaded, and has
        settled; True if it has (`gateway.policies.Watched`)."""
        stamps = self._stamps()
        settled = stamps == self._seen
        self._seen = stamps
        if settled and stamps != self._loaded:
            changed(self)
        return settled

    def folders(self) -> set[Path]:
        """Where something happens when a file changes."""
        return {folder for path in self._files for folder in folders_of(path)}

    def _stamps(self) -> tuple[tuple[int, ...], ...]:
        return tuple(stamp_of(path) for path in sorted(self._files))


class Whole:
    """A configuration and the grants file that it names, read together.

    Args:
        may_lack_grants: whether the grants file may not be there yet.

    Attributes:
        settings: what they say, as far as it can be understood; None where nothing can.
        policies: how many were named when they were compiled.
    """

    def __init__(
        self,
        path: Path,
        given: Mapping[str, Any],
        env: Mapping[str, str],
        *,
        may_lack_grants: bool = False,
    ) -> None:
        self._reading = Reading(path, env)
        self._grants: Reading | None = None
        self.policies = 0
        self._own_grants = 0
        self._more: list[Problem] = []
        self.settings = self._read(given, may_lack_grants)
        if self.settings is not None:
            self._check(self.settings)

    @property
    def problems(self) -> list[Problem]:
        """In the order of the files."""
        grants = [] if self._grants is None else self._grants.problems
        return in_order([*self._reading.problems, *grants, *self._more])

    @property
    def files(self) -> set[Path]:
        """Everything that was looked at, but for the policies."""
        return self._reading.files | (set() if self._grants is None else self._grants.files)

    @property
    def grants_file(self) -> Path | None:
        """The file that `interlock grant` writes."""
        return None if self._grants is None else self._grants.path

    def file_of(self, index: int) -> Path:
        """The file in which a grant of the settings stands."""
        own = self._grants is None or index < self._own_grants
        return self._reading.path if own or self._grants is None else self._grants.path

    def compile(self) -> dict[Path, PolicySet]:
        """Compile each policy that is named, and report what is wrong with it."""
        found = self.settings
        if found is None:
            return {}
        named: dict[Path, str] = {}
        for server in found.servers:
            if server.policy is not None:
                named.setdefault(server.policy, f"{step('/servers', server.name)}/policy")
        for index, grant in enumerate(found.grants):
            for name, path in (grant.servers or {}).items():
                if path is not None:
                    named.setdefault(path, step(f"/grants/{index}/servers", name))
        self.policies = len(named)
        compiled = {}
        for path, at in named.items():
            try:
                compiled[path] = PolicySource(path).load()
            except OSError as error:
                message = f"cannot read policy `{path}`: {reason(error)}"
                self._problem(at, "unreadable", message)
            except PolicyError as error:
                for one in error.diagnostics:
                    place = f"{path}:{one.line}:{one.column}"
                    self._more.append(Problem(one.message, one.help, one.code, one.path, place))
        return compiled

    def _read(self, given: Mapping[str, Any], may_lack: bool) -> Settings | None:
        reading = self._reading
        content = reading.parse()
        if content is None and reading.problems:
            return None
        read = CONFIG.read(content, "", reading)
        if read is None:
            return None
        self._own_grants = len(read.get("grants", ()))
        more: tuple[GrantSettings, ...] = ()
        if "grants_file" in read:
            self._grants = beside = reading.beside(read["grants_file"])
            if not beside.path.exists() and may_lack:
                return settings(read, (), reading, given)
            found = beside.parse()
            if found is not None or not beside.problems:
                listed = GRANTS_FILE.read(found, "", beside) or {}
                more = grants(listed.get("grants", ()), beside)
        return settings(read, more, reading, given)

    def _check(self, found: Settings) -> None:
        """Look at how the parts go together."""
        try:
            check(found)
        except SettingsError as error:
            # Where a part could not be read, what is said of the whole may only follow from that.
            spoilt = [problem.at for problem in self.problems]
            for problem in error.problems:
                if not any(_within(problem.at, at) or _within(at, problem.at) for at in spoilt):
                    self._problem(problem.at, problem.code, problem.message, problem.help)

    def _problem(self, at: str, code: str, message: str, help: str | None = None) -> None:
        """Report it where it stands: a grant may be in either file."""
        reading = self._reading
        if self._grants is not None and at.startswith("/grants/"):
            index, *rest = at.removeprefix("/grants/").split("/")
            if int(index) >= self._own_grants:
                reading = self._grants
                at = "/".join([f"/grants/{int(index) - self._own_grants}", *rest])
        reading.problem(at, code, message, help)


def in_order(problems: list[Problem]) -> list[Problem]:
    """By file, line and column."""

    def key(problem: Problem) -> tuple[str, int, int]:
        file, line, column = (problem.place or "::").rsplit(":", 2)
        return file, int(line or 0), int(column or 0)

    return sorted(problems, key=key)


def _within(at: str, other: str) -> bool:
    return at == other or at.startswith(f"{other}/")
