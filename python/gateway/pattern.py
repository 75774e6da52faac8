"""Patterns of names, as grants have them."""

from __future__ import annotations


def matches(pattern: str, text: str) -> bool:
    """Whether a text is a pattern's, in which `*` stands for anything; in linear time."""
    first, *rest = pattern.split("*")
    if not rest:
        return text == pattern
    *middle, last = rest
    if not text.startswith(first) or len(text) < len(first) + len(last):
        return False
    at, end = len(first), len(text) - len(last)
    for part in middle:
        found = text.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return text.endswith(last)
