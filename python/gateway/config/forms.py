"""What a document may say, written down once: read by it, and described by it as JSON Schema.

INVARIANT: a form takes nothing that its schema refuses; what it refuses besides depends on the
world outside the document or on another part of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from gateway._core import quote
from gateway.config.reading import Reading, likely, words

FILLED = r"\$\{"
"""What a text may have in the place of what is asked for: it will be substituted."""


class Form(Protocol):
    """One kind of value."""

    def read(self, value: Any, at: str, reading: Reading) -> Any:
        """What the value says; None if it cannot be taken, which is reported."""

    def schema(self) -> dict[str, Any]:
        """JSON Schema, draft 2020-12."""


@dataclass(frozen=True)
class Text:
    """A string, filled with its substitutions.

    Args:
        convert: what is made of it; raises ValueError with a predicate for people (`is not a
            port`).
        hidden: never to be shown, since secrets may be written in it.
        pattern: what `convert` takes, for the schema; None where that cannot be said.
    """

    convert: Callable[[str], Any] = str
    pattern: str | None = None
    help: str | None = None
    empty: bool = False
    hidden: bool = False

    def read(self, value: Any, at: str, reading: Reading) -> Any:
        if not isinstance(value, str):
            plain = isinstance(value, int | float)
            help = "put it in quotes" if plain else None
            return wrong_type("a string", value, at, reading, help)
        text = reading.fill(value, at)
        if text is None:
            return None
        # Never what was substituted: that is mostly a secret.
        shown = quote(value) if text == value else f"what {quote(value)} stands for"
        shown = "it" if self.hidden else shown
        if not text and not self.empty:
            reading.problem(
                at, "empty-text", "it is empty" if text == value else f"{shown} is empty"
            )
            return None
        try:
            return self.convert(text)
        except ValueError as error:
            reading.problem(at, "bad-value", f"{shown} {error}", self.help)
            return None

    def schema(self) -> dict[str, Any]:
        found: dict[str, Any] = {"type": "string"} | ({} if self.empty else {"minLength": 1})
        if self.pattern is not None:
            found["pattern"] = f"^(?:{self.pattern})$|{FILLED}"
        return found


@dataclass(frozen=True)
class Number:
    """A number within bounds."""

    least: float = 0
    most: float | None = None
    whole: bool = False

    def read(self, value: Any, at: str, reading: Reading) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float):
            spelt = isinstance(value, str) and re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", value)
            help = f"remove the quotes: `{value}`" if spelt else None
            return wrong_type("a number", value, at, reading, help)
        fits = self.least <= value and (self.most is None or value <= self.most)
        if fits and not (self.whole and value != int(value)) and value != float("inf"):
            return int(value) if self.whole else float(value)
        kind = "a whole number" if self.whole else "a number"
        bounds = f"of at least {self.least}"
        if self.most is not None:
            bounds = f"from {self.least} to {self.most}"
        reading.problem(at, "bad-number", f"`{value:.20g}` is not {kind} {bounds}")
        return None

    def schema(self) -> dict[str, Any]:
        found: dict[str, Any] = {"type": "integer" if self.whole else "number"}
        found["minimum"] = self.least
        return found | ({"maximum": self.most} if self.most is not None else {})


@dataclass(frozen=True)
class Flag:
    """`true` or `false`."""

    def read(self, value: Any, at: str, reading: Reading) -> Any:
        if isinstance(value, bool):
            return value
        return wrong_type("`true` or `false`", value, at, reading)

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


@dataclass(frozen=True)
class Words:
    """One of a few words, which stand for themselves."""

    known: tuple[str, ...]

    def read(self, value: Any, at: str, reading: Reading) -> Any:
        if not isinstance(value, str):
            return wrong_type("a string", value, at, reading)
        if value in self.known:
            return value
        message = f"{quote(value)} is not {words(self.known, 'or')}"
        help = likely(value, self.known, "words") if len(self.known) > 1 else None
        reading.problem(at, "unknown-value", message, help)
        return None

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.known)}


@dataclass(frozen=True)
class ListOf:
    """A list; what cannot be taken of it is left out."""

    item: Form
    least: int = 0

    def read(self, value: Any, at: str, reading: Reading) -> Any:
        if not isinstance(value, list):
            return wrong_type("a list", value, at, reading, "put it in a list: `[…]`")
        if len(value) < self.least:
            reading.problem(at, "empty-text", "the list is empty")
        read = [self.item.read(one, f"{at}/{index}", reading) for index, one in enumerate(value)]
        return tuple(one for one in read if one is not None)

    def schema(self) -> dict[str, Any]:
        found: dict[str, Any] = {"type": "array", "items": self.item.schema()}
        return found | ({"minItems": self.least} if self.least else {})


@dataclass(frozen=True)
class MapOf:
    """An object whose keys are names.

    Args:
        names: what a name is.
        said: the same in words, for what is none.
        absent: what `null` stands for; Ellipsis where it may not be written.
    """

    value: Form
    names: str
    said: str
    absent: Any = ...
    least: int = 0

    def read(self, value: Any, at: str, reading: Reading) -> Any:
        if not isinstance(value, dict):
            return wrong_type("an object", value, at, reading)
        if len(value) < self.least:
            reading.problem(at, "empty-text", "it is empty")
        read: dict[str, Any] = {}
        for name, one in value.items():
            there = step(at, name)
            if re.fullmatch(self.names, name) is None:
                reading.problem(there, "bad-value", f"{quote(name)} {self.said}", key=True)
            elif one is None and self.absent is not ...:
                read[name] = self.absent
            elif (found := self.value.read(one, there, reading)) is not None:
                read[name] = found
        return read

    def schema(self) -> dict[str, Any]:
        value = self.value.schema()
        return {
            "type": "object",
            "propertyNames": {"pattern": f"^(?:{self.names})$"},
            "additionalProperties": nullable(value) if self.absent is not ... else value,
            **({"minProperties": self.least} if self.least else {}),
        }


@dataclass(frozen=True)
class Key:
    """One key of a record.

    Args:
        about: one sentence, for editors and the reference.
        nullable: whether `null` may be written for its absence.
    """

    form: Form
    about: str
    required: bool = False
    nullable: bool = False


@dataclass(frozen=True)
class Record:
    """An object with these keys and no others; read, a dictionary of what could be taken.

    Args:
        apart: groups of keys of which only one may be there.
        needed: groups of keys of which one must be there.
    """

    keys: Mapping[str, Key]
    apart: tuple[tuple[str, ...], ...] = ()
    needed: tuple[tuple[str, ...], ...] = ()
    beside: Mapping[str, str] = field(default_factory=dict)
    """Keys that mean something only beside another one."""

    def read(self, value: Any, at: str, reading: Reading) -> Any:
        if not isinstance(value, dict):
            return wrong_type("an object", value, at, reading)
        for name in value:
            if name not in self.keys:
                help = likely(name, list(self.keys), "keys")
                message = f"unknown key {quote(name)}"
                reading.problem(step(at, name), "unknown-key", message, help, key=True)
        read = {}
        for name, key in self.keys.items():
            if name not in value:
                if key.required:
                    reading.problem(at, "missing-key", f"`{name}` is missing")
            elif value[name] is not None or not key.nullable:
                found = key.form.read(value[name], step(at, name), reading)
                if found is not None:
                    read[name] = found
        self._compare(value, at, reading)
        return read

    def _compare(self, value: dict[str, Any], at: str, reading: Reading) -> None:
        """Look at which keys stand together."""
        for group in self.apart:
            there = [name for name in group if name in value]
            if len(there) > 1:
                message = f"{words(there, 'and')} exclude each other"
                reading.problem(
                    step(at, there[-1]), "conflicting-keys", message, "keep one of them", key=True
                )
        for group in self.needed:
            if not any(name in value for name in group):
                reading.problem(at, "missing-key", f"{words(group, 'or')} is missing")
        for name, other in self.beside.items():
            if name in value and other not in value:
                message = f"`{name}` means nothing without `{other}`"
                reading.problem(step(at, name), "conflicting-keys", message, key=True)

    def schema(self) -> dict[str, Any]:
        properties = {}
        for name, key in self.keys.items():
            inner = key.form.schema()
            inner = nullable(inner) if key.nullable else inner
            properties[name] = {"description": key.about, **inner}
        found: dict[str, Any] = {"type": "object", "properties": properties}
        found["additionalProperties"] = False
        required = [name for name, key in self.keys.items() if key.required]
        if required:
            found["required"] = required
        rules: list[dict[str, Any]] = [
            {"not": {"required": [one, other]}}
            for group in self.apart
            for index, one in enumerate(group)
            for other in group[index + 1 :]
        ]
        rules += [{"anyOf": [{"required": [name]} for name in group]} for group in self.needed]
        if rules:
            found["allOf"] = rules
        if self.beside:
            found["dependentRequired"] = {name: [other] for name, other in self.beside.items()}
        return found


@dataclass(frozen=True)
class OneOrSeveral:
    """A value, or a list of at least one; read, a tuple."""

    item: Form

    def read(self, value: Any, at: str, reading: Reading) -> Any:
        if isinstance(value, list):
            return ListOf(self.item, 1).read(value, at, reading)
        found = self.item.read(value, at, reading)
        return None if found is None else (found,)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [self.item.schema(), ListOf(self.item, 1).schema()]}


@dataclass(frozen=True)
class TextOrFlag:
    """A string, `true` or `false`."""

    def read(self, value: Any, at: str, reading: Reading) -> Any:
        return value if isinstance(value, bool) else Text().read(value, at, reading)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [Text().schema(), Flag().schema()]}


@dataclass(frozen=True)
class ListOrMap:
    """Names, or names with something to each."""

    list: ListOf
    map: MapOf

    def read(self, value: Any, at: str, reading: Reading) -> Any:
        if isinstance(value, list):
            names = self.list.read(value, at, reading)
            return None if names is None else dict.fromkeys(names, self.map.absent)
        return self.map.read(value, at, reading)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [self.list.schema(), self.map.schema()]}


def nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a value that may also be `null`."""
    return {"anyOf": [schema, {"type": "null"}]}


def step(at: str, key: str) -> str:
    """The JSON pointer of a key (RFC 6901)."""
    return f"{at}/{key.replace('~', '~0').replace('/', '~1')}"


def wrong_type(wanted: str, value: Any, at: str, reading: Reading, help: str | None = None) -> None:
    """Report a value of another type."""
    if value is None:
        found, help = "`null`", "give it a value, or leave the key out"
    elif isinstance(value, bool):
        found = f"`{str(value).lower()}`"
    elif isinstance(value, str):
        found = f"the string {quote(value)}"
    elif isinstance(value, int | float):
        found = f"the number `{value:.20g}`"
    else:
        found = "a list" if isinstance(value, list) else "an object"
    reading.problem(at, "wrong-type", f"expected {wanted}, found {found}", help)
