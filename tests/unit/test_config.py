"""The configuration file: what it says, and every problem of it at its place."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.approvals.settings import ApprovalSettings
from gateway.config.source import ConfigSource, Whole
from gateway.errors import SettingsError
from gateway.settings import Address, LogSettings, Settings, TokenSettings, changed_for_good

ALLOW = '{"version":"1","default":"allow"}'
HASH = hashlib.sha256(b"t").hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "p.json").write_text(ALLOW)
    (tmp_path / "q.json").write_text(ALLOW)
    return tmp_path


def written(folder: Path, text: str, name: str = "interlock.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def load(folder: Path, text: str, **given: Any) -> Settings:
    return ConfigSource(written(folder, text), given).load()


def problems(folder: Path, text: str, env: dict[str, str] | None = None) -> list[str]:
    """`line:column code message`, without the folder's name."""
    whole = Whole(written(folder, text), {}, env or {})
    whole.compile()
    told = []
    for problem in whole.problems:
        assert problem.place is not None
        file, line, column = problem.place.rsplit(":", 2)
        where = "" if Path(file).name == "interlock.yaml" else f"{Path(file).name}:"
        told.append(f"{where}{line}:{column} {problem.code} {problem.message}")
    return [one.replace(f"{folder}/", "") for one in told]


ONE = 'version: "1"\nservers:\n  s: {url: "http://h/mcp", policy: p.json}\n'


def test_a_short_configuration_is_one_anonymous_grant_on_loopback(folder: Path) -> None:
    settings = load(folder, ONE)
    assert [grant.name for grant in settings.grants] == ["default"]
    assert settings.anonymous == "default"
    assert settings.listen == Address("127.0.0.1", 8080)
    assert settings.servers[0].policy == folder / "p.json"


def test_every_key_arrives(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROFILE", "blue")
    (folder / "secret").write_text("s3cret\n")
    settings = load(
        folder,
        f"""
$schema: x
version: "1"
listen: 127.0.0.1:1
admin: none
state: limits.state
slots: 4096
grace_s: 3
shadow: true
denials: protocol
allow_host: [a, b]
allow_origin: ["http://a"]
allow_anonymous: true
max_body_bytes: 2048
max_in_flight: 7
fast_path: false
log: {{path: log/d.jsonl, on_overflow: drop, include_args: [a], keep: 3, rotate_s: 60}}
servers:
  s:
    command: [python3, -c, "print('$${{x}}')"]
    env: {{P: "${{env:PROFILE}}-${{env:PROFILE}}"}}
    policy: p.json
    timeout_s: 1.5
    max_children: 2
    session_idle_s: 9
  t:
    url: http://h/mcp
    headers: {{Authorization: "Bearer ${{file:secret}}"}}
    connect_timeout_s: 2
    idle_timeout_s: 4
grants:
  - name: a
    servers: {{s: q.json, t: null}}
    token_sha256: {HASH.upper()}
    expires: "2030-01-01T00:00:00Z"
    tokens: [{{sha256: {"0" * 64}}}]
  - {{name: b, servers: [s]}}
  - {{name: c}}
anonymous: b
""",
    )
    command, remote = settings.servers
    assert command.command == ("python3", "-c", "print('${x}')")
    assert command.env == {"P": "blue-blue"}
    assert (command.first_byte_timeout_s, command.max_children) == (1.5, 2)
    assert remote.headers == {"Authorization": "Bearer s3cret"}
    assert (remote.connect_timeout_s, remote.idle_timeout_s, remote.policy) == (2, 4, None)
    assert settings.state == folder / "limits.state"
    assert (settings.admin, settings.slots, settings.shadow) == (None, 4096, True)
    assert (settings.allowed_hosts, settings.fast_path) == (("a", "b"), False)
    assert settings.log == LogSettings(
        path=str(folder / "log/d.jsonl"),
        on_overflow="drop",
        include_args=("a",),
        keep=3,
        rotate_s=60,
    )
    a, b, c = settings.grants
    assert a.tokens == (
        TokenSettings(sha256=bytes(32)),
        TokenSettings(sha256=bytes.fromhex(HASH), until=1893456000.0),
    )
    assert [a.policy(one) for one in settings.servers] == [folder / "q.json", None]
    assert [b.policy(one) for one in settings.servers] == [folder / "p.json", None]
    assert [c.policy(one) for one in settings.servers] == [folder / "p.json", None]


def test_the_command_line_beats_the_file(folder: Path) -> None:
    text = ONE + "workers: 2\nlisten: 127.0.0.1:1\n"
    settings = load(folder, text, workers=3, listen=Address("127.0.0.1", 0), state="memory")
    assert (settings.workers, settings.listen.port, settings.state) == (3, 0, None)


def test_json_is_read_as_well(folder: Path) -> None:
    path = written(
        folder, json.dumps({"version": "1", "servers": {"s": {"url": "http://h/"}}}), "c.json"
    )
    assert ConfigSource(path, {}).load().servers[0].name == "s"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ["1:1 syntax the document is empty"]),
        ("[]", ["1:1 wrong-type expected an object, found a list"]),
        ("a: &b 1", ["1:1 missing-key `version` is missing"]),
        ("version: '1'", ["1:1 missing-key `servers` is missing"]),
        ("version: 1\nservers: {}", ["1:10 wrong-type expected a string", "2:10 empty-text"]),
        (ONE + "serves: 1", ["4:1 unknown-key unknown key `serves`"]),
        (ONE + "workers: 99", ["4:10 bad-number `99` is not a whole number from 1 to 7"]),
        (ONE + "workers: 1.5", ["4:10 bad-number"]),
        (ONE + "slots: '5'", ["4:8 wrong-type expected a number, found the string `5`"]),
        (ONE + "shadow: yes", ["4:9 wrong-type expected `true` or `false`"]),
        (ONE + "denials: resul", ["4:10 unknown-value `resul` is not `result` or `protocol`"]),
        (ONE + "listen: x", ["4:9 bad-value `x` is not HOST:PORT"]),
        (ONE + "listen: 0.0.0.0:1", ["4:9 unusable `0.0.0.0:1` is open to other machines"]),
        (ONE + "admin: 127.0.0.1:8080", ["4:8 unusable `127.0.0.1:8080` cannot serve agents and"]),
        (ONE + "grants: [{name: a}, {name: a}]", ["4:28 unusable there are two grants `a`"]),
        (ONE + "grants: [{name: 'a b'}]", ["4:17 bad-value `a b` cannot be a name"]),
        (ONE + "grants: [{name: a, servers: [x]}]", ["4:29 unknown-server"]),
        (ONE + "grants: [{name: a, servers: {s: nix}}]", ["4:33 unreadable cannot read policy"]),
        (ONE + "grants: [{name: a, token_sha256: ab}]", ["4:34 bad-value `ab` is not a SHA-256"]),
        (ONE + "grants: [{name: a, expires: '2030-01-01T00:00:00Z'}]", ["4:20 conflicting-keys"]),
        (
            ONE + f"grants: [{{name: a, token_sha256: {HASH}, expires: '2030-01-01T00:00:00'}}]",
            ["4:109 bad-value `2030-01-01T00:00:00` is a time without its zone"],
        ),
        (
            ONE + f"grants: [{{name: a, token_sha256: {HASH}}}, {{name: b, token_sha256: {HASH}}}]",
            ["4:101 same-token `a` and `b` have the same token"],
        ),
        (ONE + 'state: "a\\0b"', ["4:8 bad-value `a\\u{0}b` is not the name of a file"]),
        (ONE + "anonymous: nobody", ["4:12 unknown-grant there is no grant `nobody`"]),
        ("version: '1'\nservers: {s: {}}", ["2:14 missing-key `url` or `command` is missing"]),
        (
            "version: '1'\nservers: {s: {url: 'http://h/', command: [sh]}}",
            ["2:33 conflicting-keys `url` and `command` exclude each other"],
        ),
        (
            "version: '1'\nservers: {s: {url: 'http://h/', env: {A: b}}}",
            ["2:33 conflicting-keys `env` means nothing without `command`"],
        ),
        ("version: '1'\nservers: {s: {command: []}}", ["2:24 empty-text the list is empty"]),
        (
            "version: '1'\nservers: {s: {command: [no-such]}}",
            ["2:24 unusable the command of server `s`"],
        ),
        (
            "version: '1'\nservers: {s: {command: [sh]}}\nworkers: 2",
            ["3:10 unusable a server that speaks stdio lives in one process"],
        ),
        (
            "version: '1'\nservers: {s: {url: 'http://u:p@h/'}}",
            ["2:20 bad-value it has credentials or a fragment in it"],
        ),
        (
            "version: '1'\nservers: {s: {url: 'http://h/', headers: {Host: x}}}",
            ["2:49 unusable `Host` cannot be a header that a server is sent"],
        ),
    ],
)
def test_a_problem_is_told_where_it_is(folder: Path, text: str, told: list[str]) -> None:
    found = problems(folder, text)
    for expected in told:
        assert any(one.startswith(expected) for one in found), found


def test_all_problems_come_at_once_and_in_order(folder: Path) -> None:
    (folder / "p.json").write_text('{"version":"1"}')
    text = ONE + "workers: 0\nlog: {on_overflw: deny}\ngrants: [{nam: a}]\n"
    assert problems(folder, text) == [
        "4:10 bad-number `0` is not a whole number from 1 to 7",
        "5:7 unknown-key unknown key `on_overflw`",
        "6:10 missing-key `name` is missing",
        "6:11 unknown-key unknown key `nam`",
        "p.json:1:1 missing-key `default` is missing",
    ]


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("${env:NONE}", "unset-variable"),
        ("${file:none}", "unreadable-secret"),
        ("${file:binary}", "unreadable-secret"),
        ("${file:long}", "unreadable-secret"),
        ("${file:.}", "unreadable-secret"),
        ("${evn:A}", "bad-substitution"),
        ("${A}", "bad-substitution"),
        ("${env:}", "bad-substitution"),
        ("${env:A B}", "bad-substitution"),
        ("a${env:A", "bad-substitution"),
        ("${file:empty}", "empty-text"),
        ("${file:nul\\0}", "bad-substitution"),
    ],
)
def test_what_stands_for_nothing_is_a_problem(folder: Path, value: str, code: str) -> None:
    (folder / "binary").write_bytes(b"\xff")
    (folder / "long").write_text("x" * 65537)
    (folder / "empty").write_text("\n")
    text = f"version: '1'\nservers: {{s: {{url: 'http://h/', headers: {{A: \"{value}\"}}}}}}"
    (found,) = problems(folder, text, {"A": "1"})
    assert found.startswith(f"2:46 {code} "), found


def test_a_message_never_shows_a_secret(folder: Path) -> None:
    secret = "c4n4ry"
    (folder / "secret").write_text(secret)
    places = [
        "listen: '${file:secret}'",
        "admin: '${file:secret}'",
        "anonymous: '${file:secret} x'",
        "grants: [{name: '${file:secret} x', token_sha256: '${file:secret}'}]",
        "grants: [{name: a, token_sha256: '${file:secret}'}]",
    ]
    for place in places:
        assert secret not in " ".join(problems(folder, f"{ONE}{place}\n")), place
    for server in (
        "url: '${file:secret}'",
        "url: 'http://u:${file:secret}@h/'",
        "url: 'http://h/', headers: {A: \"${file:secret}\\r\\nB: c\"}",
        "command: [no-such, '${file:secret}']",
        "command: ['${file:secret}']",
    ):
        text = f"version: '1'\nservers: {{s: {{{server}}}}}\n"
        found = problems(folder, text)
        assert found, server
        assert secret not in " ".join(found), server


def test_what_was_substituted_is_not_looked_at_again(folder: Path) -> None:
    (folder / "secret").write_text("${env:HOME}")
    text = "version: '1'\nservers: {s: {url: 'http://h/', headers: {A: 'x${file:secret}'}}}"
    assert load(folder, text).servers[0].headers == {"A": "x${env:HOME}"}


def test_grants_of_a_file_beside_it_are_grants_too(folder: Path) -> None:
    grants = {"version": "1", "grants": [{"name": "b", "token_sha256": HASH}]}
    (folder / "grants.json").write_text(json.dumps(grants))
    text = ONE + "grants: [{name: a}]\ngrants_file: grants.json\nanonymous: a\n"
    settings = load(folder, text)
    assert [grant.name for grant in settings.grants] == ["a", "b"]
    grants["grants"] = [{"name": "a"}, {"name": "c", "servers": ["none"]}]
    (folder / "grants.json").write_text(json.dumps(grants))
    assert [one.partition(" ")[0] for one in problems(folder, text)] == [
        "grants.json:1:38",
        "grants.json:1:69",
    ]
    (folder / "grants.json").unlink()
    assert problems(folder, text)[0].startswith("grants.json:1:1 unreadable")


def test_a_changed_secret_is_a_changed_configuration(folder: Path) -> None:
    (folder / "secret").write_text("old")
    text = "version: '1'\nservers: {s: {url: 'http://h/', headers: {A: '${file:secret}'}}}"
    source = ConfigSource(written(folder, text), {})
    source.load()
    told: list[object] = []
    for _ in range(3):
        source.look(told.append)
    assert told == [], "nothing happened"
    (folder / "secret").write_text("newer")
    assert not source.look(told.append), "it may still be written"
    assert told == []
    assert source.look(told.append)
    assert told == [source]
    assert source.load().servers[0].headers == {"A": "newer"}
    source.look(told.append)
    assert told == [source]


def test_a_failed_load_is_tried_again_when_something_changes(folder: Path) -> None:
    path = written(folder, ONE)
    source = ConfigSource(path, {})
    source.load()
    path.write_text("nonsense: true\n")
    with pytest.raises(SettingsError):
        source.load()
    told: list[object] = []
    source.look(told.append)
    source.look(told.append)
    assert told == [], "the same file is not tried twice"
    path.write_text(ONE)
    source.look(told.append)
    source.look(told.append)
    assert told == [source]


SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
APPROVALS = (
    ONE + f"approvals: {{path: a.db, webhook: {{url: 'https://h/T0K', secret: {SECRET}}}}}\n"
)


def test_approvals_are_kept_where_it_says(folder: Path) -> None:
    found = load(folder, APPROVALS).approvals
    assert found is not None
    assert (found.path, found.pending_s, found.approved_s) == (folder / "a.db", 3600, 900)
    assert found.wait_s == 0
    assert found.webhook is not None
    assert found.webhook.secret == b"k" * 32
    assert not found.webhook.include_arguments
    assert "kkk" not in repr(found)
    assert load(folder, ONE).approvals is None


def test_what_is_given_beats_where_approvals_are_kept(folder: Path) -> None:
    found = load(folder, APPROVALS, approvals_path="/b.db").approvals
    assert found is not None
    assert (found.path, found.webhook is not None) == (Path("/b.db"), True)
    alone = load(folder, ONE, approvals_path="/b.db").approvals
    assert alone == ApprovalSettings(path=Path("/b.db"))


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("{}", "4:12 missing-key `path` is missing"),
        ("{path: a, wait_s: -1}", "4:30 bad-number `-1` is not a number from 0 to 3600"),
        ("{path: a, pending_s: 0}", "4:33 bad-number `0` is not a number from 1 to 2592000.0"),
        ("{path: a, webhook: {secret: SECRET}}", "4:31 missing-key `url` is missing"),
        (
            "{path: a, webhook: {url: 'http://h/T0K', secret: SECRET}}",
            "4:37 unusable requests for approval cannot be told in the clear beyond this machine",
        ),
        (
            "{path: a, webhook: {url: 'https://u:T0K@h/', secret: SECRET}}",
            "4:37 bad-value it has credentials or a fragment in it",
        ),
        (
            "{path: a, webhook: {url: 'https://h/', secret: T0K}}",
            "4:59 bad-value it is not `whsec_` with base64 behind it",
        ),
        (
            "{path: a, webhook: {url: 'https://h/', secret: whsec_T0KT0KT0KT0K}}",
            "4:59 bad-value it is not a key of 24 to 64 bytes",
        ),
        (
            "{path: a, webhook: {url: 'https://h/', secret: whsec_T0KT0}}",
            "4:59 bad-value it is not `whsec_` with base64 behind it",
        ),
        (
            "{path: a, webhook: {url: 'https://h/', secret: '${env:NONE}'}}",
            "4:59 unset-variable the environment has no variable `NONE`",
        ),
    ],
)
def test_a_problem_of_approvals_is_told_without_its_secrets(
    folder: Path, said: str, problem: str
) -> None:
    (told,) = problems(folder, f"{ONE}approvals: {said}\n".replace("SECRET", SECRET))
    assert told == problem
    assert "T0K" not in told


def test_approvals_and_limits_are_two_files(folder: Path) -> None:
    (told,) = problems(folder, f"{ONE}state: a\napprovals: {{path: ./a}}\n")
    assert told == "5:19 unusable `a` cannot be the limits' file and that of the approvals"


def test_other_approvals_take_effect_at_the_next_start(folder: Path) -> None:
    before = load(folder, APPROVALS)
    other = SECRET.replace("a", "b")
    assert other != SECRET
    assert changed_for_good(before, load(folder, APPROVALS.replace(SECRET, other))) == ["approvals"]
    assert changed_for_good(before, before) == []
