"""What an agent wrote is shown exactly, and does nothing to who reads it."""

from __future__ import annotations

import json
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.approvals.words import readable, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("pay", "pay"),
        ("a b", "a b"),
        ("Müller 東京 €5", "Müller 東京 €5"),
        ("a\nb\t\x1b[2J\x7f\0", r"a\nb\t\u001b[2J\u007f\u0000"),
        ("a\u202eb", r"a\u202eb"),
        ("a\u200bb\u00adc\ufeff", r"a\u200bb\u00adc\ufeff"),
        ("\u3164\u2800\u00a0", r"\u3164\u2800\u00a0"),
        ("a\u0301", r"a\u0301"),
        ("5 \u05d0 10", r"5 \u05d0 10"),
        ("\U000e0041", r"\udb40\udc41"),
        ("\ue000", r"\ue000"),
        ("\u2028", r"\u2028"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_cannot_be_seen_is_spelt_out(text: str, shown: str) -> None:
    assert visible(text) == shown
    if text not in ("a\nb\t\x1b[2J\x7f\0",):
        assert readable(json.dumps(text)) == f'"{shown}"'


@given(st.text(st.characters(codec=None)))
def test_nothing_shown_can_do_anything(text: str) -> None:
    for shown in (visible(text), readable(json.dumps(text).replace("\x7f", r"\u007f"))):
        for letter in shown:
            assert letter.isprintable()
            assert unicodedata.category(letter)[0] in "LNPSZ"
            assert unicodedata.bidirectional(letter) not in ("R", "AL", "AN", "RLO", "RLE")


@given(st.text())
def test_what_is_read_is_what_was_written(text: str) -> None:
    assert json.loads(readable(json.dumps(text))) == text


@pytest.mark.parametrize("text", [r'"\\u0041"', r'"\\\u00e9"', r'"\"\\"', r'"\ud83d\ude00"'])
def test_an_escaped_backslash_begins_no_letter(text: str) -> None:
    assert json.loads(readable(text)) == json.loads(text)
    assert not re.search(r"(?<!\\)A", readable(r'"\\u0041"'))
