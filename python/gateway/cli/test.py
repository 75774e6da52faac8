"""`interlock test`: test cases of a policy, on a simulated clock."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.author.calls import counted
from gateway.cli.problems import EXIT_INVALID, EXIT_PROBLEMS, cannot, complain, load_policy, report

if TYPE_CHECKING:
    from gateway._core import PolicySet
    from gateway.author.testing import Failure, Result

MOST_SHOWN = 5
"""Failed calls of one case that are told in full."""


@click.command("test")
@click.argument("policy", type=click.Path(path_type=Path))
@click.argument("cases", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--verbose", "-v", is_flag=True, help="A line for each case.")
@click.option("--junit", type=click.Path(path_type=Path), metavar="FILE", help="Write JUnit XML.")
@click.option(
    "--min-coverage",
    type=click.FloatRange(0, 100),
    metavar="PERCENT",
    help="Fail if less of the policy was seen at work.",
)
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text")
def command(
    policy: Path,
    cases: tuple[Path, ...],
    verbose: bool,
    junit: Path | None,
    min_coverage: float | None,
    style: str,
) -> None:
    """Make the calls that CASES describe, on a simulated clock, and compare what POLICY decides.

    Nothing is opened and nothing is waited for: a day passes as the file says. A case is

    \b
        cases:
          - name: twenty a day
            steps:
              - {call: submit_proposal, args: {bid: 10}, repeat: 20, expect: allowed}
              - {after: 1h, call: submit_proposal, args: {bid: 10},
                 expect: {code: limit-exceeded, wait: 23h}}

    All the keys are in docs/testing-policies.md. The exit code is 0 where all is as expected, 1
    where it is not, or where less than --min-coverage of the policy's parts was seen at work, and
    64 where POLICY or CASES cannot be used.
    """
    from gateway.author import cases as reading
    from gateway.author import coverage, document, testing

    policies = load_policy(policy)
    faults: list[document.Fault] = []
    files: dict[str, list[reading.Case]] = {}
    for path in cases:
        try:
            files[str(path)] = reading.load(path)
        except document.DocumentError as error:
            faults += error.faults
    if faults:
        complain(*faults)
        raise click.exceptions.Exit(EXIT_INVALID)
    began = time.perf_counter()
    suites = {file: testing.run(policies, found) for file, found in files.items()}
    seconds = time.perf_counter() - began
    results = [result for suite in suites.values() for result in suite]
    parts = coverage.parts(document.read(policy), policies)
    seen = {part for result in results for part in result.bitten}
    never = [part for part in parts if part not in seen]
    percent = 100 * (len(parts) - len(never)) / len(parts) if parts else 100.0
    if junit is not None:
        _write_junit(junit, suites, seconds)
    if style == "json":
        _tell_json(policies, results, len(parts), never, percent)
    else:
        _tell(suites, verbose)
        _tell_coverage(len(parts), never, percent)
        failed = sum(not result.passed for result in results)
        calls = sum(result.calls for result in results)
        summary = f"{counted(len(results), 'case')}, {counted(calls, 'call')}, {failed} failed"
        click.echo(summary)
    covered = min_coverage is None or percent >= min_coverage
    if not covered:
        report(f"error: {percent:.0f}% of the policy was seen at work, less than {min_coverage:g}%")
    if not covered or not all(result.passed for result in results):
        raise click.exceptions.Exit(EXIT_PROBLEMS)


def _tell(suites: dict[str, list[Result]], verbose: bool) -> None:
    for file, results in suites.items():
        if verbose:
            click.echo(file)
            for result in results:
                click.echo(f"  {'ok  ' if result.passed else 'FAIL'}  {result.case.name}")
        else:
            click.echo(f"{file} " + "".join("." if one.passed else "F" for one in results))
    for result in (one for results in suites.values() for one in results if not one.passed):
        click.echo("\n" + "\n".join(_failed(result)))
    if any(not one.passed for results in suites.values() for one in results):
        click.echo()


def _failed(result: Result) -> list[str]:
    """All that is said of a case that failed; the first line names it."""
    case = result.case
    lines = [f"FAIL {case.file}:{case.line}:{case.column}: {case.name}"]
    for failure in result.failures[:MOST_SHOWN]:
        lines += [f"  {line}" for line in _failure(case.file, failure)]
    if len(result.failures) > MOST_SHOWN:
        lines.append(f"  and {counted(len(result.failures) - MOST_SHOWN, 'more failed call')}")
    return lines


def _failure(file: str, failure: Failure) -> list[str]:
    from gateway.author.calls import moment
    from gateway.cli.explain import words

    which = f", call {failure.number}" if failure.number else ""
    lines = [f"line {failure.line}{which}, at {moment(failure.now_ns)}: {failure.call.shown}"]
    for name, (wanted, got) in failure.differences.items():
        lines.append(f"  {name:<9} expected {_value(name, wanted)}, got {_value(name, got)}")
    # The explanation's first line names the tool again.
    return [*lines, *words("", failure.told)[1:]]


def _value(name: str, value: Any) -> str:
    from gateway.author.calls import span

    if value is None:
        return "none"
    if name == "wait":
        return span(value)
    return json.dumps(value, ensure_ascii=False) if name in ("message", "shadow") else f"{value}"


def _tell_coverage(parts: int, never: Sequence[str], percent: float) -> None:
    click.echo(f"coverage: {parts - len(never)} of {parts} parts of the policy ({percent:.0f}%)")
    for pointer in never:
        click.echo(f"  never at work  {pointer}")


def _tell_json(
    policies: PolicySet, results: list[Result], parts: int, never: list[str], percent: float
) -> None:
    told = {
        "policy": policies.digest,
        "passed": sum(result.passed for result in results),
        "failed": sum(not result.passed for result in results),
        "coverage": {"parts": parts, "percent": round(percent, 1), "never": never},
        "cases": [
            {
                "name": result.case.name,
                "file": result.case.file,
                "line": result.case.line,
                "calls": result.calls,
                "passed": result.passed,
                "failures": [_as_data(failure) for failure in result.failures],
            }
            for result in results
        ],
    }
    click.echo(json.dumps(told))


def _as_data(failure: Failure) -> dict[str, Any]:
    differences = {
        name: {"expected": wanted, "got": got}
        for name, (wanted, got) in failure.differences.items()
    }
    return {
        "line": failure.line,
        "repetition": failure.number or 1,
        "now_ns": failure.now_ns,
        "call": failure.call.shown,
        "differences": differences,
        "explanation": failure.told,
    }


def _write_junit(path: Path, suites: dict[str, list[Result]], seconds: float) -> None:
    from gateway.author.junit import document

    words = {
        id(result): "\n".join(_failed(result))
        for results in suites.values()
        for result in results
        if not result.passed
    }
    try:
        path.write_bytes(document(suites, words, seconds))
    except OSError as error:
        cannot("write", path, error)
