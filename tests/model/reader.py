"""JSON with exactly one reading, or none.

INVARIANT: whatever this returns, every conforming JSON reader would read the same way; whatever two
readers could disagree about (a key given twice, half a surrogate pair, a number that overflows) is
a `Fault`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

BLANKS = " \t\n\r"
NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)
HEX4 = re.compile(r"[0-9A-Fa-f]{4}", re.ASCII)
ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
WORDS = {"true": True, "false": False, "null": None}


class Fault(Exception):
    """The bytes have no single reading; `code` is what the refusal is called."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code


class Text(str):
    """A string's decoded content, with the spelling it had between its quotes."""

    raw: str

    @staticmethod
    def of(content: str, raw: str) -> Text:
        text = Text(content)
        text.raw = raw
        return text


@dataclass(frozen=True)
class Number:
    """A number as it was spelt."""

    text: str

    def value(self) -> Fraction:
        """What the decimal text says, exactly."""
        return Fraction(0) if self.zero() else Fraction(Decimal(self.text))

    def zero(self) -> bool:
        """Whether it is nothing, however it is spelt."""
        return not re.search("[1-9]", re.split("[eE]", self.text)[0])

    def exact(self) -> Fraction | None:
        """The value, unless a reader that keeps numbers as binary doubles would see another one."""
        shortest = Fraction(Decimal(repr(float(self.text))))
        return self.value() if shortest == self.value() else None

    def negative(self) -> bool:
        """Whether it is spelt with a minus sign; `-0` is."""
        return self.text.startswith("-")


@dataclass(frozen=True)
class Bounds:
    """What a document may measure at most."""

    bytes: int = 1 << 20
    depth: int = 64
    keys: int = 10_000


USUAL = Bounds()


class Reader:
    """One pass over the characters, one position, no look-ahead beyond a character."""

    def __init__(self, text: str, bounds: Bounds) -> None:
        self.text = text
        self.at = 0
        self.bounds = bounds
        self.keys = 0

    def peek(self) -> str:
        return self.text[self.at] if self.at < len(self.text) else ""

    def blanks(self) -> None:
        while self.peek() and self.peek() in BLANKS:
            self.at += 1

    def expect(self, literal: str) -> None:
        if not self.text.startswith(literal, self.at):
            raise Fault("malformed-request", f"`{literal}` expected at {self.at}")
        self.at += len(literal)

    def value(self, depth: int) -> Any:
        self.blanks()
        first = self.peek()
        if first in ("{", "[") and depth >= self.bounds.depth:
            raise Fault("too-deep", f"nested over {self.bounds.depth}")
        if first == "{":
            result: Any = self.members(depth + 1)
        elif first == "[":
            result = self.elements(depth + 1)
        elif first == '"':
            result = self.string()
        elif first in ("t", "f", "n"):
            word = {"t": "true", "f": "false", "n": "null"}[first]
            self.expect(word)
            result = WORDS[word]
        else:
            result = self.number()
        self.blanks()
        return result

    def number(self) -> Number:
        found = NUMBER.match(self.text, self.at)
        if not found:
            raise Fault("malformed-request", f"no value at {self.at}")
        self.at = found.end()
        number = Number(found.group())
        nearest = float(number.text)
        if nearest in (float("inf"), float("-inf")) or (nearest == 0 and not number.zero()):
            raise Fault("number-out-of-range", number.text[:40])
        return number

    def members(self, depth: int) -> dict[str, Any]:
        self.expect("{")
        self.blanks()
        found: dict[str, Any] = {}
        while self.peek() != "}":
            if found:
                self.expect(",")
                self.blanks()
            key = self.string()
            if key in found:
                raise Fault("duplicate-key", key)
            self.keys += 1
            if self.keys > self.bounds.keys:
                raise Fault("too-deep", f"over {self.bounds.keys} keys")
            self.blanks()
            self.expect(":")
            found[key] = self.value(depth)
        self.expect("}")
        return found

    def elements(self, depth: int) -> list[Any]:
        self.expect("[")
        self.blanks()
        found: list[Any] = []
        while self.peek() != "]":
            if found:
                self.expect(",")
            found.append(self.value(depth))
        self.expect("]")
        return found

    def string(self) -> Text:
        self.expect('"')
        start = self.at
        units: list[int] = []
        while self.peek() != '"':
            char = self.peek()
            if char == "" or char < " ":
                raise Fault("malformed-request", "a string cut short, or a control character in it")
            self.at += 1
            if char != "\\":
                units.append(ord(char))
                continue
            letter = self.peek()
            self.at += 1
            if letter in ESCAPES and letter:
                units.append(ord(ESCAPES[letter]))
            elif letter == "u" and (digits := HEX4.match(self.text, self.at)):
                self.at += 4
                units.append(int(digits.group(), 16))
            else:
                raise Fault("malformed-request", "an escape that JSON does not have")
        raw = self.text[start : self.at]
        self.at += 1
        return Text.of(join_surrogates(units), raw)


def join_surrogates(units: list[int]) -> str:
    """Code units to characters: a high and a low half make one, a half alone is a fault."""
    out: list[str] = []
    rest = iter(units)
    for unit in rest:
        code = unit
        if 0xD800 <= unit < 0xDC00:
            low = next(rest, 0)
            if not 0xDC00 <= low < 0xE000:
                raise Fault("malformed-request", "half a surrogate pair")
            code = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00)
        elif 0xDC00 <= unit < 0xE000:
            raise Fault("malformed-request", "half a surrogate pair")
        out.append(chr(code))
    return "".join(out)


def read(source: bytes, bounds: Bounds = USUAL) -> Any:
    """The document: dict, list, `Text`, `Number`, bool or None.

    Raises:
        Fault: with the code of a fault it has (of several faults, one).
    """
    if len(source) > bounds.bytes:
        raise Fault("body-too-large", f"over {bounds.bytes} bytes")
    try:
        text = source.decode("utf-8", "strict")
    except UnicodeDecodeError as error:
        raise Fault("malformed-request", str(error)) from None
    reader = Reader(text, bounds)
    value = reader.value(0)
    if reader.at != len(text):
        raise Fault("malformed-request", f"more after the document, at {reader.at}")
    return value
