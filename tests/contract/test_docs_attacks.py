"""docs/attacks.md: every flag there is, and the rules it proposes."""

from __future__ import annotations

import json
import re

from gateway import PolicySet
from gateway.author.flags import FLAGS
from support.pages import codes, page, plain, sections, table

PAGE = "docs/attacks.md"


def test_every_flag_is_told_and_has_its_attack() -> None:
    told = [plain(row["flag"]) for row in table(page(PAGE).splitlines()[1:])]
    assert told == list(FLAGS)
    parts = sections(PAGE, 2)
    assert [plain(heading) for heading in parts] == list(FLAGS)
    for text in parts.values():
        assert "**Pattern.**" in text
        assert "**Close it.**" in text


def test_the_condition_it_proposes_is_one() -> None:
    (condition,) = [code for code in codes(page(PAGE)) if code.startswith('{"path"')]
    rule = {"conditions": [json.loads(re.sub(r"\s+", " ", condition))]}
    document = {"version": "1", "default": "deny", "tools": {"t": {"require": [rule]}}}
    PolicySet.parse(json.dumps(document).encode(), name="p.json")
