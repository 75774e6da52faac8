"""The servers that desktop clients are set up with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.author.clients import Found, find, plain


@pytest.fixture(autouse=True)
def linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")


def look(home: Path, folder: Path, variables: dict[str, str] | None = None) -> Found:
    return find(home, folder, variables or {})


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_every_client_is_looked_at(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "project"
    files = {
        home / ".config/Claude/claude_desktop_config.json": {"mcpServers": {"a": {"command": "a"}}},
        home / ".claude.json": {
            "mcpServers": {"b": {"type": "http", "url": "http://b.test/mcp"}},
            "projects": {"/p": {"mcpServers": {"c": {"command": "c", "args": ["1"]}}}},
        },
        folder / ".mcp.json": {"mcpServers": {"d": {"command": "d"}}},
        home / ".cursor/mcp.json": {"mcpServers": {"e": {"command": "e"}}},
        folder / ".cursor/mcp.json": {"mcpServers": {"f": {"command": "f"}}},
        home / ".config/Code/User/mcp.json": {"servers": {"g": {"command": "g"}}},
        home / ".config/Code/User/settings.json": {"mcp": {"servers": {"h": {"command": "h"}}}},
        folder / ".vscode/mcp.json": {"servers": {"i": {"command": "i"}}},
        home / ".codeium/windsurf/mcp_config.json": {
            "mcpServers": {"j": {"serverUrl": "http://j.test/mcp"}}
        },
    }
    for path, document in files.items():
        write(path, json.dumps(document))
    found = look(home, folder)
    assert found.problems == []
    assert sorted(target.name for target in found.targets) == list("abcdefghij")
    assert sorted(found.files) == sorted(files)
    by_name = {target.name: target for target in found.targets}
    assert by_name["b"].url == "http://b.test/mcp"
    assert by_name["c"].command == ("c", "1")
    assert by_name["c"].source == str(home / ".claude.json")
    assert by_name["j"].url == "http://j.test/mcp"


def test_comments_and_trailing_commas_are_passed_over(tmp_path: Path) -> None:
    text = """\ufeff{ // the servers, "x": {
      /* "mcpServers": {}, */
      "mcpServers": {
        "a": {"command": "run", "args": ["http://x//y", "/* no */", "a,]", "\\\\"], }, // ,}
      },
    }"""
    write(tmp_path / ".cursor/mcp.json", text)
    found = look(tmp_path, tmp_path / "none")
    assert found.problems == []
    (target,) = found.targets
    assert target.command == ("run", "http://x//y", "/* no */", "a,]", "\\")


def test_what_is_json_already_stays_as_it_is() -> None:
    text = json.dumps({"a": ["// b", '"', "\\", "/*", ",]", {"c": "*/"}]})
    assert json.loads(plain(text)) == json.loads(text)
    assert plain(text) == text


def test_placeholders_are_filled_and_unknown_ones_told(tmp_path: Path) -> None:
    servers = {
        "a": {
            "command": "x",
            "args": ["${workspaceFolder}", "${HOME:-/h}"],
            "env": {"K": "${env:KEY}"},
        },
        "b": {"command": "x", "env": {"K": "${input:secret}"}},
        "c": {"url": "http://c.test/${UNSET}"},
    }
    write(tmp_path / ".cursor/mcp.json", json.dumps({"mcpServers": servers}))
    found = look(tmp_path, tmp_path / "none", {"KEY": "geheim"})
    (target,) = found.targets
    assert target.command == ("x", str(tmp_path / "none"), "/h")
    assert dict(target.env) == {"K": "geheim"}
    assert found.problems == [
        "Cursor: server `b`: needs `${input:secret}`, which is not known here",
        "Cursor: server `c`: needs `${UNSET}`, which is not known here",
    ]


def test_one_server_in_two_clients_is_one_and_two_of_a_name_are_two(tmp_path: Path) -> None:
    same, other = {"command": "x", "args": ["1"]}, {"command": "x", "args": ["2"]}
    write(tmp_path / ".cursor/mcp.json", json.dumps({"mcpServers": {"a": same}}))
    write(tmp_path / ".claude.json", json.dumps({"mcpServers": {"b": same, "a": other}}))
    found = look(tmp_path, tmp_path / "none")
    assert [(t.name, t.command[1]) for t in found.targets] == [("b", "1"), ("a", "2")]


def test_a_server_behind_interlock_is_asked_without_its_policy(tmp_path: Path) -> None:
    args = ["wrap", "--policy", "p.json", "--", "server", "--flag"]
    servers = {"a": {"command": "/opt/venv/bin/interlock", "args": args}}
    write(tmp_path / ".cursor/mcp.json", json.dumps({"mcpServers": servers}))
    (target,) = look(tmp_path, tmp_path / "none").targets
    assert target.command == ("server", "--flag")


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"command": "x", "disabled": True}, "switched off"),
        ({"type": "sse", "url": "http://x.test/sse"}, "HTTP+SSE"),
        ({"args": ["x"]}, "neither a command nor a url"),
    ],
)
def test_a_server_that_cannot_be_asked_is_told(tmp_path: Path, entry: object, why: str) -> None:
    write(tmp_path / ".cursor/mcp.json", json.dumps({"mcpServers": {"a": entry}}))
    found = look(tmp_path, tmp_path / "none")
    assert found.targets == []
    assert len(found.problems) == 1
    assert why in found.problems[0]


def test_a_file_that_is_no_json_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    write(tmp_path / ".claude.json", "{")
    write(tmp_path / ".cursor/mcp.json", '{"mcpServers": {"a": {"command": "x"}}}')
    found = look(tmp_path, tmp_path / "none")
    assert [target.name for target in found.targets] == ["a"]
    assert found.problems == [f"Claude Code: `{tmp_path / '.claude.json'}`: it is not json"]
