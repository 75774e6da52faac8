"""The verbs of the command line that end by themselves: what they print, and their exit codes."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway._core import Caller, Engine, LimitTable, PolicySet, __version__
from support.process import command

DEMO = Path(__file__).parents[2] / "python" / "gateway" / "demo" / "policy.json"
STDIO_SERVER = (sys.executable, "-c", "from gateway.demo.server import server; server.run()")


def write(path: Path, document: Any) -> str:
    path.write_text(json.dumps(document, indent=2))
    return str(path)


@pytest.fixture
def good(tmp_path: Path) -> str:
    rule = {"conditions": [{"path": "args.bid", "op": "gt", "value": 500}], "on_deny": "too much"}
    given = {"conditions": [{"path": "args.bid", "op": "exists", "value": True}]}
    limits = [{"counter": "calls", "window": "minute", "max": 5}]
    offer = {"require": [given], "deny_if": [rule], "limits": limits}
    tools = {"offer": offer, "upwork_check_session": {}}
    return write(tmp_path / "good.json", {"version": "1", "default": "deny", "tools": tools})


@pytest.fixture
def bad(tmp_path: Path) -> str:
    document = {"version": "1", "default": "perhaps", "tolls": {}}
    return write(tmp_path / "bad.json", document)


def test_a_good_policy_has_no_problems(good: str) -> None:
    done = command("check", good, str(DEMO))
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "2 files, 0 errors, 0 warnings\n"


def test_every_problem_of_every_file_is_told_with_its_place(good: str, bad: str) -> None:
    done = command("check", good, bad, "missing.json")
    assert done.returncode == 1
    problems = [line for line in done.stdout.splitlines() if not line.startswith("help: ")]
    assert len(problems) >= 3
    for line in problems:
        assert re.match(r"\S+\.json:\d+:\d+: error\[[a-z-]+\]: [^A-Z]", line)
    assert any("tolls" in line for line in problems)
    assert any("perhaps" in line for line in problems)
    assert any(line.startswith("missing.json:1:1: error[unreadable]") for line in problems)
    assert "help: " in done.stdout


def test_problems_can_be_had_as_data(bad: str) -> None:
    done = command("check", bad, "--format", "json")
    assert done.returncode == 1
    (first, *_) = json.loads(done.stdout)["problems"]
    keys = {"file", "line", "column", "severity", "code", "message", "help", "path"}
    assert first.keys() == keys
    assert first["file"] == bad


def test_a_policy_is_held_against_a_servers_tools(good: str) -> None:
    done = command("check", good, "--", *STDIO_SERVER)
    assert done.returncode == 0
    unused, uncovered = done.stdout.splitlines()
    assert unused == f"{good}:5:5: warning[entry-unused]: `offer` matches no tool of the server"
    assert uncovered.startswith(f"{good}:4:3: warning[tool-uncovered]: no entry covers 17 tools")
    assert "`upwork_close_session`" in uncovered
    assert "`upwork_check_session`" not in uncovered
    assert command("check", good, "--strict", "--", *STDIO_SERVER).returncode == 1


def test_a_policy_is_held_against_a_saved_list_and_asked_what_was_meant(
    good: str, tmp_path: Path
) -> None:
    tools = [{"name": "offers", "inputSchema": {}}, {"name": "upwork_check_session"}]
    listed = write(tmp_path / "tools.json", {"tools": tools})
    done = command("check", good, "--tools", listed)
    assert done.returncode == 0
    assert "`offer` matches no tool of the server\nhelp: did you mean `offers`?" in done.stdout
    assert command("check", good, "--tools", good).returncode == 64
    assert command("check", good, "--tools", listed, "--", "x").returncode == 2


def test_a_server_that_does_not_tell_is_69(good: str) -> None:
    done = command("check", good, "--", sys.executable, "-c", "pass")
    assert done.returncode == 69
    assert "did not tell its tools" in done.stderr
    assert "Traceback" not in done.stderr


def test_policies_are_held_against_the_servers_they_are_called_after(
    good: str, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    (home / ".cursor").mkdir(parents=True)
    server = {"command": STDIO_SERVER[0], "args": list(STDIO_SERVER[1:])}
    servers = {"mcpServers": {"Up work": server, "other": {"command": "none"}}}
    write(home / ".cursor" / "mcp.json", servers)
    text = Path(good).read_text()
    for name in ("Up-work.json", "other.json", "othre.yaml", "x.json"):
        (tmp_path / name).write_text(text)
    env = {"HOME": str(home), "XDG_CONFIG_HOME": ""}
    paths = {path.stem: str(path) for path in tmp_path.iterdir()}
    done = command("check", paths["Up-work"], "--clients", env=env)
    assert done.returncode == 0, done.stderr
    assert "`offer` matches no tool of the server" in done.stdout
    done = command("check", paths["Up-work"], paths["other"], "--clients", env=env)
    assert done.returncode == 69
    assert "`none` cannot be started" in done.stderr
    done = command("check", paths["othre"], paths["x"], "--clients", env=env)
    assert done.returncode == 64
    errors = [line for line in done.stderr.splitlines() if line.startswith(("error", "help"))]
    assert errors == [
        f"error: no client has a server `othre`, which `{paths['othre']}` would be for",
        "help: did you mean `other`?",
        f"error: no client has a server `x`, which `{paths['x']}` would be for",
        "help: the servers are `Up-work`, `other`",
    ]


def test_check_needs_one_server_at_most(good: str) -> None:
    assert command("check", good, "--upstream", "http://127.0.0.1:9/", "--", "x").returncode == 2
    assert command("check", good, "--clients", "--", "x").returncode == 2
    assert command("check", good, "--").returncode == 2
    assert command("check", good, "--header", "none", "--upstream", "http://h/").returncode == 2
    assert command("check").returncode == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--tool", "offer", "--args", '{"bid": 1}'],
            ["offer: allowed", "entry     /tools/offer", "5 a minute, 5 left"],
        ),
        (["--tool", "offer"], ["refused: requirement-unmet", "/tools/offer/require/0"]),
        (
            ["--tool", "offer", "--args", '{"bid": 501}'],
            [
                "refused: tool-denied",
                "/tools/offer/deny_if/0",
                "too much",
            ],
        ),
        (["--tool", "other"], ["refused: default-deny", "none applies"]),
        (["--tool", "offer", "--args", '{"a":1,"a":2}'], ["refused: duplicate-key"]),
    ],
)
def test_a_decision_is_explained(good: str, arguments: list[str], words: list[str]) -> None:
    done = command("explain", good, *arguments)
    assert done.returncode == 0
    for word in words:
        assert word in done.stdout


def test_an_explanation_can_be_had_as_data(good: str) -> None:
    told = json.loads(
        command("explain", good, "--tool", "upwork_check_session", "--format", "json").stdout
    )
    assert told["allowed"] is True


def test_an_invalid_policy_is_not_explained(bad: str) -> None:
    done = command("explain", bad, "--tool", "x")
    assert done.returncode == 64
    assert "error[" in done.stderr


def test_the_schema_is_json() -> None:
    schema = json.loads(command("schema", "policy").stdout)
    assert schema["$schema"].endswith("2020-12/schema")
    assert command("schema").stdout == command("schema", "policy").stdout


def test_the_version_is_told() -> None:
    assert command("version").stdout == f"interlock {__version__}\n"
    verbose = command("version", "--verbose").stdout.splitlines()
    assert any(line.startswith("python 3.") for line in verbose)


def used_table(path: Path) -> None:
    """A table file in which something was counted, and nobody's any more."""
    policy = PolicySet.parse(
        b'{"version":"1","default":"allow","all_tools":{"limits":['
        b'{"counter":"c","window":"week","max":5}]}}',
        name="p.json",
    )
    engine = Engine(policy, LimitTable(64, path=str(path)))
    call = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}'
    assert engine.decide(Caller("g", server="s"), call).allowed


def test_state_is_shown_and_reset(tmp_path: Path) -> None:
    path = tmp_path / "limits.state"
    used_table(path)
    done = command("state", "show", str(path))
    assert done.returncode == 0
    assert done.stdout.startswith("1 of 64 slots used\n")
    told = json.loads(command("state", "show", str(path), "--format", "json").stdout)
    assert told["used"] == 1
    assert len(told["entries"]) == 1
    assert command("state", "reset", str(path)).returncode == 0
    assert not path.exists()


def test_state_in_use_is_shown_and_not_reset(tmp_path: Path) -> None:
    path = tmp_path / "limits.state"
    table = LimitTable(64, path=str(path))
    assert command("state", "show", str(path)).returncode == 0
    done = command("state", "reset", str(path))
    assert done.returncode == 69
    assert "in use" in done.stderr
    assert "help: stop the other instance" in done.stderr
    assert path.exists()
    del table


def test_damaged_state_is_named_and_can_be_reset(tmp_path: Path) -> None:
    path = tmp_path / "limits.state"
    used_table(path)
    path.write_bytes(path.read_bytes()[:-1])
    shown = command("state", "show", str(path))
    assert shown.returncode == 69
    assert "interlock state reset" in shown.stderr
    assert command("state", "reset", str(path)).returncode == 0
    assert not path.exists()


def test_state_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "limits.state"
    for verb in ("show", "reset"):
        assert command("state", verb, str(path)).returncode == 69
        assert not path.exists()


def test_wrap_needs_a_command(good: str) -> None:
    assert command("wrap", "--policy", good).returncode == 2


def test_wrap_ends_as_its_server_does(good: str) -> None:
    wrapped = ("wrap", "--policy", good, "--state", "memory", "--")
    assert command(*wrapped, sys.executable, "-c", "raise SystemExit(7)").returncode == 7


def test_wrap_hands_over_the_variables_that_are_named_and_no_others(good: str) -> None:
    tell = "import os; raise SystemExit(('ONE' in os.environ) + 2 * ('TWO' in os.environ))"
    wrapped = ("wrap", "--policy", good, "--state", "memory")
    server = ("--", sys.executable, "-c", tell)
    given = {"ONE": "1", "TWO": "2"}
    assert command(*wrapped, *server, env=given).returncode == 0
    assert command(*wrapped, "--env", "TWO", *server, env=given).returncode == 2
    assert command(*wrapped, "--env", "TWO", "--env", "ONE", *server, env=given).returncode == 3
    done = command(*wrapped, "--env", "THREE", *server, env=given)
    assert done.returncode == 2
    assert "the variable `THREE` is not set" in done.stderr


def test_wrap_refuses_a_server_that_is_not_there(good: str) -> None:
    done = command("wrap", "--policy", good, "--", "no-such-command-here")
    assert done.returncode == 64
    assert "not to be found" in done.stderr
