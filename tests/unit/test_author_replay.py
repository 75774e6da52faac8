"""`interlock replay`: logs are read for what they tell, and no more is told than is known."""

from __future__ import annotations

import json
import sys
from array import array
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateway import PolicySet
from gateway.author.calllog import Calls
from gateway.author.document import Document, Node
from gateway.author.replay import Replayer
from gateway.author.suggest import suggest
from gateway.cli.replay import command
from support.process import sidecar, upstream
from support.replaying import BEGIN, SECOND, limited, line, policy, run, told, write

Limit = dict[str, Any]


def test_a_limit_refuses_what_it_would_have(tmp_path: Path) -> None:
    lines = [line(at, grant=grant) for at in (0, 1, 2, 3, 61) for grant in ("g", "h")]
    found = told(tmp_path, limited(), *lines)
    (finding,) = found["findings"]
    assert finding == {
        "kind": "refused",
        "rule": "/tools/t/limits/0",
        "code": "limit-exceeded",
        "calls": 4,
        "of": 10,
        "first_ns": BEGIN + 2 * SECOND,
        "last_ns": BEGIN + 3 * SECOND,
        "grants": {"g": 2, "h": 2},
        "tools": {"t": 4},
    }
    assert found["decided"] == {"allowed": 6, "limit-exceeded": 4}
    assert found["logged"] == {"allowed": 10}
    text = run(tmp_path, limited(), *lines).output
    assert "4 of 10 calls, first 2026-03-02 10:00:02, last 2026-03-02 10:00:03" in text


def test_only_some_grants_and_servers(tmp_path: Path) -> None:
    lines = [line(0, grant="g"), line(1, grant="h"), line(2, server="other")]
    assert told(tmp_path, limited(), *lines, options=("--grant", "h"))["calls"] == 1
    assert told(tmp_path, limited(), *lines, options=("--server", "s"))["calls"] == 2
    nothing = run(tmp_path, limited(), *lines, options=("--grant", "nobody"))
    assert nothing.exit_code == 64
    assert "there are no calls to decide" in nothing.stderr


def test_a_notification_is_replayed_as_one(tmp_path: Path) -> None:
    lines = [
        line(at, tool=None, method=method, arg_keys=[])
        for at, method in enumerate(("initialize", "notifications/initialized", "tools/list"))
    ]
    found = told(tmp_path, policy(t={}), *lines)
    assert found["decided"] == {"allowed": 3}


def test_strict_is_about_calls_that_were_allowed(tmp_path: Path) -> None:
    refused = line(0, effect="deny", code="tool-denied", rule="/tools/u/action", tool="u")
    assert run(tmp_path, limited(), refused, options=("--strict",)).exit_code == 0
    assert run(tmp_path, limited(), line(0, tool="u"), options=("--strict",)).exit_code == 1


def test_what_was_refused_may_now_pass(tmp_path: Path) -> None:
    was = line(0, effect="deny", code="tool-denied", rule="/tools/t/action")
    (finding,) = told(tmp_path, limited(), was)["findings"]
    assert (finding["kind"], finding["rule"]) == ("allowed", "/tools/t/action")
    was = line(0, effect="deny", code="tool-denied", rule="/tools/u/action", tool="u")
    (finding,) = told(tmp_path, limited(), was)["findings"]
    assert (finding["kind"], finding["rule"]) == ("recoded", "/default")


def test_what_shadow_mode_would_refuse_is_told_apart(tmp_path: Path) -> None:
    found = told(tmp_path, limited(mode="shadow"), *(line(at) for at in range(5)))
    assert found["decided"] == {"allowed": 5}
    (finding,) = found["findings"]
    assert (finding["kind"], finding["calls"]) == ("shadow", 3)


def test_calls_run_as_long_as_they_did(tmp_path: Path) -> None:
    document = policy(t={"limits": [{"counter": "c", "algorithm": "concurrency", "max": 1}]})
    lines = [line(0, duration_ms=1000), line(0.5), line(1.0), line(2), line(2.004), line(2.005)]
    (finding,) = told(tmp_path, document, *lines)["findings"]
    assert finding["calls"] == 2
    assert (finding["first_ns"] - BEGIN, finding["last_ns"] - BEGIN) == (500_000_000, 2_004_000_000)


RULED = policy(
    t={
        "deny_if": [{"conditions": [{"path": "args.x", "op": "gt", "value": 5}]}],
        "limits": [{"counter": "c", "window": "day", "max": 9, "cost": "args.n"}],
    },
    s={"deny_if": [{"conditions": [{"path": "args.x", "op": "gt", "value": 5}], "mode": "shadow"}]},
)


def test_what_hangs_on_values_is_not_known(tmp_path: Path) -> None:
    lines = [line(at, arg_keys=["n", "x"]) for at in range(3)]
    found = told(tmp_path, RULED, *lines, line(4, tool="s", arg_keys=["x"]))
    assert found["decided"] == {"not-known": 3, "allowed": 1}
    assert found["unknown"] == [
        {"rule": "/tools/t/deny_if/0", "calls": 3, "arguments": ["args.x"]},
        {"rule": "/tools/t/limits/0", "calls": 3, "arguments": ["args.n"]},
        {"rule": "/tools/s/deny_if/0", "calls": 1, "arguments": ["args.x"]},
    ]
    text = run(tmp_path, RULED, *lines).output
    assert "help: let the log carry them: log: {include_args: [n, x]}" in text


def test_values_that_the_log_has_are_used(tmp_path: Path) -> None:
    lines = [line(at, arg_keys=["n", "x"], args={"n": 5, "x": at}) for at in (1, 2, 6)]
    found = told(tmp_path, RULED, *lines)
    assert found["decided"] == {"allowed": 1, "limit-exceeded": 1, "tool-denied": 1}
    some = [line(at, arg_keys=["n", "x"], args={"x": at}) for at in (1, 6)]
    assert told(tmp_path, RULED, *some)["decided"] == {"not-known": 1, "tool-denied": 1}


def test_what_a_log_leaves_out_is_not_known(tmp_path: Path) -> None:
    lines = [
        line(0, arg_keys=["n", "x"], args={"n": 5, "x": "(900 bytes)"}),
        line(1, arg_keys=["n", "\u2026+3"], args={"n": 1}, gap=4),
        line(2, arg_keys=["n", "very lon\u2026"], args={"n": 1}),
        line(3, tool=None, method="GET", arg_keys=None, policy=None),
    ]
    found = told(tmp_path, RULED, *lines)
    assert found["decided"] == {"not-known": 3}
    assert found["lost"] == 4
    assert found["not_decided_by_policy"] == 1
    assert "the log lacks 4 lines, and says so" in run(tmp_path, RULED, *lines).output
    # In a plain list a value is what it is.
    plain = {"at": 5, "tool": "s", "args": {"x": "(900 bytes)"}}
    (finding,) = told(tmp_path, RULED, plain)["findings"]
    assert finding["code"] == "indeterminate"


def test_what_was_not_sent_is_given_back(tmp_path: Path) -> None:
    lost = line(0, fault="upstream-unreachable", duration_ms=500)
    found = told(tmp_path, limited(max=1), lost, line(0.4), line(0.5), line(0.6))
    assert found["decided"] == {"allowed": 2, "limit-exceeded": 2}
    (finding,) = found["findings"]
    assert (finding["first_ns"], finding["last_ns"]) == (
        BEGIN + 400_000_000,
        BEGIN + 600_000_000,
    )


def test_what_a_person_approved_is_approved_again_and_what_they_refused_is_not(
    tmp_path: Path,
) -> None:
    document = policy(t={"action": "require_approval", "limits": [{"counter": "c", "max": 1}]})
    document["tools"]["t"]["limits"][0]["window"] = "hour"
    approved = {"approval": {"state": "approved", "id": "x", "by": "ann"}}
    denied = {"effect": "deny", "code": "approval-denied", "rule": "/tools/t/action"}
    asked = {"effect": "deny", "code": "approval-required", "rule": "/tools/t/action"}
    lines = (
        line(0, **asked, approval={"state": "pending", "id": "x"}),
        line(1, **approved),
        line(2, **denied, approval={"state": "denied", "id": "y", "by": "ann"}),
        line(3, **approved),
        line(4),
        line(5, approval="approved"),
    )
    assert told(tmp_path, document, *lines)["decided"] == {
        "approval-required": 4,
        "allowed": 1,
        "limit-exceeded": 1,
    }


def test_a_plain_list_says_what_was_called(tmp_path: Path) -> None:
    lines = [
        {"at": "2026-03-02T10:00:00Z", "tool": "t", "args": {"n": 9, "x": 1}},
        {"at": "2026-03-02T10:00:01+00:00", "tool": "t", "args": {"n": 1}},
        {"ts": 1_772_445_602.5, "tool": "t", "args": {"n": 1}, "grant": "h"},
        {"at": "2026-03-02T10:00:03Z", "tool": "t"},
        {"at": "2026-03-02T10:00:03Z", "method": "resources/read", "args": {"uri": "x:/"}},
    ]
    found = told(tmp_path, RULED, *lines)
    assert found["logged"] == {}
    assert found["grants"] == {"default": 4, "h": 1}
    assert found["decided"] == {
        "allowed": 2,
        "limit-exceeded": 1,
        "not-known": 1,
        "method-denied": 1,
    }


def test_what_cannot_be_read_is_counted_and_left_out(tmp_path: Path) -> None:
    lines = [
        "interlock ready",
        "[1]",
        '{"tool": "t"}',
        '{"at": "yesterday", "tool": "t"}',
        '{"at": "2026-03-02T10:00:00", "tool": "t"}',
        '{"at": true, "tool": "t"}',
        '{"at": 5}',
        '{"at": 5, "tool": 7}',
        '{"ts": 1, "tool": "t", "effect": "allo',
        "",
        '{"ts":"2026-03-02T10:00:00Z","seq":1,"event":"start","prev":"0","hash":"1"}',
        line(0, code="unauthenticated", effect="deny"),
        line(0, method=None, tool=None),
        line(0),
    ]
    found = told(tmp_path, limited(), *lines)
    assert found["calls"] == 1
    assert found["not_decided_by_policy"] == 2
    assert found["unread"]["lines"] == 9
    assert found["unread"]["first"].endswith("l.jsonl:1: not JSON")
    output = run(tmp_path, limited(), *lines).output
    assert "left out: 9 lines that cannot be read" in output
    assert "left out: 2 messages that no policy has a say in" in output


def test_logs_are_joined_in_the_order_of_time(tmp_path: Path) -> None:
    document, first = write(tmp_path, limited(), line(0), line(2), line(4))
    second = tmp_path / "second.jsonl"
    second.write_text("".join(json.dumps(line(at)) + "\n" for at in (1, 3)))
    done = CliRunner().invoke(command, [document, first, str(second), "--format", "json"])
    found = json.loads(done.stdout)
    assert found["out_of_order"] == 0
    assert found["findings"][0]["first_ns"] == BEGIN + 2 * SECOND


def test_the_files_that_belong_to_a_log_are_read_with_it_and_none_twice(tmp_path: Path) -> None:
    given = write(tmp_path, limited(), line(3), line(4))
    for name, at in (("l.jsonl.000001", 0), ("l.jsonl.w1", 1), ("l.jsonl.w1.000001", 0.5)):
        (tmp_path / name).write_text(json.dumps(line(at)) + "\n")
    (tmp_path / "l.jsonl.1").write_text("not one of them\n")
    options = ("--format", "json", str(tmp_path / "l.jsonl.w1"), given[1])
    told = json.loads(CliRunner().invoke(command, [*given, *options]).output)
    assert (told["calls"], told["out_of_order"], told["unread"]["lines"]) == (5, 0, 0)
    assert told["decided"] == {"allowed": 2, "limit-exceeded": 3}


def test_a_log_is_in_the_order_in_which_calls_ended(tmp_path: Path) -> None:
    slow = [line(70), line(2), line(0), line(0, grant="h"), line(1)]
    found = told(tmp_path, limited(max=1), *slow)
    assert found["out_of_order"] == 0
    (finding,) = found["findings"]
    assert finding["first_ns"] == BEGIN + SECOND
    _, log = write(tmp_path, limited(), *slow)
    assert [call.at_ns - BEGIN for call in Calls([Path(log)], lookahead=2)] == [
        0,
        0,
        SECOND,
        2 * SECOND,
        70 * SECOND,
    ]
    late = Replayer(
        PolicySet.parse(json.dumps(limited()).encode(), name="p.json"),
        Node(Document("p.json", {}), limited()),
        slots=64,
    ).run(Calls([Path(log)], lookahead=1))
    assert late.out_of_order == 3


def test_a_log_may_come_on_standard_input(tmp_path: Path) -> None:
    document, log = write(tmp_path, limited(), *(line(at) for at in range(5)))
    arguments = [document, "-", "--format", "json"]
    done = CliRunner().invoke(command, arguments, input=Path(log).read_text())
    assert json.loads(done.stdout)["decided"] == {"allowed": 2, "limit-exceeded": 3}


def test_files_that_are_not_there(tmp_path: Path) -> None:
    document, _ = write(tmp_path, limited())
    done = CliRunner().invoke(command, [document, str(tmp_path / "none.jsonl")])
    assert done.exit_code == 64
    assert "none.jsonl`: no such file or directory" in done.stderr
    empty = run(tmp_path, limited(), "{}")
    assert empty.exit_code == 64
    assert "help: " in empty.stderr


def test_drawing_says_what_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    done = run(tmp_path, limited(), line(0), options=("--svg", str(tmp_path / "o.svg")))
    assert done.exit_code == 69
    assert "pip install 'interlock[plot]'" in done.stderr


def test_a_drawing_is_made(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    target = tmp_path / "o.svg"
    done = run(tmp_path, limited(), *(line(at) for at in range(9)), options=("--svg", str(target)))
    assert done.exit_code == 0, done.output
    assert "<svg" in target.read_text()
    nowhere = str(tmp_path / "none" / "o.svg")
    assert run(tmp_path, limited(), line(0), options=("--svg", nowhere)).exit_code == 64


@pytest.mark.e2e
def test_the_log_of_a_sidecar_is_replayed_as_it_was_decided(tmp_path: Path) -> None:
    limits = [
        {"counter": "c", "window": "day", "max": 2},
        {"counter": "s", "window": "day", "max": 1, "mode": "shadow"},
    ]
    bounded = {"deny_if": [{"conditions": [{"path": "args.x", "op": "gt", "value": 1}]}]}
    document = policy(t={"limits": limits}, u=bounded)
    path, log = tmp_path / "p.json", tmp_path / "log.jsonl"
    path.write_text(json.dumps(document))
    options = ("--policy", str(path), "--log", str(log))
    with upstream() as server, sidecar(*options, "--upstream", server.url) as one:
        codes = [one.call(tool) for tool in ("t", "t", "t", "u", "v")]
        given = {"name": "u", "arguments": {"x": 5}}
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": given}
        codes.append(one.post(call).decision)
        assert one.stop() == 0
    done = CliRunner().invoke(command, [str(path), str(log), "--format", "json"])
    found = json.loads(done.stdout)
    assert found["logged"] == dict(Counter(codes))
    # The value of `x` is in no log; all the rest is decided as it was.
    assert found["logged"] == {
        "allowed": 3,
        "limit-exceeded": 1,
        "default-deny": 1,
        "tool-denied": 1,
    }
    hidden = {"allowed": 3, "limit-exceeded": 1, "default-deny": 1, "not-known": 1}
    assert found["decided"] == hidden
    kinds = {(one["kind"], one["rule"]): one["calls"] for one in found["findings"]}
    assert kinds == {
        ("same", "/tools/t/limits/0"): 1,
        ("same", "/default"): 1,
        ("shadow", "/tools/t/limits/1"): 2,
    }
    assert found["unread"]["lines"] == 0


def test_calls_can_be_had_from_python(tmp_path: Path) -> None:
    _, log = write(tmp_path, limited(), line(0.000001))
    (call,) = Calls([Path(log)])
    assert call.at_ns == BEGIN + 1_000
    assert suggest({("g", "s", "t"): array("q", [call.at_ns])}, 1.0)["tools"]["t"]
