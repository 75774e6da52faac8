"""`interlock log`: verify, tail and query, on logs that the product wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway._core import verify_log
from gateway.cli import log as cli
from support.logs import Desk, written


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return written(tmp_path / "log.jsonl")


def run(*arguments: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(cli.command, [str(each) for each in arguments], input=stdin)


def test_a_whole_log_is_whole(path: Path) -> None:
    done = run("verify", path)
    hashes = [json.loads(line)["hash"] for line in path.read_text().splitlines()]
    assert done.exit_code == 0
    told = f"{path}: numbers 1 to 6; ends with {hashes[-1]}\n6 lines, whole\n"
    assert done.stdout == told
    assert run("verify", path, "--expect", hashes[2]).exit_code == 0
    assert run("verify", "-", stdin=path.read_bytes()).exit_code == 0


def test_what_is_wrong_is_told_with_its_place(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], lines[1].replace(b'"read"', b'"riot"'), *lines[3:]]))
    done = run("verify", path)
    assert done.exit_code == 1
    assert done.stdout.splitlines()[:2] == [
        f"{path}:2: error: the line was changed: its hash is another",
        f"{path}:3: error: 1 lines are missing before it",
    ]
    assert done.stdout.endswith("5 lines, not whole\n")
    found = json.loads(run("verify", path, "--format", "json").stdout)
    assert [problem["line"] for problem in found["problems"]] == [2, 3]


def test_a_hash_that_is_not_there_is_told(path: Path) -> None:
    done = run("verify", path, "--expect", "0" * 64)
    assert done.exit_code == 1
    assert f"error: no line has the hash {'0' * 64}" in done.stdout


def test_a_log_that_is_not_there(tmp_path: Path) -> None:
    done = run("verify", tmp_path / "none")
    assert (done.exit_code, done.stderr) == (
        69,
        f"error: `{tmp_path / 'none'}` cannot be read: entity not found\n",
    )
    assert run("query", tmp_path / "none").exit_code == 69


@pytest.mark.parametrize(
    ("filters", "numbers"),
    [
        ([], [1, 2, 3, 4, 5, 6]),
        (["--tool", "send"], [3, 4]),
        (["--grant", "ci"], [5]),
        (["--code", "limit-exceeded"], [4]),
        (["--effect", "deny", "--grant", "default"], [4]),
        (["--since", "1h"], [1, 2, 3, 4, 5, 6]),
        (["--until", "1h"], []),
        (["--since", "2020-01-01", "--until", "2021-01-01T00:00+02:00"], []),
    ],
)
def test_a_query_finds(path: Path, filters: list[str], numbers: list[int]) -> None:
    done = run("query", path, *filters, "--format", "json")
    assert done.exit_code == 0
    assert [json.loads(line)["seq"] for line in done.stdout.splitlines()] == numbers


def test_a_time_that_is_none(path: Path) -> None:
    done = run("query", path, "--since", "yesterday")
    assert done.exit_code == 2
    assert "`yesterday` is no time" in done.stderr


def test_what_is_shown_writes_nothing_to_a_terminal(path: Path) -> None:
    done = run("query", path, "--grant", "ci")
    assert "\x1b" not in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert "deny   wipe\\x1b[2K\\u2028  tool-name-invalid" in done.stdout


def test_old_files_are_read_too(tmp_path: Path) -> None:
    path = tmp_path / "[odd] name.jsonl"
    for _ in range(3):
        written(path, rotate_bytes=1)
    assert len(list(tmp_path.iterdir())) > 2
    assert verify_log(str(path))["problems"] == []
    done = run("query", path, "--format", "json")
    seen = [json.loads(line)["seq"] for line in done.stdout.splitlines()]
    assert seen == list(range(1, len(seen) + 1))


def test_several_writers_are_told_by_their_times(path: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "l", tmp_path / "l.w1"
    lines = path.read_bytes().splitlines(keepends=True)
    first.write_bytes(b"".join(lines[::2]))
    second.write_bytes(b"".join(lines[1::2]))
    done = run("query", first, "--format", "json")
    assert done.stdout.encode() == b"".join(lines)


def test_tail_shows_the_last(path: Path) -> None:
    done = run("tail", path, "--lines", "2", "--format", "json")
    assert [json.loads(line)["seq"] for line in done.stdout.splitlines()] == [5, 6]
    done = run("tail", path, "--lines", "1", "--tool", "send", "--format", "json")
    assert [json.loads(line)["seq"] for line in done.stdout.splitlines()] == [4]


def test_tail_follows_over_a_rotation(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def later(_: float) -> None:
        # In the place of the pause: by the second one the log has gone on in another file.
        if not path.with_name("log.jsonl.000001").exists():
            written(path, rotate_bytes=1)
        else:
            raise KeyboardInterrupt

    monkeypatch.setattr(cli.time, "sleep", later)
    done = run("tail", path, "-f", "--lines", "1", "--tool", "read", "--format", "json")
    assert [json.loads(line)["tool"] for line in done.stdout.splitlines()] == ["read", "read"]


WORD = st.text(max_size=5)
"""Short enough not to be cut, however it has to be written."""


@settings(max_examples=20, deadline=None)
@given(calls=st.lists(st.tuples(WORD, WORD, WORD, st.text(max_size=10)), min_size=1, max_size=6))
def test_no_text_forges_a_line(
    calls: list[tuple[str, str, str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("forged") / "log"
    desk = Desk(path, include_args=["value"])
    asked: list[dict[str, Any]] = []
    for code, method, key, value in calls:
        desk.log.request(code, method=method, grant=key, server=value)
        asked.append({"code": code, "method": method, "grant": key, "server": value})
        desk.call("read", **{key: 1, "value": value})
        asked.append({"arg_keys": sorted({key, "value"}), "args": {"value": value}})
    desk.close()
    raw = path.read_bytes()
    assert all(0x20 <= byte < 0x7F or byte == 0x0A for byte in raw)
    lines = [json.loads(line) for line in raw.splitlines()[1:-1]]
    assert len(lines) == len(asked)
    for line, was in zip(lines, asked, strict=True):
        # A message that cannot be read has no arguments to tell of.
        if line["policy"] is None or line["arg_keys"] is not None:
            assert {name: line.get(name) for name in was} == was
    assert verify_log(str(path))["problems"] == []
