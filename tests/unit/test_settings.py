"""Settings are read exactly and checked as a whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.errors import SettingsError
from gateway.settings import (
    Address,
    ServerSettings,
    Settings,
    default_run_state,
    default_wrap_state,
)
from gateway.validation import check

SERVER = ServerSettings(name="default", policy=Path("p.json"), url="http://127.0.0.1:8000/mcp")
GOOD = Settings(servers=(SERVER,))


def problems(settings: Settings) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        check(settings)
    return [problem.message for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", Address("127.0.0.1", 8080)),
        ("localhost:0", Address("localhost", 0)),
        ("[::1]:65535", Address("::1", 65535)),
    ],
)
def test_an_address_reads_as_it_prints(text: str, address: Address) -> None:
    assert Address.parse(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    ["", "8080", ":8080", "host", "host:", "host:x", "host:65536", "::1:80", "host:-1"],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        Address.parse(text)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.example", False),
    ],
)
def test_loopback_is_what_only_this_machine_reaches(host: str, loopback: bool) -> None:
    assert Address(host, 1).loopback is loopback


def test_good_settings_pass() -> None:
    check(GOOD)
    check(replace(GOOD, listen=Address("0.0.0.0", 80), allow_anonymous=True))
    check(replace(GOOD, listen=Address("127.0.0.1", 0), admin=Address("127.0.0.1", 0)))
    check(replace(GOOD, servers=(replace(SERVER, url=None, command=("sh",)),)))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"listen": Address("0.0.0.0", 80)}, "open to other machines"),
        ({"listen": Address("127.0.0.1", 9090)}, "agents and operators at once"),
        ({"workers": 0}, "`0` workers"),
        ({"workers": 8}, "`8` workers"),
        ({"grace_s": -1.0}, "is negative"),
        ({"servers": ()}, "no server"),
    ],
)
def test_one_thing_wrong_is_one_problem(changed: dict[str, object], message: str) -> None:
    found = problems(replace(GOOD, **changed))  # type: ignore[arg-type]
    assert len(found) == 1
    assert message in found[0]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": "a/b"}, "server's name"),
        ({"name": ""}, "server's name"),
        ({"name": "x" * 65}, "server's name"),
        ({"url": None}, "a URL or a command"),
        ({"command": ("sh",)}, "a URL or a command"),
        ({"url": "ftp://host/"}, "not an http or https URL"),
        ({"url": "http:///mcp"}, "not an http or https URL"),
        ({"url": "http://host:port/"}, "is not a URL"),
        ({"url": "http://user:secret@host/"}, "credentials"),
        ({"url": "http://host/#there"}, "fragment"),
        ({"url": None, "command": ("no-such-command-here",)}, "not to be found"),
        ({"url": None, "command": ()}, "not to be found"),
    ],
)
def test_a_server_is_checked(changed: dict[str, object], message: str) -> None:
    found = problems(replace(GOOD, servers=(replace(SERVER, **changed),)))  # type: ignore[arg-type]
    assert len(found) == 1
    assert message in found[0]


def test_a_secret_in_a_url_is_not_repeated() -> None:
    server = replace(SERVER, url="http://user:secret@host/")
    assert "secret" not in problems(replace(GOOD, servers=(server,)))[0]


def test_a_stdio_server_has_one_worker() -> None:
    server = replace(SERVER, url=None, command=("sh",))
    assert "one process" in problems(replace(GOOD, servers=(server,), workers=2))[0]


def test_all_problems_come_at_once() -> None:
    server = replace(SERVER, name="", url=None)
    assert len(problems(replace(GOOD, servers=(server,), workers=0, grace_s=-1.0))) == 4


def test_the_state_is_named_by_what_it_belongs_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    folder = tmp_path / "interlock"
    assert default_run_state(Address("127.0.0.1", 8080)) == folder / "run-127.0.0.1-8080.state"
    assert default_run_state(Address("::1", 80)) == folder / "run----1--80.state"
    assert default_run_state(Address("127.0.0.1", 0)) is None
    one, other = tmp_path / "a.json", tmp_path / "b.json"
    assert default_wrap_state(one) == default_wrap_state(tmp_path / "x" / ".." / "a.json")
    assert default_wrap_state(one) != default_wrap_state(other)
    assert default_wrap_state(one).parent == folder


def test_a_relative_state_home_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "here")
    monkeypatch.setenv("HOME", str(tmp_path))
    state = default_run_state(Address("127.0.0.1", 1))
    assert state == tmp_path / ".local/state/interlock/run-127.0.0.1-1.state"
