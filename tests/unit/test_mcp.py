"""The protocol's vocabulary."""

from __future__ import annotations

import pytest

from gateway.mcp import is_modern, is_recent, is_session_id, revision_name, revision_number


@pytest.mark.parametrize(
    ("version", "recent", "modern"),
    [
        (None, False, False),
        (b"", False, False),
        (b"2025-06-18", False, False),
        (b"2025-11-25", True, False),
        (b"2025-11-26", True, True),
        (b"2026-07-28", True, True),
        (b" 2026-07-28\t", True, True),
        (b"2026-07-28x", False, False),
        (b"9", False, False),
        (b"latest", False, False),
        (b"DRAFT-2026-v1", False, False),
    ],
)
def test_the_era_of_a_version_header(version: bytes | None, recent: bool, modern: bool) -> None:
    assert (is_recent(version), is_modern(version)) == (recent, modern)


@pytest.mark.parametrize("revision", ["2024-11-05", "2025-03-26", "2026-07-28"])
def test_revisions_are_numbers_in_the_table(revision: str) -> None:
    assert revision_name(revision_number(revision)) == revision


@pytest.mark.parametrize("odd", [None, 3, "", "2025", "2025-3-26", "2025-03-26 ", "٢٠٢٥-03-26"])
def test_what_is_no_revision_is_0(odd: object) -> None:
    assert revision_number(odd) == 0
    assert revision_name(0) is None


@pytest.mark.parametrize(
    ("session", "valid"),
    [
        (b"a", True),
        (b"!~", True),
        (b"", False),
        (b"a b", False),
        (b"\xff", False),
        (b"x" * 1025, False),
    ],
)
def test_session_ids_are_visible_ascii(session: bytes, valid: bool) -> None:
    assert is_session_id(session) is valid
