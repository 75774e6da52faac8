"""What JSONTestSuite says of a text is what both sides say of it, wherever it stands."""

from __future__ import annotations

from collections import Counter

import pytest

from differential import json_suite
from differential.sides import Core, Model, Side
from hostile import ALLOW_ALL, PLACES

INSIDE = [place for place in PLACES if place != "alone"]
"""Where a value is lawful if it is lawful at all; alone none of the suite's is a message."""

DUPLICATES = {"y_object_duplicated_key", "y_object_duplicated_key_and_value"}
"""JSON, but readers differ on what it says."""

UP_TO_US = {
    "allowed": """
        number_too_big_neg_int number_too_big_pos_int number_very_big_negative_int
        """,
    "number-out-of-range": """
        number_double_huge_neg_exp number_huge_exp number_neg_int_huge_exp
        number_pos_double_huge_exp number_real_neg_overflow number_real_pos_overflow
        number_real_underflow
        """,
    "too-deep": "structure_500_nested_arrays",
    "malformed-request": """
        object_key_lone_2nd_surrogate string_1st_surrogate_but_2nd_missing
        string_1st_valid_surrogate_2nd_invalid string_UTF-16LE_with_BOM
        string_UTF-8_invalid_sequence string_UTF8_surrogate_U+D800
        string_incomplete_surrogate_and_escape_valid string_incomplete_surrogate_pair
        string_incomplete_surrogates_escape_valid string_invalid_lonely_surrogate
        string_invalid_surrogate string_invalid_utf-8 string_inverted_surrogates_U+1D11E
        string_iso_latin_1 string_lone_second_surrogate string_lone_utf8_continuation_byte
        string_not_in_unicode_range string_overlong_sequence_2_bytes
        string_overlong_sequence_6_bytes string_overlong_sequence_6_bytes_null
        string_truncated-utf-8 string_utf16BE_no_BOM string_utf16LE_no_BOM
        structure_UTF-8_BOM_empty_object
        """,
}
"""What becomes of the files of which a reader may make what it likes, by code: integers are exact
at any size, a number that a double cannot hold is no number to many, a surrogate without the other
is no text, and bytes must be UTF-8 without a mark."""

BOTH = pytest.mark.parametrize("side", [Model, Core])


@pytest.fixture(autouse=True)
def suite() -> None:
    if not json_suite.files():
        pytest.skip("the files of JSONTestSuite come from a package, which cannot be fetched")


def code(side: type[Side], value: bytes, place: str) -> str:
    """What is decided of a message with this value in this place."""
    found = side(ALLOW_ALL).decide({}, PLACES[place].replace(b"%s", value))
    assert found["allowed"] is (found["code"] == "allowed")
    return str(found["code"])


def of_kind(kind: str) -> dict[str, bytes]:
    return {name: text for name, text in json_suite.files().items() if name.startswith(kind)}


def test_the_suite_is_whole() -> None:
    assert Counter(name[0] for name in json_suite.files()) == {"y": 95, "n": 188, "i": 35}


@BOTH
@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_json_is_refused(side: type[Side], place: str) -> None:
    found = Counter(code(side, text, place) for text in of_kind("n_").values())
    # Two of them are a hundred thousand brackets, of which nobody waits for the end.
    assert found == {"malformed-request": 186, "too-deep": 2}


@BOTH
@pytest.mark.parametrize("place", INSIDE)
def test_what_is_json_passes_unless_it_says_a_thing_twice(side: type[Side], place: str) -> None:
    found = {name: code(side, text, place) for name, text in of_kind("y_").items()}
    refused = {name: code for name, code in found.items() if code != "allowed"}
    assert refused == dict.fromkeys(DUPLICATES, "duplicate-key")


@BOTH
@pytest.mark.parametrize("place", INSIDE)
def test_what_is_up_to_a_reader_is_decided(side: type[Side], place: str) -> None:
    decided = {f"i_{name}": code for code, names in UP_TO_US.items() for name in names.split()}
    found = {name: code(side, text, place) for name, text in of_kind("i_").items()}
    assert found == decided


@BOTH
def test_none_of_it_is_a_message(side: type[Side]) -> None:
    assert not [
        name for name, text in json_suite.files().items() if code(side, text, "alone") == "allowed"
    ]
