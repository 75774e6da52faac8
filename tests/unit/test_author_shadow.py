"""`interlock shadow`: what is told, and that promoting changes one word and nothing else."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway import Caller, Engine, LimitTable, PolicySet
from gateway.author.calls import tool_body
from gateway.author.document import read
from gateway.author.shadow import from_metrics, shadows
from gateway.cli.shadow import command
from support.process import sidecar, upstream

JSON = b"""{
\t"version": "1", "default" : "deny",\r
\t"description": "mode: shadow \xc3\xa9",
\t"tools": {
\t\t"mode": {"description": "shadow", "limits": [
\t\t\t{"counter": "c", "window": "minute", "max": 1,
\t\t\t "description": "\xf0\x9f\x98\x80", "mode" :  "shadow"},
\t\t\t{"mode":"shadow","counter":"d","window":"day","max":2}
\t\t]},
\t\t"a/b": {"mode": "shadow", "deny_if": [{"conditions": [], "mode": "shadow"}]},
\t\t"u": {"deny_if": [{"mode": "\\u0073hadow"}]}
\t}
}"""
YAML = b"""# a policy \xc3\xa9, shadow
version: "1"
default: deny   # mode: shadow
tools:
  "\xc3\xa9*": {mode: 'shadow', deny_if: [{conditions: []}]}
  t:
    limits:
      - mode: shadow   # for now
        counter: c
        window: minute
        max: 1
      - {counter: d, window: day, max: 9, mode: "shadow"}
"""


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments))


def promote(path: Path, rule: str, *options: str) -> Result:
    return invoke("promote", str(path), rule, *options)


@pytest.mark.parametrize(
    ("name", "source", "rule", "old", "new"),
    [
        ("p.json", JSON, "/tools/mode/limits/0", b'"mode" :  "shadow"', b'"mode" :  "enforce"'),
        ("p.json", JSON, "/tools/mode/limits/1", b'{"mode":"shadow"', b'{"mode":"enforce"'),
        ("p.json", JSON, "/tools/a~1b", b'"a/b": {"mode": "shadow"', b'"a/b": {"mode": "enforce"'),
        ("p.yaml", YAML, "/tools/\u00e9*", b"'shadow'", b"'enforce'"),
        ("p.yaml", YAML, "/tools/t/limits/0", b"- mode: shadow ", b"- mode: enforce "),
        ("p.yaml", YAML, "/tools/t/limits/1", b'mode: "shadow"', b'mode: "enforce"'),
    ],
)
def test_one_word_changes(
    name: str, source: bytes, rule: str, old: bytes, new: bytes, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(source)
    path.chmod(0o640)
    assert source.count(old) == 1
    assert promote(path, rule, "--dry-run").stdout_bytes == source.replace(old, new)
    assert path.read_bytes() == source
    done = promote(path, rule)
    assert (done.exit_code, done.stdout) == (0, f"{path}: `{rule}` is in force\n")
    assert path.read_bytes() == source.replace(old, new)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == [name]
    again = promote(path, rule)
    assert again.exit_code == 1


def test_what_is_promoted_refuses(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(YAML)

    def codes() -> list[str]:
        engine = Engine(PolicySet.parse(path.read_bytes(), name="p.yaml"), LimitTable(64))
        caller = Caller("g", server="s")
        return [engine.decide(caller, tool_body("t"), now_ns=1).code for _ in range(2)]

    assert codes() == ["allowed", "allowed"]
    assert promote(path, "/tools/t/limits/0").exit_code == 0
    assert codes() == ["allowed", "limit-exceeded"]


def test_the_document_itself(tmp_path: Path) -> None:
    path = tmp_path / "p.yml"
    path.write_text('{version: "1", default: deny, mode: shadow, tools: {t: {mode: shadow}}}')
    inside = promote(path, "/tools/t")
    assert inside.exit_code == 1
    assert "the document is in shadow mode as a whole" in inside.stderr
    below = promote(path, "/default")
    assert "`/default` is in shadow mode because the document is" in below.stderr
    told = {"policy": str(path), "rule": "", "mode": "enforce"}
    assert json.loads(promote(path, "", "--format", "json").stdout) == told
    assert promote(path, "/tools/t").exit_code == 0
    assert "mode: enforce, tools: {t: {mode: enforce}}" in path.read_text()


def test_a_link_goes_on_leading_to_its_file(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real = tmp_path / "real" / "p.yaml"
    real.write_bytes(YAML)
    link = tmp_path / "p.yaml"
    link.symlink_to(real)
    assert promote(link, "/tools/t/limits/0").exit_code == 0
    assert link.is_symlink()
    assert b"mode: enforce" in real.read_bytes()


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("/tools/t", "`/tools/t` is not in shadow mode"),
        ("/tools/t/limit/0", "help: did you mean `/tools/t/limits/0`?"),
        ("/tools/t/limits/7", "there is no `/tools/t/limits/7`"),
        ("/tools/t/limits/x", "there is no `/tools/t/limits/x`"),
        ("tools", "`tools` is no pointer"),
        ("/hide/0", "in shadow mode: `/tools/\u00e9*`"),
        ("/tools/\u00e9*/deny_if/0", "help: promote `/tools/\u00e9*`"),
    ],
)
def test_what_cannot_be_promoted_is_said(rule: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(YAML)
    done = promote(path, rule)
    assert done.exit_code == 1
    assert message in done.stderr
    assert path.read_bytes() == YAML


def test_a_file_is_left_alone_when_in_doubt(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_bytes(JSON)
    done = promote(path, "/tools/u/deny_if/0")
    assert done.exit_code == 1
    assert "cannot be edited safely" in done.stderr
    # A policy that does not load is not written, whatever else is wrong with it.
    broken = JSON.replace(b'"max": 1', b'"max": -1')
    path.write_bytes(broken)
    done = promote(path, "/tools/mode/limits/0")
    assert done.exit_code == 1
    assert "the policy would not load" in done.stderr
    assert path.read_bytes() == broken
    path.write_bytes(b"{")
    assert promote(path, "/tools/t").exit_code == 64
    assert promote(tmp_path / "none.json", "/tools/t").exit_code == 64


def test_what_is_in_shadow_mode_is_found(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_bytes(JSON)
    assert shadows(read(path)) == [
        "/tools/mode/limits/0",
        "/tools/mode/limits/1",
        "/tools/a~1b",
        "/tools/a~1b/deny_if/0",
        "/tools/u/deny_if/0",
    ]


def line(at: int, *shadow: tuple[str, str], **members: Any) -> str:
    told = {
        "ts": f"2026-03-02T10:00:0{at}Z",
        "grant": "g",
        "method": "tools/call",
        "tool": "t",
        "effect": "allow",
        "code": "allowed",
        "shadow": [{"rule": rule, "code": code} for rule, code in shadow],
        **members,
    }
    return json.dumps(told) + "\n"


def test_a_log_is_added_up(tmp_path: Path) -> None:
    log = tmp_path / "l.jsonl"
    limit, rule = ("/tools/t/limits/0", "limit-exceeded"), ("/tools/*/deny_if/0", "tool-denied")
    log.write_text(
        line(0)
        + line(1, limit)
        + line(2, limit, rule, grant="h")
        + line(3, rule, tool="u", shadow=[{"rule": rule[0], "code": rule[1]}, {"more": 9}])
    )
    found = json.loads(invoke("summarise", str(log), "--format", "json").stdout)
    assert (found["calls"], found["shadowed"]) == (4, 3)
    assert [(one["rule"], one["code"], one["calls"]) for one in found["rules"]] == [
        (*limit, 2),
        (*rule, 2),
    ]
    assert found["rules"][0]["grants"] == {"g": 1, "h": 1}
    assert found["rules"][1]["tools"] == {"t": 1, "u": 1}
    text = invoke("summarise", str(log)).output
    assert "3 of 4 calls would have been refused" in text
    assert "2 calls, first 2026-03-02 10:00:01, last 2026-03-02 10:00:02" in text


def test_what_summarise_is_not_told(tmp_path: Path) -> None:
    assert invoke("summarise").exit_code == 2
    assert invoke("summarise", "l", "--metrics", "http://x/").exit_code == 2
    assert invoke("summarise", "--metrics", "file:///etc/passwd").exit_code == 2
    assert invoke("summarise", str(tmp_path / "none")).exit_code == 64
    (tmp_path / "empty").write_text("nothing\n")
    assert invoke("summarise", str(tmp_path / "empty")).exit_code == 64
    refused = invoke("summarise", "--metrics", "http://127.0.0.1:9/metrics")
    assert refused.exit_code == 69
    assert "help: it is the admin port's" in refused.stderr


def test_metrics_are_read() -> None:
    text = (
        "# HELP interlock_shadow_denials_total x\n"
        'interlock_shadow_denials_total{server="a",rule="/tools/\\"q\\\\\\n/limits/0"} 3\n'
        'interlock_shadow_denials_total{server="b",rule="/default"} 1e+02\n'
        'interlock_other_total{server="b",rule="/default"} 9\n'
    )
    assert from_metrics(text) == {("a", '/tools/"q\\\n/limits/0'): 3, ("b", "/default"): 100}


@pytest.mark.e2e
def test_a_running_sidecar_is_asked(tmp_path: Path) -> None:
    policy = tmp_path / "p.json"
    deny = {"conditions": [], "mode": "shadow"}
    tools = {"t": {"deny_if": [deny]}}
    policy.write_text(json.dumps({"version": "1", "default": "deny", "tools": tools}))
    with upstream() as server, sidecar("--policy", str(policy), "--upstream", server.url) as one:
        assert [one.call("t"), one.call("t")] == ["allowed", "allowed"]
        done = invoke("summarise", "--metrics", f"http://{one.admin}/metrics")
        assert done.output.split() == ["2", "default", "/tools/t/deny_if/0"]
        assert one.stop() == 0
