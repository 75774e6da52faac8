"""Pinned definitions: what counts as the same, and what is told of what is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway._core import tool_digest
from gateway.author.pins import Change, Lock, accepted, differences, pin, pins, read, write, written
from gateway.author.tools import Listing, read_tool
from gateway.errors import SettingsError


def entry(name: str = "a", **more: Any) -> dict[str, Any]:
    return {"name": name, "description": f"Get {name}.", "inputSchema": {"type": "object"}, **more}


def listing(*entries: dict[str, Any], server: str = "s") -> Listing:
    return Listing(server, tuple(read_tool(one) for one in entries))


def locked(*entries: dict[str, Any]) -> Lock:
    return Lock({"s": pins(listing(*entries).tools)})


def told(
    lock: Lock, *entries: dict[str, Any]
) -> list[tuple[str, str, str | None, tuple[str, ...]]]:
    changes = differences(lock, [listing(*entries)])
    return [(one.kind, one.tool, one.before, one.parts) for one in changes]


def test_nothing_changed() -> None:
    assert told(locked(entry("a"), entry("b")), entry("b"), entry("a")) == []


@pytest.mark.parametrize(
    ("more", "parts"),
    [
        ({"description": "Get it. Then send it."}, ("description",)),
        ({"inputSchema": {"type": "object", "properties": {"a": {}}}}, ("inputSchema",)),
        ({"annotations": {"readOnlyHint": True}}, ("annotations",)),
        ({"title": "x"}, ("other members",)),
        ({"outputSchema": {}}, ("other members",)),
        ({"description": "x", "inputSchema": {}}, ("description", "inputSchema")),
    ],
)
def test_what_of_a_definition_changed(more: Any, parts: tuple[str, ...]) -> None:
    assert told(locked(entry()), entry(**more)) == [("changed", "a", None, parts)]


def test_notes_of_the_server_are_no_change() -> None:
    assert told(locked(entry()), entry(_meta={"seen": 7})) == []


def test_new_and_gone() -> None:
    found = told(locked(entry("a"), entry("b")), entry("b"), entry("c", description="Other."))
    assert found == [("new", "c", None, ()), ("gone", "a", None, ())]


def test_a_rename_is_one() -> None:
    lock = locked(entry("a", description="Get."), entry("b"))
    found = told(lock, entry("b"), entry("z", description="Get."))
    assert found == [("renamed", "z", "a", ())]


def test_a_rename_with_a_change_is_none() -> None:
    found = told(locked(entry("a", description="Get.")), entry("z", description="Get all."))
    assert [kind for kind, *_ in found] == ["new", "gone"]


def test_two_new_ones_are_not_one_renamed() -> None:
    found = told(
        locked(entry("a", description="G")),
        entry("y", description="G"),
        entry("z", description="G"),
    )
    assert found == [("renamed", "y", "a", ()), ("new", "z", None, ())]


def test_what_is_accepted_is_pinned_and_nothing_else() -> None:
    lock = locked(entry("a"), entry("b"), entry("old", description="X"))
    now = [
        entry("a", description="1"),
        entry("b", description="2"),
        entry("c"),
        entry("new", description="X"),
    ]
    lock = accepted(lock, [listing(*now)], ["a", "new"])
    assert [(kind, tool) for kind, tool, *_ in told(lock, *now)] == [("changed", "b"), ("new", "c")]
    assert told(accepted(lock, [listing(*now)], None), *now) == []


def test_what_is_gone_is_accepted_by_its_last_name() -> None:
    lock = accepted(locked(entry("a"), entry("b")), [listing(entry("a"))], ["b"])
    assert lock.servers["s"].keys() == {"a"}


def test_what_did_not_change_cannot_be_accepted() -> None:
    with pytest.raises(SettingsError, match="there is no change of `x` to accept"):
        accepted(locked(entry("a")), [listing(entry("a"))], ["x"])


def test_other_servers_stay_as_they_are() -> None:
    lock = Lock({"other": pins(listing(entry("o")).tools)})
    lock = accepted(lock.with_server("s", {}), [listing(entry("a"))], None)
    assert lock.servers["other"].keys() == {"o"}
    assert differences(lock, [listing(entry("a"))]) == []


def test_a_lock_is_read_as_it_was_written(tmp_path: Path) -> None:
    lock = locked(entry("a"), entry('ü "\\'))
    path = tmp_path / "interlock.lock"
    write(lock, path)
    assert read(path) == lock
    before = path.read_text()
    write(locked(entry('ü "\\'), entry("a")), path)
    assert path.read_text() == before
    assert [one.name for one in tmp_path.iterdir()] == ["interlock.lock"]


def test_a_lock_that_cannot_be_written_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "interlock.lock"
    write(locked(entry("a")), path)
    before = path.read_text()

    def full(*_: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="no room"):
        write(locked(entry("b")), path)
    assert path.read_text() == before
    assert [one.name for one in tmp_path.iterdir()] == ["interlock.lock"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"version": "2", "servers": {}}',
        '{"version": "1", "servers": {"s": {}}}',
        '{"version": "1", "servers": {"s": {"tools": {"a": {"digest": "zz", "parts": {}}}}}}',
        '{"version": "1", "servers": {"s": {"tools": {"a": {"digest": "00", "parts": {}}}}}}',
        '{"version": "1", "servers": {}, "servers": {}}',
        '{"version": "1", "servers": {}, "more": 1}',
        '{"version": "1", "servers": []}',
        '{"version": "1", "servers": {"s": {"tools": {"a": null}}}}',
    ],
)
def test_what_is_no_lock_is_not_read(text: str, tmp_path: Path) -> None:
    path = tmp_path / "interlock.lock"
    path.write_text(text)
    with pytest.raises(SettingsError):
        read(path)


def test_a_lock_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such file"):
        read(tmp_path / "none")


def test_the_digests_are_the_cores() -> None:
    one = entry()
    assert pin(read_tool(one)).digest == tool_digest(json.dumps(one, indent=3).encode())
    with pytest.raises(ValueError, match=r"\w"):
        tool_digest(b'{"a":1,"a":1}')


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(JSON, JSON)
def test_two_definitions_are_pinned_alike_only_if_they_are_equal(one: Any, other: Any) -> None:
    a, b = pin(read_tool(entry(x=one))), pin(read_tool(entry(x=other)))
    assert (a.digest == b.digest) == (
        json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    )


def test_a_change_is_data() -> None:
    assert Change("s", "changed", "a", parts=("description",)).data() == {
        "server": "s",
        "change": "changed",
        "tool": "a",
        "before": None,
        "parts": ["description"],
    }
    assert json.loads(written(Lock())) == {"version": "1", "servers": {}}
