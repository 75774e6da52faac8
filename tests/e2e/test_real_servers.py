"""Servers that people run answer through Interlock as they do directly, save for refusals.

Each is asked the same things three ways: by itself, behind `interlock run` and behind
`interlock wrap`. What a client hears of an allowed call is equal to the last character.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peers
import pytest
import story
from processes import Sidecar, descendants, running, wrapped

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

PYTHON = next(client for client in peers.PYTHON_CLIENTS if client.name == "python-2-auto")
TYPESCRIPT = next(client for client in peers.TYPESCRIPT_CLIENTS if client.name == "typescript-1")


@dataclass(frozen=True)
class Server:
    """A server from a registry and what is asked of it.

    Attributes:
        name: For test ids.
        command: What starts it on stdio, given an empty folder to work in.
        calls: Allowed calls and their arguments, given the folder; their answers do not change
            with time nor with having been asked before.
        denied: A tool of it that the policy refuses.
        hidden: A tool of it that the policy hides.
    """

    name: str
    command: Callable[[Path], tuple[str, ...]]
    calls: Callable[[Path], list[tuple[str, dict[str, Any]]]]
    denied: str
    hidden: str

    def policy(self, folder: Path) -> dict[str, Any]:
        """Allows the calls by name and hides one tool; all else, `denied` too, is refused."""
        allowed: dict[str, Any] = {name: {} for name, _ in self.calls(folder)}
        return {"default": "deny", "hide": [self.hidden], "tools": allowed}

    def steps(self, folder: Path) -> list[list[Any]]:
        """List, every allowed call, the denied one, the hidden one."""
        calls = [["call", name, arguments] for name, arguments in self.calls(folder)]
        return [["list"], *calls, ["call", self.denied, {}], ["call", self.hidden, {}]]


def git_repository(folder: Path) -> str:
    """A repository with one commit, which the git server can look at."""
    path = folder / "repository"
    if not path.exists():
        identity = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.invalid")
        subprocess.run(["git", "init", "--quiet", "--initial-branch", "main", path], check=True)
        commit = ["git", "-C", path, *identity, "commit", "--quiet", "--allow-empty", "-m", "first"]
        subprocess.run(commit, check=True)
    return str(path)


def memory_server(folder: Path) -> tuple[str, ...]:
    return ("env", f"MEMORY_FILE_PATH={folder / 'memory.jsonl'}", *peers.MEMORY)


def filesystem_calls(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    note = folder / "note.txt"
    note.write_text("tabs\tquotes \" ' and ünïcode ☃ 𝄞\n" * 400)
    return [
        ("read_text_file", {"path": str(note)}),
        ("get_file_info", {"path": str(folder / "missing.txt")}),
        ("list_allowed_directories", {}),
    ]


SERVERS = (
    Server(
        name="everything",
        command=lambda _: (*peers.EVERYTHING, "stdio"),
        calls=lambda _: [
            ("echo", {"message": "a\u2028b \x7f 😀 \\u0000"}),
            ("get-sum", {"a": 1.5, "b": 2}),
            ("get-tiny-image", {}),
            ("get-structured-content", {"location": "New York"}),
            ("trigger-long-running-operation", {"duration": 0.2, "steps": 4}),
        ],
        denied="get-env",
        hidden="toggle-simulated-logging",
    ),
    Server(
        name="filesystem",
        command=lambda folder: (*peers.FILESYSTEM, str(folder)),
        calls=filesystem_calls,
        denied="write_file",
        hidden="move_file",
    ),
    Server(
        name="memory",
        command=memory_server,
        calls=lambda _: [
            (
                "add_observations",
                {"observations": [{"entityName": "nobody", "contents": ["was never made"]}]},
            ),
            ("search_nodes", {"query": "nobody"}),
        ],
        denied="create_entities",
        hidden="delete_entities",
    ),
    Server(
        name="git",
        command=lambda folder: (*peers.GIT, "--repository", git_repository(folder)),
        calls=lambda folder: [
            ("git_status", {"repo_path": git_repository(folder)}),
            ("git_log", {"repo_path": git_repository(folder), "max_count": 1}),
        ],
        denied="git_commit",
        hidden="git_reset",
    ),
    Server(
        name="time",
        command=lambda _: peers.TIME,
        calls=lambda _: [
            (
                "convert_time",
                {
                    "source_timezone": "Asia/Tokyo",
                    "time": "12:00",
                    "target_timezone": "Asia/Kathmandu",
                },
            )
        ],
        denied="nothing-of-the-kind",
        hidden="get_current_time",
    ),
)

servers = pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.name)
clients = pytest.mark.parametrize("client", [PYTHON, TYPESCRIPT], ids=lambda client: client.name)


@pytest.fixture(scope="module")
def direct(
    real_peers: None, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Server, peers.Client], tuple[Path, Any]]:
    """What a client hears from a server by itself, asked once, with the folder it works in."""
    heard: dict[tuple[str, str], Any] = {}
    folders = {server.name: tmp_path_factory.mktemp(server.name) for server in SERVERS}

    def hear(server: Server, client: peers.Client) -> tuple[Path, Any]:
        folder = folders[server.name]
        key = (server.name, client.name)
        if key not in heard:
            target = {"command": server.command(folder)}
            heard[key] = story.drive(client, target, server.steps(folder))
        return folder, heard[key]

    return hear


@clients
@servers
def test_run_in_front_of_a_stdio_server(direct, server: Server, client: peers.Client, tmp_path):
    folder, before = direct(server, client)
    with Sidecar(tmp_path, server.policy(folder), server.command(folder)) as sidecar:
        through = story.drive(client, {"url": sidecar.url}, server.steps(folder))
        started = descendants(sidecar.process.pid)
        assert sidecar.terminate() == 0
        assert not any(running(pid) for pid in started), "a server outlived the sidecar"
    assert_same_but_for_refusals(server, before, through)


@clients
@servers
def test_wrap_around_a_stdio_server(direct, server: Server, client: peers.Client, tmp_path):
    folder, before = direct(server, client)
    command = wrapped(tmp_path, server.policy(folder), server.command(folder))
    target = {"command": command, "env": story.environment()}
    through = story.drive(client, target, server.steps(folder))
    assert_same_but_for_refusals(server, before, through)


@clients
def test_run_in_front_of_an_http_server(real_peers, client: peers.Client, tmp_path):
    server = next(server for server in SERVERS if server.name == "everything")
    with (
        peers.typescript_everything_server() as url,
        Sidecar(tmp_path, server.policy(tmp_path), url) as sidecar,
    ):
        before = story.drive(client, {"url": url}, server.steps(tmp_path))
        through = story.drive(client, {"url": sidecar.url}, server.steps(tmp_path))
    assert_same_but_for_refusals(server, before, through)


def assert_same_but_for_refusals(server: Server, before: Any, through: Any) -> None:
    """The list lost the hidden tool and nothing else; only the last two calls went otherwise."""
    listed, *answers, _, _ = before["steps"]
    still_listed, *still_answers, denied, hidden = through["steps"]
    assert through["revision"] == before["revision"]
    assert server.hidden in listed["tools"]
    assert still_listed["tools"] == [tool for tool in listed["tools"] if tool != server.hidden]
    assert still_answers == answers
    story.assert_refused(denied, code="default-deny", rule="/default")
    story.assert_refused(hidden, code="hidden", rule="/hide/0")
