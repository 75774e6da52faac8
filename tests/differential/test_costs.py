"""What a call costs, against exact fractions: nothing is rounded, nothing overflows.

The oracle is three lines on `fractions.Fraction` and shares nothing with the engine, nor with the
model.
"""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from differential.sides import Core

NOW = 1_772_409_540_000_000_000
MAX = {0: 1_000_000_000_000, 2: 10_000_000_000, 9: 8_000}
"""By scale, a `max` that the table can just about count."""

WHOLE = ("0", "1", "7", "10", "99", "100", "8000", "8001", "123456789", "999999999999", "9" * 20)
PART = ("", ".0", ".5", ".50", ".25", ".01", ".001", ".123456789", ".1234567891", "." + "3" * 20)
TAIL = ("", "e0", "e1", "E+2", "e-1", "e-9", "e-10", "e3")
VALUES = [
    *("".join(parts) for parts in product(WHOLE, PART, TAIL)),
    *("-0", "-1", "-0.0", "1e308", "1e-308", "9007199254740992", "9007199254740993", "4e-320"),
    *("18446744073709551615", "18446744073709551616", "184467440737095516.16", "1e18", "1e19"),
]


def engine(scale: int) -> Core:
    """A tool `pay` whose argument is its cost."""
    limit = {
        "counter": "paid",
        "window": "day",
        "max": MAX[scale],
        "cost": "args.n",
        "scale": scale,
    }
    return Core(
        json.dumps({"version": "1", "default": "deny", "tools": {"pay": {"limits": [limit]}}})
    )


def cost(text: str, scale: int) -> Fraction | None:
    """What the text costs; None if it is none: negative, inexact, too many decimals or units."""
    value = Fraction(Decimal(text))
    as_double = Fraction(Decimal(repr(float(text))))
    units = value * 10**scale
    countable = units.denominator == 1 and units < 1 << 64
    return value if countable and value == as_double and not text.startswith("-") else None


def check(core: Core, text: str, scale: int, left: Fraction) -> Fraction:
    """One call; what is left after it."""
    params = f'{{"name":"pay","arguments":{{"n":{text}}}}}'
    body = f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}'.encode()
    decision = core.decide({}, body, now=NOW)
    wanted = cost(text, scale)
    if wanted is None:
        assert decision["code"] == "cost-invalid", text
        return left
    if wanted > left:
        assert decision["code"] == "limit-exceeded", text
        return left
    assert decision["code"] == "allowed", text
    assert Fraction(Decimal(repr(decision["remaining"]))) == left - wanted, text
    return left - wanted


@pytest.mark.parametrize("scale", MAX)
def test_every_spelling_costs_what_it_says(scale: int) -> None:
    assert len(VALUES) > 120
    for text in VALUES:
        check(engine(scale), text, scale, Fraction(MAX[scale]))


@pytest.mark.parametrize("scale", MAX)
def test_sums_are_exact_to_the_last_unit(scale: int) -> None:
    core, left = engine(scale), Fraction(MAX[scale])
    for text in VALUES:
        left = check(core, text, scale, left)
    assert 0 <= left < MAX[scale]


@given(
    scale=st.sampled_from(sorted(MAX)),
    texts=st.lists(
        st.from_regex(r"\A-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,12})?([eE][+-]?[0-9]{1,2})?\Z"),
        min_size=1,
        max_size=20,
    ),
)
def test_any_numbers_cost_what_they_say(scale: int, texts: list[str]) -> None:
    core, left = engine(scale), Fraction(MAX[scale])
    for text in texts:
        left = check(core, text, scale, left)
