"""Documents that authors write beside policies, read as strictly as policies are.

INVARIANT: reading goes on past a problem, so that all of them are told at once, each with its place
in the text; what could not be read is absent and its problem is among the faults.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway._core import Diagnostic, did_you_mean, quote, read_document
from gateway.errors import GatewayError

KINDS = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "an object",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing to say of a document, at its place.

    Attributes:
        line: from 1.
        column: from 1, in characters.
        code: kebab slug.
        path: RFC 6901 pointer into the document.
        severity: `error`, or `warning` of what can be used all the same.
    """

    file: str
    line: int
    column: int
    code: str
    message: str
    help: str | None = None
    path: str = ""
    severity: str = "error"

    @classmethod
    def of(cls, file: str, problem: Diagnostic) -> Fault:
        """What the core says of a document."""
        return cls(
            file,
            problem.line,
            problem.column,
            problem.code,
            problem.message,
            problem.help,
            problem.path,
            problem.severity,
        )

    def lines(self) -> list[str]:
        """For people: the problem at its place, then its help."""
        place = f"{self.file}:{self.line}:{self.column}"
        first = f"{place}: {self.severity}[{self.code}]: {self.message}"
        return [first] + ([f"help: {self.help}"] if self.help is not None else [])


class DocumentError(GatewayError):
    """A document that cannot be used, with every problem found."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("; ".join(fault.lines()[0] for fault in faults))
        self.faults = faults


@dataclass
class Document:
    """A document that was read, and what is wrong with it so far."""

    file: str
    places: dict[str, tuple[int, int, int, int]]
    faults: list[Fault] = field(default_factory=list)

    def check(self) -> None:
        """Raise a `DocumentError` if anything is wrong, in the order of the text."""
        if self.faults:
            raise DocumentError(sorted(self.faults, key=lambda fault: (fault.line, fault.column)))


@dataclass(frozen=True)
class Node:
    """A value of a document and the way to it."""

    document: Document
    value: Any
    pointer: str = ""

    def fault(self, code: str, message: str, *, help: str | None = None, key: bool = False) -> None:
        """Report a problem of this value, or of the `key` in front of it."""
        places = self.document.places.get(self.pointer, (1, 1, 1, 1))
        line, column = places[:2] if key else places[2:]
        fault = Fault(self.document.file, line, column, code, message, help, self.pointer)
        self.document.faults.append(fault)

    def wrong(self, wanted: str) -> None:
        """Report that the value has another type than `wanted`."""
        self.fault("wrong-type", f"expected {wanted}, found {KINDS[type(self.value)]}")

    def child(self, key: str | int) -> Node:
        """What is behind a key or index that is there."""
        step = str(key).replace("~", "~0").replace("/", "~1")
        return Node(self.document, self.value[key], f"{self.pointer}/{step}")

    def children(self) -> dict[str, Node]:
        """The members of an object whose keys are the author's own; none of anything else."""
        if not isinstance(self.value, dict):
            self.wrong("an object")
            return {}
        return {key: self.child(key) for key in self.value}

    def members(self, known: Collection[str], required: Sequence[str] = ()) -> dict[str, Node]:
        """The members of an object; keys that are not `known`, or missing, are reported."""
        found = self.children()
        if not isinstance(self.value, dict):
            return found
        for key in found.keys() - set(known):
            node = found.pop(key)
            meant = did_you_mean(key, sorted(known))
            help = f"did you mean `{meant}`?" if meant else _one_of(sorted(known))
            node.fault("unknown-key", f"unknown key {quote(key)}", help=help, key=True)
        for key in required:
            if key not in found:
                self.fault("missing-key", f"`{key}` is missing")
        return found

    def items(self) -> list[Node]:
        """The elements of a list."""
        if not isinstance(self.value, list):
            self.wrong("a list")
            return []
        return [self.child(index) for index in range(len(self.value))]

    def text(self) -> str | None:
        """A string with something in it."""
        if not isinstance(self.value, str):
            self.wrong("a string")
            return None
        if not self.value:
            self.fault("empty-text", "this is empty")
            return None
        return self.value

    def flag(self) -> bool:
        """It as true or false."""
        if not isinstance(self.value, bool):
            self.wrong("true or false")
        return self.value is True

    def integer(self, low: int, high: int) -> int | None:
        """A whole number within bounds."""
        if not isinstance(self.value, int) or isinstance(self.value, bool):
            self.wrong("a whole number")
            return None
        if not low <= self.value <= high:
            self.fault("bad-number", f"`{self.value}` is not between {low} and {high:,}")
            return None
        return self.value

    def choice(self, options: Sequence[str]) -> str | None:
        """One of some words."""
        text = self.text()
        if text is None or text in options:
            return text
        meant = did_you_mean(text, options)
        help = f"did you mean `{meant}`?" if meant else _one_of(options)
        self.fault("unknown-value", f"unknown word {quote(text)}", help=help)
        return None


def _one_of(options: Sequence[str]) -> str:
    return "one of " + ", ".join(f"`{option}`" for option in options)


def read(path: Path) -> Node:
    """The root of a JSON or YAML file.

    Raises:
        DocumentError: it cannot be read, or not as a document.
    """
    try:
        source = path.read_bytes()
    except OSError as error:
        message = f"cannot read it: {(error.strerror or str(error)).lower()}"
        raise DocumentError([Fault(str(path), 1, 1, "unreadable", message)]) from error
    value, places, problems = read_document(source, path.name)
    document = Document(str(path), places, [Fault.of(str(path), problem) for problem in problems])
    if value is None:
        document.check()
    return Node(document, value)
