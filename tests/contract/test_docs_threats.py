"""The threat model, the notebook and the assurance: what they name as shown by a test, exists."""

from __future__ import annotations

import re

import pytest

from support.pages import ROOT, Row, codes, prose, sections, table

PAGE = "docs/threat-model.md"
PARTS = (
    *("The agent", "The server", "A neighbour", "A policy's author", "The network"),
    "Around it, in a cluster",
)
FUNCTION = {".py": r"^ *(?:async )?def {}\(", ".rs": r"^ *fn {}\("}
NOTEBOOK = "docs/adversary.md"
ASSURANCE = "docs/assurance.md"


def named(page: str) -> set[str]:
    """The tests that a page names."""
    return {code for code in codes(prose(page)) if "::" in code}


NAMED = sorted(named(PAGE) | named(NOTEBOOK) | named(ASSURANCE))


def rows(part: str) -> list[Row]:
    return list(table(sections(PAGE, 2)[part].splitlines()))


@pytest.mark.parametrize("part", PARTS)
def test_every_attack_has_a_control_and_a_test(part: str) -> None:
    assert rows(part)
    for row in rows(part):
        attack, control, shown_by = row.values()
        assert attack
        assert control
        assert set(codes(shown_by)) & set(NAMED), attack
        assert re.fullmatch(r"`[^`]+`(, `[^`]+`)*", shown_by), attack


@pytest.mark.parametrize("part", ["Found, and mended", "Tried, and held"])
def test_what_was_tried_is_kept(part: str) -> None:
    rows = list(table(sections(NOTEBOOK, 2)[part].splitlines()))
    assert rows
    for row in rows:
        assert re.fullmatch(r"`[^`]+`(, `[^`]+`)*", row["kept as"]), row
        assert set(codes(row["kept as"])) <= named(NOTEBOOK)


@pytest.mark.parametrize("name", NAMED)
def test_a_test_that_is_named_exists(name: str) -> None:
    path, _, function = name.partition("::")
    file = ROOT / path
    assert file.is_file()
    pattern = FUNCTION[file.suffix].format(re.escape(function))
    source = file.read_text(encoding="utf-8")
    assert re.search(pattern, source, re.M)
    if file.suffix == ".py":
        assert function.startswith("test_")
    else:
        assert "#[test]" in source
