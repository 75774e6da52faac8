"""`interlock scan` on the command line: what it takes, prints and writes, and its exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SERVER = str(Path(__file__).parents[1] / "support" / "asked_server.py")
TOOLS = {"tools": [{"name": "get_x"}, {"name": "delete_x"}]}


def scan(*args: str | Path, home: Path, **more: str) -> subprocess.CompletedProcess[str]:
    return interlock("scan", *args, home=home, **more)


def interlock(*args: str | Path, home: Path, **more: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("INTERLOCK_", "XDG_"))}
    return subprocess.run(
        [sys.executable, "-m", "gateway", *map(str, args)],
        cwd=home,
        env={**kept, "HOME": str(home), **more},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "tools.json"
    path.write_text(json.dumps(TOOLS))
    return path


def told(done: subprocess.CompletedProcess[str]) -> dict[str, list[str]]:
    servers = json.loads(done.stdout)["servers"]
    return {one["server"]: [tool["name"] for tool in one["tools"]] for one in servers}


def configure(home: Path, servers: dict[str, Any]) -> None:
    (home / ".cursor").mkdir()
    (home / ".cursor" / "mcp.json").write_text(json.dumps({"mcpServers": servers}))


def test_all_servers_of_the_clients_are_told_and_the_failed_ones_too(tmp_path: Path) -> None:
    run = {"command": sys.executable}
    configure(
        tmp_path,
        {
            "good": {**run, "args": [SERVER, "pages"], "env": {"TOKEN": "geheim-1"}},
            "dead": {**run, "args": [SERVER, "dies", "geheim-2"]},
            "gone": {"command": "no-such-program"},
        },
    )
    done = scan("--clients", "--format", "json", home=tmp_path)
    assert done.returncode == 69
    assert told(done) == {"good": [f"get_{n}" for n in range(5)]}
    dead, gone = done.stderr.splitlines()
    assert dead.startswith("error: `dead` (`")
    assert "cannot reach the database with …" in dead
    assert "`no-such-program` cannot be started" in gone
    assert "geheim" not in done.stdout + done.stderr


def test_all_servers_of_a_configuration_are_asked(tmp_path: Path) -> None:
    file = tmp_path / "interlock.yaml"
    servers = {
        name: {"command": [sys.executable, SERVER, how], "policy": "not-there-yet.json"}
        for name, how in (("one", "legacy"), ("two", "modern"))
    }
    file.write_text(
        json.dumps(
            {"version": "1", "servers": servers, "anonymous": "g", "grants": [{"name": "g"}]}
        )
    )
    done = scan("--config", file, "--format", "json", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert told(done) == {"one": ["get_x"], "two": ["get_x"]}
    file.write_text(json.dumps({"version": "1", "servers": {"x": {"urll": 1}}}))
    done = scan("--config", file, home=tmp_path)
    assert done.returncode == 64
    assert "urll" in done.stderr


WRONG = {
    "gone": "`no-such-program` cannot be started: no such file or directory",
    "dies": "it ended without an answer; it said: cannot reach the database with …",
    "garbage": "it answers no MCP: it wrote a line that is not JSON",
    "many": "it lists more than 5,000 tools",
}
ASKING = {
    "scan": ("scan",),
    "json": ("scan", "--format", "json"),
    "write": ("scan", "--write", "w.json"),
    "html": ("scan", "--html", "r.html"),
    "lock": ("scan", "--lock", "--lock-file", "new.lock"),
    "diff": ("scan", "--diff"),
    "accept": ("scan", "--diff", "--accept", "*"),
    "check": ("check", "p.json"),
}


@pytest.mark.parametrize("verb", ASKING)
@pytest.mark.parametrize("how", WRONG)
def test_every_verb_says_what_is_wrong_with_a_server_and_writes_nothing(
    how: str, verb: str, tmp_path: Path
) -> None:
    (tmp_path / "p.json").write_text('{"version": "1", "default": "deny", "tools": {"get_x": {}}}')
    (tmp_path / "interlock.lock").write_text('{"version": "1", "servers": {}}')
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    server = ("no-such-program",) if how == "gone" else (sys.executable, SERVER, how, "geheim-1")
    done = interlock(*ASKING[verb], "--", *server, home=tmp_path)
    assert done.returncode == 69
    (line,) = done.stderr.splitlines()
    assert line.endswith(f" did not tell its tools: {WRONG[how]}")
    assert done.stdout == ('{"servers": []}\n' if verb == "json" else "")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_was_not_told_is_not_said_to_be_as_it_was(tmp_path: Path) -> None:
    run = {"command": sys.executable}
    bad = {**run, "args": [SERVER, "dies", "x"]}
    configure(tmp_path, {"good": {**run, "args": [SERVER, "legacy"]}, "dead": bad})
    done = scan("--clients", "--lock", home=tmp_path)
    assert (done.returncode, "pinned 1 tool in" in done.stderr) == (69, True)
    done = scan("--clients", "--diff", home=tmp_path)
    assert done.returncode == 69
    assert done.stdout == "every tool that was told of is as it was pinned\n"


def test_no_client_is_set_up(tmp_path: Path) -> None:
    done = scan("--clients", home=tmp_path)
    assert done.returncode == 1
    assert "no client's configuration on this machine names a server" in done.stderr


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["http://127.0.0.1:9/", "--clients"],
        ["--"],
        ["http://127.0.0.1:9/", "--header", "no colon"],
        ["http://127.0.0.1:9/", "--header", "A: ${env:NOT_SET}"],
        ["--env", "NOT_SET", "--", "x"],
        ["--timeout", "0", "--", "x"],
    ],
)
def test_what_cannot_be_understood_is_2(args: list[str], tmp_path: Path) -> None:
    assert scan(*args, home=tmp_path).returncode == 2


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"result": {}}', '{"tools": [{"name": 1}]}'])
def test_a_file_that_holds_no_tools_is_64(text: str, tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(text)
    done = scan("--tools", "t.json", home=tmp_path)
    assert done.returncode == 64
    assert done.stderr.startswith("error: `t.json`: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "wrap", [lambda t: t, lambda t: {"id": 1, "result": t}, lambda t: t["tools"]]
)
def test_a_saved_answer_may_be_the_message_its_result_or_the_list(
    wrap: Any, tmp_path: Path, saved: Path
) -> None:
    saved.write_text(json.dumps(wrap(TOOLS)))
    done = scan("--tools", saved, "--format", "json", home=tmp_path)
    assert told(done) == {"tools": ["get_x", "delete_x"]}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[]", "holds no object"),
        ('{"a": "Red"}', "`a` has no class"),
        ('{"a": {"class": "Read", "x": 1}}', "`a` has no class"),
        ("{", "cannot read"),
    ],
)
def test_classes_of_the_owners_own_are_read_strictly(
    text: str, why: str, tmp_path: Path, saved: Path
) -> None:
    (tmp_path / "c.json").write_text(text)
    done = scan("--tools", saved, "--classes", "c.json", home=tmp_path)
    assert done.returncode == 64
    assert why in done.stderr


def test_a_policy_that_is_there_is_kept_unless_forced(tmp_path: Path, saved: Path) -> None:
    policy = tmp_path / "p.json"
    policy.write_text("mine")
    done = scan("--tools", saved, "--write", policy, home=tmp_path)
    assert done.returncode == 64
    assert "--force" in done.stderr
    assert policy.read_text() == "mine"
    done = scan("--tools", saved, "--write", policy, "--force", home=tmp_path)
    assert done.returncode == 0
    document = json.loads(policy.read_text())
    assert document["hide"] == ["delete_x"]
    assert document["tools"].keys() == {"get_x", "delete_x"}


def test_each_of_several_servers_gets_its_policy(tmp_path: Path) -> None:
    run = {"command": sys.executable}
    configure(
        tmp_path,
        {"a": {**run, "args": [SERVER, "pages"]}, "b/../c": {**run, "args": [SERVER, "modern"]}},
    )
    done = scan("--clients", "--write", "policies", home=tmp_path)
    assert done.returncode == 0, done.stderr
    files = sorted(path.name for path in (tmp_path / "policies").iterdir())
    assert files == ["a.json", "b-..-c.json"]


def test_the_report_is_written(tmp_path: Path, saved: Path) -> None:
    done = scan("--tools", saved, "--html", "r.html", home=tmp_path)
    assert done.returncode == 0
    assert "<code>delete_x</code>" in (tmp_path / "r.html").read_text()
    done = scan("--tools", saved, "--html", "none/r.html", home=tmp_path)
    assert done.returncode == 64


def test_in_brief_a_tool_has_one_line(tmp_path: Path, saved: Path) -> None:
    saved.write_text(json.dumps({"tools": [{"name": "get_x", "description": "Get a ~/.ssh key."}]}))
    long = scan("--tools", saved, home=tmp_path).stdout.splitlines()
    brief = scan("--tools", saved, "--brief", home=tmp_path).stdout.splitlines()
    assert brief == long[:2]
    assert len(long) > 2


def test_a_variable_is_handed_over_only_where_it_is_named(tmp_path: Path) -> None:
    code = "import os, sys; sys.exit(os.environ.get('TOKEN', 'no') + ' token')"
    for args, said in ([], "no token"), (["--env", "TOKEN"], "… token"):
        done = scan(*args, "--", sys.executable, "-c", code, home=tmp_path, TOKEN="geheim")
        assert done.returncode == 69
        assert done.stderr.rstrip().endswith(said)


def test_nothing_a_server_sends_reaches_the_terminal_unseen(tmp_path: Path, saved: Path) -> None:
    saved.write_text(json.dumps([{"name": "get\x1b[2J\u202e", "description": "\x07"}]))
    done = scan("--tools", saved, home=tmp_path)
    assert done.returncode == 0
    assert "get\\u{1b}[2J\\u{202e}" in done.stdout
    assert not set("\x1b\u202e\x07") & set(done.stdout)
