"""The class of a tool: how often it is right, and what no description can talk it into."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.author.classify import CLASSES, SEVERITY, Class, classify, tokens
from gateway.author.tools import Tool, read_tool
from support.labelled import FOLDER, labelled, labels
from support.pages import ROOT, sections, table

DATA = Path(__file__).parents[1] / "data"


def tool(name: str, description: str = "", **annotations: bool) -> Tool:
    return read_tool({"name": name, "description": description, "annotations": annotations})


def counts(*, held_back: bool) -> Counter[tuple[Class, Class]]:
    """How often a class that a person gave was found as which."""
    chosen = [one for one in labelled() if one.held_back is held_back]
    return Counter((one.kind, classify(one.tool).kind) for one in chosen)


def test_there_are_enough_and_each_has_its_label() -> None:
    assert len(labelled()) >= 400
    assert {(one.package, one.tool.name) for one in labelled()} == labels().keys()
    halves = Counter(one.held_back for one in labelled())
    assert min(halves.values()) >= 0.45 * len(labelled())
    for path in FOLDER.glob("*.json"):
        assert {"package", "registry", "version", "licence"} <= json.loads(path.read_text()).keys()


@pytest.mark.parametrize("held_back", [True, False])
def test_it_is_right_most_of_the_time(held_back: bool) -> None:
    found = counts(held_back=held_back)
    right = sum(number for (label, kind), number in found.items() if label == kind)
    assert right >= 0.9 * found.total()


@pytest.mark.parametrize("held_back", [True, False])
def test_what_destroys_or_pays_is_never_said_to_read(held_back: bool) -> None:
    found = counts(held_back=held_back)
    assert found["Destructive", "Read"] == found["Financial", "Read"] == 0


def test_the_page_tells_how_often() -> None:
    text = sections("docs/classification.md", 2)["How good it is"]
    found = counts(held_back=True)
    rows = [
        [row["held back"], *(int(row[kind]) for kind in CLASSES)]
        for row in table(text.splitlines())
    ]
    assert rows == [[label, *(found[label, kind] for kind in CLASSES)] for label in CLASSES]
    right = sum(number for (label, kind), number in found.items() if label == kind)
    words = " ".join(text.split())
    assert (
        f"{right} of {found.total()} are right, {right / found.total():.1%}".replace("%", " %")
        in words
    )
    servers = {one.package for one in labelled()}
    assert f"Measured on {len(labelled())} tools of {len(servers)} published servers" in words


PUBLISHED = {
    "upwork_close_session": "Close the browser session and clean up resources.",
    "save_session": "Save the login session of the current browser tab (alias).",
}


@pytest.mark.parametrize(("name", "description"), PUBLISHED.items())
@pytest.mark.parametrize("told", [True, False])
def test_the_published_policies_tools_are_what_their_pages_say(
    name: str, description: str, told: bool
) -> None:
    verdict = classify(tool(name, description if told else ""))
    assert (verdict.kind, verdict.severity) == ("Write", "medium")


LIES = "Get a list. Read-only, does not modify anything, has no side effects."


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("delete_branch", "Destructive"),
        ("find_and_delete", "Destructive"),
        ("runCommand", "Execute"),
        ("buy-shares", "Financial"),
    ],
)
def test_a_name_is_not_talked_away(name: str, kind: Class) -> None:
    found = classify(tool(name, LIES, readOnlyHint=True, destructiveHint=False))
    assert found.kind == kind


@pytest.mark.parametrize(
    ("name", "description", "kind"),
    [
        ("get_order", "Get an order.", "Read"),
        ("get_conversation", "The latest messages of one conversation.", "Read"),
        ("create_order", "Create an order.", "Financial"),
        ("cancel_subscription", "Cancel a subscription.", "Financial"),
        ("order_history", "", "Read"),
        ("sort_order_update", "Update the sort order.", "Write"),
        ("thing", "Permanently deletes the data. This cannot be undone.", "Destructive"),
        ("thing", "Gets the data.", "Read"),
        ("thing", "", "Write"),
        ("", "", "Write"),
        ("git_settings", "", "Write"),
        ("getUserProfile", "", "Read"),
        ("API-delete-a-block", "Delete a block", "Destructive"),
        ("x", "Create or delete rows.", "Write"),
        ("searchAndDestroy", "", "Destructive"),
    ],
)
def test_words_and_their_class(name: str, description: str, kind: Class) -> None:
    found = classify(Tool(name, description=description))
    assert found.kind == kind, found


def test_a_hint_decides_between_words_that_say_little() -> None:
    assert classify(tool("thing", "A thing.", readOnlyHint=True)).kind == "Read"
    assert classify(tool("thing", "A thing.", destructiveHint=True)).kind == "Destructive"
    assert classify(tool("thing", "A thing.", readOnlyHint=False)).kind == "Write"
    assert (
        classify(read_tool({"name": "thing", "annotations": {"readOnlyHint": 1}})).kind == "Write"
    )


def test_the_rationale_quotes_the_tool() -> None:
    found = classify(tool("DeleteUser", "Removes a USER for good."))
    assert found.rationale == 'Destructive by its name "Delete", description "Removes"'
    assert classify(tool("thing")).rationale == (
        "nothing in its definition says what it does, which is taken for Write"
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("get_user", ["get", "user"]),
        ("getUserByID", ["get", "User", "By", "ID"]),
        ("HTTPGet2x", ["HTTP", "Get", "2", "x"]),
        ("API-post-page", ["API", "post", "page"]),
    ],
)
def test_a_name_is_cut_into_words(name: str, words: list[str]) -> None:
    assert tokens(name) == words


TEXT = st.text(max_size=200)
SCHEMA = st.recursive(
    st.none() | st.booleans() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(TEXT.filter(bool), TEXT, SCHEMA, SCHEMA)
def test_any_definition_has_one_class(
    name: str, description: str, schema: Any, annotations: Any
) -> None:
    entry = {
        "name": name,
        "description": description,
        "inputSchema": schema,
        "annotations": annotations,
    }
    verdict = classify(read_tool(entry))
    assert verdict == classify(read_tool(entry))
    assert 0 <= verdict.confidence <= 1
    assert verdict.severity == SEVERITY[verdict.kind]
    shown = {"name": name, "description": description}
    for one in verdict.evidence:
        assert one.quote in shown.get(one.source, one.quote)


def test_what_a_long_description_says_at_its_end_costs_nothing() -> None:
    long = "word " * 400_000
    assert classify(tool("thing", long + "delete")) == classify(tool("thing", long))


def test_the_table_lists_no_word_for_two_classes() -> None:
    import tomllib

    raw = tomllib.loads((ROOT / "python/gateway/author/evidence.toml").read_text())
    for part in ("verbs", "objects", "arguments", "tails"):
        words = [word for kind in raw[part].values() for word in kind]
        twice = [word for word, number in Counter(words).items() if number > 1]
        assert twice == [], part
    text = sections("docs/classification.md", 2)["The model"]
    told = [row["evidence"].strip("`") for row in table(text.splitlines())]
    assert set(told) == raw["weights"].keys() - {"margin"}
