"""`interlock test`: cases are read strictly, and decided as the engine decides."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from casefile import Case as Data
from casefile import load_all
from gateway import PolicySet
from gateway.author import coverage, testing
from gateway.author.calls import CODES, duration, instant, span
from gateway.author.cases import Call, Case, Step, Who, load
from gateway.author.document import DocumentError, read
from gateway.cli.test import command
from support.pages import page

POLICY: dict[str, Any] = {
    "version": "1",
    "default": "deny",
    "hide": ["gone"],
    "tools": {
        "free": {},
        "pay": {
            "require": [{"conditions": [{"path": "args.to", "op": "exists", "value": True}]}],
            "deny_if": [{"conditions": [{"path": "args.amount", "op": "gt", "value": 5}]}],
            "limits": [{"counter": "paid", "window": "minute", "max": 2}],
        },
        "run": {"limits": [{"counter": "runs", "algorithm": "concurrency", "max": 1}]},
        "never": {"action": "deny", "reason": "ask somebody else"},
        "short": {"rate_limit": "1/minute"},
    },
    "methods": {"resources/read": {"limits": [{"counter": "r", "window": "day", "max": 1}]}},
}


def run(folder: Path, cases: str, *options: str, policy: Any = POLICY) -> Result:
    (folder / "p.json").write_text(json.dumps(policy), encoding="utf-8")
    (folder / "c.yaml").write_text(cases, encoding="utf-8")
    files = [str(folder / "p.json"), str(folder / "c.yaml")]
    return CliRunner().invoke(command, [*files, *options])


def told(folder: Path, cases: str, *options: str) -> Any:
    return json.loads(run(folder, cases, "--format", "json", *options).stdout)


def test_what_is_as_expected_passes(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        """
cases:
  - {name: free, call: free, expect: {rule: null, counter: null}}
  - {name: unknown, call: other, expect: denied}
  - name: one at a time
    steps:
      - {call: run, as: first, expect: {code: allowed, remaining: 0, counter: runs, limit: 1}}
      - {after: 1h, call: run, expect: {code: limit-exceeded, wait: null}}
      - {ends: first}
      - {call: run, expect: allowed}
  - name: what was not sent is given back
    steps:
      - {call: pay, args: '{"to": "\\u0061"}', as: lost, expect: {remaining: 1}}
      - {call: pay, args: {to: a}, expect: {remaining: 0, window: minute}}
      - {not_sent: lost}
      - {call: pay, args: {to: a}, expect: {code: allowed, remaining: 0}}
      - {after: 250ms, call: pay, args: {to: a}, expect: {code: limit-exceeded, wait: 59750ms}}
      - {at: "2026-03-02T00:01:00Z", call: pay, args: {to: a}, expect: allowed}
  - name: whose
    steps:
      - {method: resources/read, params: {uri: "x:/"}, grant: ann, expect: allowed}
      - {method: resources/read, params: {uri: "x:/"}, grant: bob, expect: allowed}
      - {method: resources/read, params: {uri: "x:/"}, grant: ann, expect: limit-exceeded}
      - {method: resources/read, params: {uri: "x:/"}, grant: ann, server: s, expect: allowed}
  - {name: said, call: never, expect: {message: somebody else}}
  - name: sessions
    session: one
    steps:
      - {call: short, expect: allowed}
      - {call: short, expect: limit-exceeded}
      - {call: short, session: two, expect: allowed}
""",
    )
    assert done.exit_code == 0, done.output
    assert "7 cases, 18 calls, 0 failed" in done.output


WRONG = {
    "expect: denied": ("code", "denied", "allowed"),
    "expect: {remaining: 2}": ("remaining", 2, 1),
    "expect: {rule: /x}": ("rule", "/x", None),
    "expect: {wait: 3s}": ("wait", 3000, None),
    "expect: {window: hour}": ("window", "hour", "minute"),
    "expect: {counter: q}": ("counter", "q", "paid"),
    "expect: {limit: 3}": ("limit", 3, 2),
    "expect: {message: no}": ("message", "no", ""),
    "expect: {shadow: [/x]}": ("shadow", ["/x"], []),
}


@pytest.mark.parametrize(("expect", "difference"), WRONG.items())
def test_whatever_differs_fails(
    expect: str, difference: tuple[str, Any, Any], tmp_path: Path
) -> None:
    cases = f"cases: [{{name: x, call: pay, args: {{to: a}}, {expect}}}]"
    done = run(tmp_path, cases)
    assert done.exit_code == 1
    assert "FAIL" in done.output
    ((failure,),) = [case["failures"] for case in told(tmp_path, cases)["cases"]]
    name, wanted, got = difference
    assert failure["differences"] == {name: {"expected": wanted, "got": got}}
    assert failure["explanation"]["entries"] == ["/tools/pay"]


def test_every_repetition_is_compared(tmp_path: Path) -> None:
    cases = "cases: [{name: x, call: pay, args: {to: a}, repeat: 9, every: 10s, expect: allowed}]"
    (case,) = told(tmp_path, cases)["cases"]
    # Two a minute: the third to sixth are refused, and at 0:60 a new one begins.
    assert [failure["repetition"] for failure in case["failures"]] == [3, 4, 5, 6, 9]
    assert "and 1 more failed call" not in run(tmp_path, cases).output
    assert "and 3 more failed calls" in run(tmp_path, cases.replace("9", "12")).output


def test_coverage_is_of_what_showed_itself(tmp_path: Path) -> None:
    cases = """
cases:
  - {name: a, call: free, expect: allowed}
  - {name: b, call: pay, args: {to: x, amount: 9}, expect: tool-denied}
  - {name: c, call: never, expect: tool-denied}
  - {name: d, call: gone, expect: hidden}
"""
    coverage = told(tmp_path, cases)["coverage"]
    assert coverage["never"] == [
        "/default",
        "/tools/pay/require/0",
        "/tools/pay/limits/0",
        "/tools/run",
        "/tools/run/limits/0",
        "/tools/short",
        "/tools/short/rate_limit",
        "/methods/resources~1read",
        "/methods/resources~1read/limits/0",
    ]
    assert coverage["parts"] == 15
    assert coverage["percent"] == 40.0
    assert run(tmp_path, cases, "--min-coverage", "40").exit_code == 0
    short = run(tmp_path, cases, "--min-coverage", "41")
    assert short.exit_code == 1
    assert "40% of the policy was seen at work, less than 41%" in short.stderr


def test_a_rule_in_shadow_mode_is_at_work(tmp_path: Path) -> None:
    rule = {"conditions": [], "mode": "shadow"}
    policy = {"version": "1", "default": "allow", "tools": {"a*": {"deny_if": [rule]}}}
    done = run(
        tmp_path,
        'cases: [{name: x, call: ab, expect: {code: allowed, shadow: ["/tools/a*/deny_if/0"]}}]',
        "--min-coverage",
        "100",
        policy=policy,
    )
    assert done.exit_code == 0, done.output


BAD = {
    "cases: []": (1, 8, "empty-list"),
    "cases: {}": (1, 8, "wrong-type"),
    "case: []": (1, 1, "unknown-key"),
    "grant: 7\ncases: [{name: a, call: b, expect: allowed}]": (1, 8, "wrong-type"),
    "cases: [{name: a, name: b}]": (1, 19, "duplicate-key"),
    "cases: [{call: b, expect: allowed}]": (1, 9, "missing-key"),
    "cases: [{name: a, expect: allowed}]": (1, 9, "missing-key"),
    "cases: [{name: a, call: b}]": (1, 9, "nothing-expected"),
    "cases: [{name: a, call: b, expect: alowed}]": (1, 36, "unknown-value"),
    "cases: [{name: a, call: b, expect: {cod: allowed}}]": (1, 37, "unknown-key"),
    "cases: [{name: a, call: b, expect: {}}]": (1, 36, "nothing-expected"),
    "cases: [{name: a, call: b, method: c, expect: denied}]": (1, 9, "conflicting-keys"),
    "cases: [{name: a, call: b, params: {}, expect: denied}]": (1, 28, "conflicting-keys"),
    "cases: [{name: a, call: b, args: [1], expect: denied}]": (1, 34, "wrong-type"),
    "cases: [{name: a, call: b, repeat: 0, expect: denied}]": (1, 36, "bad-number"),
    "cases: [{name: a, call: b, after: 5 min, expect: denied}]": (1, 35, "bad-duration"),
    "cases: [{name: a, call: b, at: noon, expect: denied}]": (1, 32, "bad-instant"),
    "cases: [{name: a, call: b, at: '2020-01-01', expect: denied}]": (1, 32, "bad-instant"),
    "start: soon\ncases: [{name: a, call: b, expect: denied}]": (1, 8, "bad-instant"),
    "cases: [{name: a, steps: [{ends: b}, {call: b, expect: denied}]}]": (1, 9, "unknown-label"),
    "cases: [{name: a, steps: [{call: b, expect: denied}], call: c}]": (1, 55, "conflicting-keys"),
    "cases: [{name: a, steps: [], each: []}]": (1, 30, "conflicting-keys"),
    "cases: [{name: a, call: b, as: c, expect: &x denied}]": (1, 43, "yaml-feature"),
    "cases: [": (1, 9, "syntax"),
}


@pytest.mark.parametrize(("text", "place"), BAD.items())
def test_what_cannot_be_used_is_said_at_its_place(
    text: str, place: tuple[int, int, str], tmp_path: Path
) -> None:
    done = run(tmp_path, text)
    assert done.exit_code == 64
    assert done.stdout == ""
    line, column, code = place
    assert f"c.yaml:{line}:{column}: error[{code}]: " in done.stderr


def test_every_problem_is_told(tmp_path: Path) -> None:
    text = "grnt: x\ncases:\n  - {name: a, cal: b}\n  - {name: a, call: b, expect: alowed}\n"
    done = run(tmp_path, text)
    codes = re.findall(r"error\[([a-z-]+)\]", done.stderr)
    assert codes == [
        "unknown-key",
        "missing-key",
        "unknown-key",
        "duplicate-name",
        "unknown-value",
    ]
    assert "help: did you mean `grant`?" in done.stderr
    assert "help: did you mean `allowed`?" in done.stderr


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    done = CliRunner().invoke(command, [str(tmp_path / "p.json"), str(tmp_path / "c.yaml")])
    assert done.exit_code == 64
    with pytest.raises(DocumentError, match="cannot read it: no such file"):
        load(tmp_path / "none.yaml")
    (tmp_path / "p.json").write_text('{"version": "1"}')
    assert run(tmp_path, "cases: []", policy={"version": "1"}).exit_code == 64


def test_junit_has_a_suite_a_file_and_a_case_a_case(tmp_path: Path) -> None:
    cases = """
cases:
  - {name: "good \\x01 <name>", call: free, expect: allowed}
  - {name: bad, call: free, expect: denied}
"""
    junit = tmp_path / "junit.xml"
    assert run(tmp_path, cases, "--junit", str(junit)).exit_code == 1
    root = ElementTree.parse(junit).getroot()
    assert root.tag == "testsuites"
    (suite,) = root
    for element in (root, suite):
        assert {key: element.get(key) for key in ("tests", "failures", "errors")} == {
            "tests": "2",
            "failures": "1",
            "errors": "0",
        }
        assert re.fullmatch(r"\d{1,3}\.\d{3}", element.attrib["time"])
    good, bad = suite
    assert good.attrib["name"] == "good � <name>"
    assert len(good) == 0
    (failure,) = bad
    assert failure.tag == "failure"
    assert failure.text is not None
    assert "expected denied, got allowed" in failure.text
    done = run(tmp_path, cases, "--junit", str(tmp_path / "no" / "junit.xml"))
    assert done.exit_code == 64


def test_the_codes_are_the_cores() -> None:
    source = page("rust/core/src/decision.rs")
    there = re.findall(r'^ +\w+ = "([a-z-]+)",$', source, re.M)
    assert list(CODES) == there


@pytest.mark.parametrize(
    "text", ["0s", "1ms", "250ms", "1s", "1m", "1h30m", "1d", "13h57m", "8d1ms"]
)
def test_a_duration_is_said_as_it_is_read(text: str) -> None:
    ns = duration(text)
    assert ns is not None
    assert span(ns // 1_000_000) == text


@pytest.mark.parametrize("text", ["", "5", "1.5s", "-1s", "5 s", "1y", "s"])
def test_what_is_no_duration_is_none(text: str) -> None:
    assert duration(text) is None


def test_an_instant_may_have_an_offset() -> None:
    assert instant("2026-03-02T01:00:00+01:00") == instant("2026-03-02T00:00:00")
    assert instant("yesterday") is None


def as_case(data: Data) -> Case:
    """A data case of this repository, as `interlock test` would run it."""
    steps = [
        Step(
            line=1,
            at_ns=step.at_ns,
            call=None
            if step.body is None
            else Call(
                Who(
                    step.caller.get("grant") or "default",
                    step.caller.get("server") or "default",
                    step.caller.get("session"),
                ),
                step.body,
                "",
            ),
            label=step.label,
            ends=step.settle,
            outcome="not-sent" if step.outcome == "not-sent" else "done",
            expect={
                {"retry_after_ms": "wait"}.get(name, name): value
                for name, value in step.expect.items()
                if name not in ("allowed", "shadow")
            },
        )
        for step in data.steps
    ]
    return Case(data.name, data.file, 1, 1, 0, tuple(steps))


WALKABLE = [
    data
    for data in load_all()
    if not any(
        step.install or step.headers is not None or step.caller.get("revision")
        for step in data.steps
    )
]


@pytest.mark.parametrize("data", WALKABLE, ids=lambda data: f"{data.file}: {data.name}")
def test_the_data_cases_go_as_they_say(data: Data, tmp_path: Path) -> None:
    name = "p.json" if data.policy.lstrip().startswith("{") else "p.yaml"
    policies = PolicySet.parse(data.policy.encode(), name=name)
    (result,) = testing.run(policies, [as_case(data)])
    assert [failure.differences for failure in result.failures] == []
    (tmp_path / name).write_text(data.policy, encoding="utf-8")
    # A refusal for what a name looks like points at all of `tools`.
    parts = coverage.parts(read(tmp_path / name), policies)
    assert result.bitten <= {*parts, "/tools", "/default", "/mode"}


def test_what_comes_after_an_approval_can_be_tested(tmp_path: Path) -> None:
    limit = {"counter": "c", "window": "hour", "max": 1}
    policy = {"version": "1", "tools": {"pay": {"action": "require_approval", "limits": [limit]}}}
    done = run(
        tmp_path,
        """
cases:
  - name: money
    steps:
      - {call: pay, expect: approval-required}
      - {call: pay, approved: true, expect: {code: allowed, remaining: 0}}
      - {call: pay, approved: false, expect: approval-required}
      - {call: pay, approved: true, expect: limit-exceeded}
""",
        policy={**policy, "default": "deny"},
    )
    assert done.exit_code == 0, done.output
    wrong = run(tmp_path, "cases: [{name: a, call: b, approved: yes please, expect: denied}]")
    assert wrong.exit_code == 64
    assert "true or false" in wrong.output
