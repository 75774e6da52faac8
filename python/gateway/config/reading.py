"""One document while it is read: where its parts stand, what is wrong, what its secrets are.

INVARIANT: no message shows what a substitution stands for; and whatever a value was read from is in
`files`, so that a change of it is noticed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway._core import did_you_mean, quote, read_document
from gateway.errors import Problem

MAX_DOCUMENT_BYTES = 1 << 20
MAX_SECRET_BYTES = 64 << 10
"""Of a file that a `${file:}` names."""

_PART = re.compile(r"\$(?P<literal>\$\{)|\$\{(?P<kind>[^:}]*):?(?P<what>[^}]*)(?P<end>\}?)")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Reading:
    """A document and what was found out about it.

    Args:
        path: the file; JSON or YAML by its suffix.
        env: what `${env:}` is filled from.

    Attributes:
        problems: each with its place.
        files: every file that was, or could not be, read.
    """

    def __init__(self, path: Path, env: Mapping[str, str]) -> None:
        self.path = path
        self.problems: list[Problem] = []
        self.files: set[Path] = {path}
        self._env = env
        self._places: dict[str, tuple[int, int, int, int]] = {}

    def parse(self) -> Any:
        """The document's content, None where nothing can be read of it; reports what is wrong with
        its syntax."""
        try:
            source = _read(self.path, MAX_DOCUMENT_BYTES + 1)
        except OSError as error:
            self.problem("", "unreadable", f"cannot read it: {reason(error)}")
            return None
        content, self._places, found = read_document(source, self.path.name)
        for one in found:
            place = f"{self.path}:{one.line}:{one.column}"
            self.problems.append(
                Problem(one.message, one.help, code=one.code, at=one.path, place=place)
            )
        return content

    def problem(
        self, at: str, code: str, message: str, help: str | None = None, *, key: bool = False
    ) -> None:
        """Say what is wrong.

        Args:
            at: JSON pointer; where the document has no such part, the nearest above is shown.
            key: whether it is the key that is wrong, not its value.
        """
        self.problems.append(
            Problem(message, help, code=code, at=at, place=self.place(at, key=key))
        )

    def place(self, at: str, *, key: bool = False) -> str:
        """`file:line:column` of a part, or of the nearest part above it that is there."""
        there = at
        while there and there not in self._places:
            there = there.rpartition("/")[0]
        line, column, *value = self._places.get(there, (1, 1, 1, 1))
        if not key and there == at:
            line, column = value
        return f"{self.path}:{line}:{column}"

    def has(self, at: str) -> bool:
        """Whether the document has this part."""
        return at in self._places

    def beside(self, text: str) -> Reading:
        """Another document that this one names."""
        return Reading(self.path.parent / text, self._env)

    def file(self, text: str) -> Path:
        """A file that the document names, relative to the document's folder."""
        path = self.path.parent / text
        self.files.add(path)
        return path

    def fill(self, text: str, at: str) -> str | None:
        """The text with its substitutions made; None if one cannot be, which is reported."""
        if "${" not in text:
            return text
        out, end, whole = [], 0, True
        for part in _PART.finditer(text):
            out.append(text[end : part.start()])
            end = part.end()
            found = "${" if part["literal"] else self._found(part, at)
            whole = whole and found is not None
            out.append(found or "")
        return "".join([*out, text[end:]]) if whole else None

    def _found(self, part: re.Match[str], at: str) -> str | None:
        """What one `${…}` stands for."""
        kind, what = part["kind"], part["what"]
        if not part["end"]:
            message = "a `${` is not closed"
            self.problem(at, "bad-substitution", message, "write `$${` for one that means itself")
        elif kind == "env" and _VARIABLE.fullmatch(what):
            if what in self._env:
                return self._env[what]
            message = f"the environment has no variable {quote(what)}"
            self.problem(at, "unset-variable", message)
        elif kind == "file" and what and "\0" not in what:
            return self._secret(self.file(what), at)
        else:
            meant = did_you_mean(kind, ["env", "file"])
            help = "`${env:NAME}` and `${file:PATH}` are filled in; `$${` means a `${` itself"
            if meant is not None and meant != kind:
                help = f"did you mean `${{{meant}:…}}`?"
            self.problem(at, "bad-substitution", f"{quote(part[0])} stands for nothing", help)
        return None

    def _secret(self, path: Path, at: str) -> str | None:
        """A file's content without the line break at its end."""
        try:
            content = _read(path, MAX_SECRET_BYTES + 1)
        except OSError as error:
            message = f"cannot read {quote(str(path))}: {reason(error)}"
            self.problem(at, "unreadable-secret", message)
            return None
        try:
            if len(content) <= MAX_SECRET_BYTES:
                return content.decode().removesuffix("\n").removesuffix("\r")
            message = f"{quote(str(path))} has more than {MAX_SECRET_BYTES} bytes"
        except UnicodeDecodeError:
            message = f"{quote(str(path))} is not UTF-8"
        self.problem(at, "unreadable-secret", message)
        return None


def reason(error: OSError) -> str:
    """Why a file cannot be had, for people."""
    return (error.strerror or str(error)).lower()


def likely(word: str, known: Sequence[str], what: str) -> str:
    """Help for a word that is not among the known ones."""
    meant = did_you_mean(word, known)
    if meant is not None:
        return f"did you mean `{meant}`?"
    if not known:
        return f"there are no {what}"
    return f"the {what} here are {words(known, 'and')}"


def words(known: Sequence[str], conjunction: str) -> str:
    """`a`, `b` and `c`."""
    *most, last = (f"`{word}`" for word in known)
    return f"{', '.join(most)} {conjunction} {last}" if most else last


def _read(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        return file.read(most)
