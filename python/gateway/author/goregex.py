"""Regular expressions of Go's syntax, as far as they mean something else to the policy's engine.

Both are RE2's family. In Go `\\d`, `\\w`, `\\s` and `\\b` know ASCII only; here they know all of
Unicode, so a rule that is carried over as it stands would let more through.
"""

from __future__ import annotations

CLASSES = {"d": "0-9", "w": "0-9A-Za-z_", "s": r"\t\n\f\r "}


def translated(pattern: str) -> str:
    """The same expression for the policy's engine.

    Raises:
        ValueError: it has a part that only Go knows; the message says which.
    """
    out: list[str] = []
    inside = 0
    at = 0
    while at < len(pattern):
        character = pattern[at]
        if character == "\\" and at + 1 < len(pattern):
            out.append(_escape(pattern[at + 1], bool(inside)))
            at += 2
            continue
        if character == "[" and pattern.startswith("[:", at) and inside:
            # A class by name, `[:alpha:]`, which ASCII bounds in both.
            end = pattern.find(":]", at)
            at, piece = (end + 2, pattern[at : end + 2]) if end > 0 else (at + 1, r"\[")
            out.append(piece)
            continue
        if character == "[":
            # A bracket within brackets is a plain character to Go.
            out.append(r"\[" if inside else "[")
            if not inside:
                inside = at + 1 + pattern.startswith("^", at + 1)
        elif character == "]" and inside and at > inside:
            out.append("]")
            inside = 0
        elif character == "]" and inside:
            out.append(r"\]")
        elif inside and character in "&~" and pattern.startswith(character, at + 1):
            # Two of them join classes here, and are plain to Go.
            out.append("\\" + character)
        else:
            out.append(character)
        at += 1
    return "".join(out)


def _escape(letter: str, inside: bool) -> str:
    if letter in CLASSES:
        return CLASSES[letter] if inside else f"[{CLASSES[letter]}]"
    if letter.lower() in CLASSES:
        if inside:
            raise ValueError(f"`\\{letter}` within brackets")
        return f"[^{CLASSES[letter.lower()]}]"
    if letter in "bB":
        return rf"(?-u:\{letter})"
    if letter in "QEC":
        raise ValueError(f"`\\{letter}`")
    return f"\\{letter}"
