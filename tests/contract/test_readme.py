"""README.md: each command is executed and its output compared, and the rest of it is true."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import click
import pytest

from gateway.cli.wrap import command as wrap
from support.pages import blocks, codes, page, plain, prose, sections, table

BLOCKS = blocks("README.md")
LOCAL = ".venv/bin/interlock"
SERVER = "my-mcp-server"
WAIT_S = 60
VOLATILE = {
    r"127\.0\.0\.1:\d+": "127.0.0.1:PORT",
    r"in \d+\.\d s": "in SECONDS s",
    r"^  wait .*\n": "",
}
"""What differs from run to run: ports, seconds, and waiting for a whole minute."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the reader is: the README's policy, and a server on the path that says nothing."""
    policy = next(block.text for block in BLOCKS if block.language == "json" and not block.note)
    (tmp_path / "policy.json").write_text(policy, encoding="utf-8")
    server = tmp_path / SERVER
    server.write_text("#!/bin/sh\nexec cat >/dev/null\n", encoding="utf-8")
    server.chmod(0o700)
    return tmp_path


def environment(folder: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("INTERLOCK_")}
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    python = os.pathsep.join(str(Path(each).resolve()) for each in sys.path if each)
    return {**kept, "PATH": path, "PYTHONPATH": python, "XDG_STATE_HOME": str(folder), **more}


def words(line: str) -> list[str]:
    """A command line of the page, as it can be run here."""
    _, *args = shlex.split(line.replace(LOCAL, "interlock"), comments=True)
    return [sys.executable, "-m", "gateway", *args]


def steady(text: str) -> str:
    for pattern, replacement in VOLATILE.items():
        text = re.sub(pattern, replacement, text, flags=re.M)
    return text


def shown() -> list[tuple[str, str]]:
    """Each command of the page that is followed by its output."""
    return [
        (block.text.strip(), after.text)
        for block, after in pairwise(BLOCKS)
        if block.language == "sh" and after.language == "text"
    ]


def test_there_are_commands_with_outputs() -> None:
    assert len(shown()) == 3


@pytest.mark.e2e
@pytest.mark.timeout(150)  # the demo may wait for the next calendar minute
@pytest.mark.parametrize(("line", "output"), shown(), ids=lambda text: text.split("\n")[0])
def test_a_command_prints_what_is_shown(line: str, output: str, folder: Path) -> None:
    done = subprocess.run(
        words(line),
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=140,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert steady(done.stdout) == steady(output)


def servings(verb: str) -> list[str]:
    """The lines that put the sidecar in front of a server."""
    block = next(block for block in BLOCKS if block.heading == "Put it in front of a server")
    return [line for line in block.text.splitlines() if line.startswith(f"interlock {verb} ")]


@pytest.mark.e2e
@pytest.mark.parametrize("line", servings("run"))
def test_run_serves_and_ends(line: str, folder: Path) -> None:
    free = {"INTERLOCK_LISTEN": "127.0.0.1:0", "INTERLOCK_ADMIN": "127.0.0.1:0"}
    with subprocess.Popen(
        words(line), cwd=folder, env=environment(folder, **free), stderr=subprocess.PIPE, text=True
    ) as sidecar:
        assert sidecar.stderr is not None
        ready = sidecar.stderr.readline()
        sidecar.send_signal(signal.SIGTERM)
        assert sidecar.wait(WAIT_S) == 0
    assert ready.startswith("interlock ready: mcp=http://127.0.0.1:")


@pytest.mark.e2e
@pytest.mark.parametrize("line", servings("wrap"))
def test_wrap_decides(line: str, folder: Path) -> None:
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "other"}}
    done = subprocess.run(
        words(line),
        cwd=folder,
        env=environment(folder),
        input=json.dumps(call) + "\n",
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["result"]["_meta"]["interlock/decision"]["code"] == "default-deny"


def test_the_clients_configuration_is_a_wrap() -> None:
    text = next(block.text for block in BLOCKS if block.note == "client")
    (server,) = json.loads(text)["mcpServers"].values()
    assert server["command"].endswith("/interlock")
    verb, *args = server["args"]
    assert verb == "wrap"
    context = wrap.make_context("wrap", args)
    assert context.params["server_command"] == (SERVER,)
    assert isinstance(context, click.Context)


@pytest.mark.e2e
def test_the_program_prints_what_its_comment_says(folder: Path) -> None:
    text = next(block.text for block in BLOCKS if block.language == "python")
    done = subprocess.run(
        [sys.executable, "-c", text],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == text.strip().rpartition("  # ")[2]


def test_the_policy_is_the_demos() -> None:
    text = next(block.text for block in BLOCKS if block.language == "json")
    demo = page("python/gateway/demo/policy.json")
    assert json.loads(text) == json.loads(demo)


def test_it_is_short() -> None:
    assert len(page("README.md").splitlines()) < 160


def targets() -> dict[str, str]:
    """What make can make, with what it says of each."""
    return dict(re.findall(r"^([a-z0-9-]+):.*## (.*)$", page("Makefile"), re.M))


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_what_make_is_asked_for_it_can_make(name: str) -> None:
    asked = {code.split()[1] for code in codes(prose(name)) if re.match(r"make [a-z]", code)}
    assert "test" in asked
    assert asked <= targets().keys()


def test_contributors_are_told_what_make_says() -> None:
    rows = list(table(sections("CONTRIBUTING.md", 2)["Build"].splitlines()))
    told = {plain(row["command"]).removeprefix("make "): row["what it does"] for row in rows}
    assert told.items() <= targets().items()


def test_the_demo_target_runs_the_demo() -> None:
    assert re.search(r"^demo: .*\n\t@\S+/interlock demo$", page("Makefile"), re.M)


def test_versions_are_the_same_everywhere() -> None:
    version = re.search(r'^version = "([^"]+)"', page("pyproject.toml"), re.M)
    released: list[str] = re.findall(r"^## (\d\S*)", page("CHANGELOG.md"), re.M)
    assert version is not None
    assert released[0] == version[1]
    python = re.search(r'^requires-python = ">=([\d.]+)"', page("pyproject.toml"), re.M)
    rust = re.search(r'^rust-version = "([\d.]+)"', page("Cargo.toml"), re.M)
    assert python is not None
    assert rust is not None
    for name in ("README.md", "CONTRIBUTING.md"):
        text = " ".join(page(name).split())
        assert f"Python {python[1]}" in text
        assert f"Rust {rust[1]}" in text
