"""`interlock grant`: what it prints, and what it writes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.cli import interlock
from gateway.config.grants import GrantsFile, new_token
from gateway.config.source import ConfigSource
from gateway.errors import SettingsError, StartError

CONFIG = """\
version: "1"   # a comment of mine
servers:
  s: {url: "http://h/mcp", headers: {A: "${file:secret}"}}
grants: [{name: mine}]
grants_file: grants.json
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "interlock.yaml"
    path.write_text(CONFIG)
    return path


def invoke(*words: str | Path) -> Result:
    return CliRunner().invoke(interlock, ["grant", *map(str, words)])


def told(*words: str | Path) -> dict[str, Any]:
    done = invoke(*words, "--format", "json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def refused(*words: str | Path) -> str:
    done = invoke(*words)
    assert isinstance(done.exception, SettingsError), done.output
    return str(done.exception)


def written(config: Path) -> list[dict[str, Any]]:
    return GrantsFile(config.parent / "grants.json").read()


def test_a_token_can_be_recognised_and_checked() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    for token in tokens:
        assert re.fullmatch(r"ilk_[0-9a-f]{72}", token)
        assert int(token[-8:], 16) == zlib.crc32(token[:-8].encode())


def test_a_token_without_a_file_is_printed_with_its_hash() -> None:
    found = told("create", "laptop")
    assert list(found) == ["name", "token", "token_sha256"]
    assert found["token_sha256"] == hashlib.sha256(found["token"].encode()).hexdigest()
    shown = invoke("create", "laptop").output
    assert re.search(r"^token +ilk_[0-9a-f]{72}$", shown, re.M)


def test_a_grant_lives_in_the_grants_file_only(config: Path) -> None:
    found = told("create", "ci", "--config", config, "--server", "s", "--expires", "1h")
    (grant,) = written(config)
    (token,) = grant.pop("tokens")
    assert grant == {"name": "ci", "servers": ["s"]}
    assert token["sha256"] == found["token_sha256"]
    assert found["token"] not in (config.parent / "grants.json").read_text()
    assert os.stat(config.parent / "grants.json").st_mode & 0o777 == 0o600
    assert config.read_text() == CONFIG
    (config.parent / "secret").write_text("x")
    mine, ci = ConfigSource(config, {}).load().grants
    assert (mine.tokens, ci.tokens[0].sha256.hex()) == ((), found["token_sha256"])
    assert ci.tokens[0].until == pytest.approx(time.time() + 3600, abs=60)
    listed = told("list", "--config", config)["grants"]
    assert [one["name"] for one in listed] == ["mine", "ci"]
    assert listed[1]["tokens"][0]["expired"] is False
    assert "ci  s  " in invoke("list", "--config", config).output


def test_a_rotation_overlaps(config: Path) -> None:
    old = told("create", "ci", "--config", config)["token_sha256"]
    new = told("rotate", "ci", "--config", config, "--overlap", "1h")
    (grant,) = written(config)
    assert [token["sha256"] for token in grant["tokens"]] == [old, new["token_sha256"]]
    assert grant["tokens"][0]["expires"] == new["previous_expires"]
    assert "expires" not in grant["tokens"][1]
    told("rotate", "ci", "--config", config, "--overlap", "7d")
    (again,) = written(config)
    assert again["tokens"][0] == grant["tokens"][0], "an earlier end stays"
    last = told("rotate", "ci", "--config", config, "--overlap", "0s")
    (grant,) = written(config)
    assert [token["sha256"] for token in grant["tokens"]] == [last["token_sha256"]]


def test_tokens_that_have_ended_are_swept(config: Path) -> None:
    gone = {"sha256": "00" * 32, "expires": "2020-01-01T00:00:00Z"}
    (config.parent / "grants.json").write_text(
        json.dumps({"version": "1", "grants": [{"name": "ci", "tokens": [gone]}]})
    )
    assert "expired" in invoke("list", "--config", config).output
    new = told("rotate", "ci", "--config", config)
    assert [token["sha256"] for token in written(config)[0]["tokens"]] == [new["token_sha256"]]


def test_a_hash_that_a_person_wrote_is_rotated_too(config: Path) -> None:
    (config.parent / "grants.json").write_text(
        json.dumps({"version": "1", "grants": [{"name": "ci", "token_sha256": "00" * 32}]})
    )
    told("rotate", "ci", "--config", config)
    (grant,) = written(config)
    assert set(grant) == {"name", "tokens"}
    assert grant["tokens"][0]["sha256"] == "00" * 32


def test_a_revoked_grant_is_gone(config: Path) -> None:
    told("create", "ci", "--config", config)
    told("create", "cd", "--config", config)
    assert invoke("revoke", "ci", "--config", config).exit_code == 0
    assert [grant["name"] for grant in written(config)] == ["cd"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["create", "a b"], "`a b` cannot be a grant's name"),
        (["create", "mine", "--config", "C"], "there is a grant `mine`"),
        (["create", "x", "--config", "C", "--server", "t"], "there is no server `t`"),
        (["rotate", "mine", "--config", "C"], "`mine` is in `C`, which is yours to write"),
        (["rotate", "x", "--config", "C"], "there is no grant `x`"),
        (["revoke", "x", "--config", "C"], "there is no grant `x`"),
        (["revoke", "mine", "--config", "C"], "`mine` is in `C`, which is yours to write"),
    ],
)
def test_what_cannot_be_done_changes_nothing(config: Path, words: list[str], why: str) -> None:
    found = refused(*(str(config) if word == "C" else word for word in words))
    assert found.replace(str(config), "C") == why
    assert written(config) == []


def test_a_configuration_without_a_grants_file_is_left_alone(config: Path) -> None:
    config.write_text(CONFIG.replace("grants_file: grants.json\n", ""))
    assert "has no `grants_file`" in refused("create", "x", "--config", config)


def test_a_broken_grants_file_is_not_written_over(config: Path) -> None:
    (config.parent / "grants.json").write_text('{"version": "1", "grants": {}}')
    assert "expected a list" in refused("create", "x", "--config", config)
    assert (config.parent / "grants.json").read_text() == '{"version": "1", "grants": {}}'


def test_a_write_that_fails_leaves_the_file_and_nothing_beside_it(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told("create", "ci", "--config", config)
    before = (config.parent / "grants.json").read_text()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gateway.config.grants.os.fsync", full)
    assert isinstance(invoke("revoke", "ci", "--config", config).exception, StartError)
    assert (config.parent / "grants.json").read_text() == before
    assert sorted(path.name for path in config.parent.iterdir()) == [
        "grants.json",
        "interlock.yaml",
    ]
