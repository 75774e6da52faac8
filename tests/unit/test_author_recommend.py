"""The proposed policy: what each class gets, and that it can be used as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import Caller, Engine, LimitTable, PolicySet
from gateway.author.assess import Assessed, assess
from gateway.author.classify import CLASSES, Class
from gateway.author.fit import misfits
from gateway.author.recommend import file_name, nameable, policy, written
from gateway.author.tools import Listing, Tool, read_tools
from support.labelled import labelled

PUBLISHED = sorted((Path(__file__).parents[1] / "data" / "published").glob("*.json"))


def proposed(*tools: Tool) -> dict[str, Any]:
    (one,) = assess([Listing("s", tools)])
    return policy("s", one.tools)


def of(kind: Class, name: str = "t") -> dict[str, Any]:
    return policy("s", [Assessed(Tool(name), kind, 1.0, "why", (), ())])


def compiled(document: dict[str, Any]) -> PolicySet:
    return PolicySet.parse(written(document).encode(), name="policy.json")


def decided(document: dict[str, Any], tool: str, times: int = 1) -> list[str]:
    engine = Engine(compiled(document), LimitTable(64))
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool}}
    body = json.dumps(call).encode()
    return [engine.decide(Caller("g", server="s"), body, now_ns=1).code for _ in range(times)]


def without_words(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_words(v) for k, v in value.items() if k != "description"}
    return value


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_for_the_published_tools_it_is_the_published_policy(path: Path) -> None:
    published = json.loads(path.read_text())
    assert without_words(proposed(Tool(path.stem))) == published
    (entry,) = proposed(Tool(path.stem))["tools"].values()
    assert entry["description"].startswith("Write, medium: ")


def test_both_published_policies_are_there() -> None:
    assert [path.stem for path in PUBLISHED] == ["save_session", "upwork_close_session"]


@pytest.mark.parametrize(
    ("kind", "codes"),
    [
        ("Read", ["allowed"] * 50),
        ("Write", ["allowed"] * 30 + ["limit-exceeded"]),
        ("Execute", ["allowed"] * 10 + ["limit-exceeded"]),
        ("Destructive", ["hidden"]),
        ("Financial", ["approval-required"]),
    ],
)
def test_what_a_class_gets(kind: Class, codes: list[str]) -> None:
    assert decided(of(kind), "t", len(codes)) == codes
    assert decided(of(kind), "other") == ["default-deny"]


def test_every_class_has_its_case() -> None:
    assert len(CLASSES) == 5


def test_every_entry_says_why() -> None:
    for kind in CLASSES:
        (entry,) = of(kind)["tools"].values()
        assert entry["description"].startswith(f"{kind}, ")


def warned(document: dict[str, Any]) -> list[str]:
    return [f"{one.code} {one.path}" for one in compiled(document).warnings]


def test_one_for_real_servers_passes_check_without_a_word() -> None:
    packages = {one.package for one in labelled()}
    for package in packages:
        tools = tuple(one.tool for one in labelled() if one.package == package)
        document = proposed(*tools)
        assert warned(document) == []
        assert misfits(document, compiled(document), tools) == []
        for tool in tools:
            assert decided(document, tool.name) != ["default-deny"]


NAMES = st.text(min_size=1, max_size=30) | st.sampled_from(
    ["*", "a*", "A", "a", " a", "a ", "a\nb", "a\u200bb", "/", "~1", "tools/call", "\x7f", "\uff41"]
)


@given(st.lists(NAMES, unique=True, max_size=8), st.text(max_size=60))
def test_it_passes_check_whatever_the_tools_are_called(names: list[str], text: str) -> None:
    tools = [
        Assessed(Tool(name), CLASSES[at % 5], 1.0, text, (), ()) for at, name in enumerate(names)
    ]
    assert warned(policy(text, tools)) == []


DEFINITIONS = st.fixed_dictionaries(
    {"name": NAMES},
    optional={
        "description": st.text(max_size=80) | st.sampled_from(["Delete all.", "Pay.", "Run SQL."]),
        "inputSchema": st.dictionaries(
            st.sampled_from(["properties", "required", "type"]),
            st.dictionaries(st.text(max_size=5), st.booleans() | st.just({"type": "string"})),
        ),
        "annotations": st.dictionaries(
            st.sampled_from(["readOnlyHint", "destructiveHint"]), st.booleans()
        ),
    },
)


@given(st.lists(DEFINITIONS, unique_by=lambda one: str(one["name"]), max_size=6))
def test_a_proposed_policy_passes_check_against_the_server_it_is_for(
    definitions: list[dict[str, Any]],
) -> None:
    tools = read_tools(definitions)
    document = proposed(*tools)
    assert warned(document) == []
    # Of what cannot be named check may say that the default decides it, and of nothing else a word.
    found = misfits(document, compiled(document), tools)
    assert {one.code for one in found} <= {"tool-uncovered"}
    named = [tool.name for tool in tools if nameable(tool.name)]
    assert len(named) < len(tools) or found == []
    assert all(decided(document, name) != ["default-deny"] for name in named)


@pytest.mark.parametrize("name", ["x*", "*", "a b", "a\nb"])
def test_what_cannot_be_named_stays_denied(name: str) -> None:
    document = of("Read", name)
    assert document["tools"] == {}
    assert decided(document, "other") == ["default-deny"]


@pytest.mark.parametrize(
    ("server", "file"),
    [
        ("github", "github.json"),
        ("../../etc/x", "etc-x.json"),
        ("..", "server.json"),
        ("", "server.json"),
    ],
)
def test_a_servers_file_stays_in_its_folder(server: str, file: str) -> None:
    assert file_name(server) == file
