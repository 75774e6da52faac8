"""`interlock check`: every problem of policy documents, and how they fit a server's tools."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli.problems import EXIT_PROBLEMS, EXIT_UNAVAILABLE, report

if TYPE_CHECKING:
    from gateway._core import Diagnostic, PolicySet


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to say of one document."""

    file: str
    line: int
    column: int
    severity: str
    code: str
    message: str
    help: str | None
    path: str

    def lines(self) -> list[str]:
        """For people."""
        place = f"{self.file}:{self.line}:{self.column}"
        first = f"{place}: {self.severity}[{self.code}]: {self.message}"
        return [first] + ([f"help: {self.help}"] if self.help is not None else [])


class _Check(click.Command):
    """Keeps apart what stands before `--` and after it, which click would join."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            ctx.meta["server_command"] = args[at + 1 :]
            args = args[:at]
        return super().parse_args(ctx, args)


@click.command("check", cls=_Check)
@click.argument("policies", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--upstream", metavar="URL", help="A server whose tools the policies are for.")
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text")
@click.option("--strict", is_flag=True, help="Let warnings count as problems.")
@click.pass_context
def command(
    ctx: click.Context, policies: tuple[Path, ...], upstream: str | None, style: str, strict: bool
) -> None:
    """Find every problem of POLICIES. `-- COMMAND` may name a stdio server, as --upstream does."""
    server_command = ctx.meta.get("server_command")
    if upstream is not None and server_command is not None:
        raise click.UsageError("give --upstream or a command after `--`, not both")
    findings: list[Finding] = []
    good: list[tuple[Path, PolicySet]] = []
    for path in policies:
        policy = _compile(path, findings)
        if policy is not None:
            good.append((path, policy))
    if good and (upstream is not None or server_command):
        tools = _tools(upstream, server_command)
        for path, policy in good:
            findings.extend(_against(path, policy, tools))
    if style == "json":
        click.echo(json.dumps({"problems": [asdict(finding) for finding in findings]}))
    else:
        for finding in findings:
            for line in finding.lines():
                click.echo(line)
        click.echo(_summary(len(policies), findings), err=True)
    if any(finding.severity == "error" or strict for finding in findings):
        raise click.exceptions.Exit(EXIT_PROBLEMS)


def _compile(path: Path, findings: list[Finding]) -> PolicySet | None:
    from gateway._core import PolicyError
    from gateway.policies import PolicySource

    try:
        policy = PolicySource(path).load()
    except OSError as error:
        message = f"cannot read it: {(error.strerror or str(error)).lower()}"
        findings.append(Finding(str(path), 1, 1, "error", "unreadable", message, None, ""))
        return None
    except PolicyError as error:
        findings.extend(_findings(path, error.diagnostics))
        return None
    findings.extend(_findings(path, policy.warnings))
    return policy


def _findings(path: Path, diagnostics: Iterable[Diagnostic]) -> list[Finding]:
    return [
        Finding(str(path), d.line, d.column, d.severity, d.code, d.message, d.help, d.path)
        for d in diagnostics
    ]


def _tools(upstream: str | None, server_command: list[str] | None) -> list[str]:
    """What the server offers."""
    from gateway.cli import survey

    try:
        return survey.tools(upstream, server_command)
    except survey.SurveyError as error:
        report(f"error: {error}")
        raise click.exceptions.Exit(EXIT_UNAVAILABLE) from error


def _against(path: Path, policy: PolicySet, tools: list[str]) -> list[Finding]:
    """Where a policy and a server's tools do not meet."""
    from gateway._core import Caller, Engine, LimitTable

    engine, caller = Engine(policy, LimitTable(64)), Caller("check", server="default")
    matched: set[str] = set()
    uncovered = []
    for tool in tools:
        params = {"name": tool, "arguments": {}}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        told = json.loads(engine.explain(caller, json.dumps(body).encode()))
        matched.update(told["entries"])
        if told["decision"]["code"] == "default-deny" or (told["allowed"] and not told["entries"]):
            uncovered.append(tool)
    found = [
        _warn(path, "entry-unused", f"`{_last(pointer)}` matches no tool of the server", pointer)
        for pointer in policy.entries
        if pointer.startswith("/tools/") and pointer not in matched
    ]
    if uncovered:
        names = ", ".join(f"`{tool}`" for tool in uncovered)
        message = f"no entry covers {_count(len(uncovered), 'tool')}, the default decides: {names}"
        found.append(_warn(path, "tool-uncovered", message, "/tools"))
    return found


def _warn(path: Path, code: str, message: str, pointer: str) -> Finding:
    """A warning at the key that a pointer ends in, as far as it can be found in the text."""
    key = re.escape(_last(pointer))
    text = path.read_text(encoding="utf-8")
    found = re.search(rf"""["']{key}["']\s*:|(?<!\S){key}\s*:""", text)
    at = found.start() if found is not None else 0
    line = text.count("\n", 0, at) + 1
    column = at - text.rfind("\n", 0, at)
    return Finding(str(path), line, column, "warning", code, message, None, pointer)


def _last(pointer: str) -> str:
    """The key that an RFC 6901 pointer ends in."""
    return pointer.rpartition("/")[2].replace("~1", "/").replace("~0", "~")


def _summary(files: int, findings: list[Finding]) -> str:
    errors = sum(finding.severity == "error" for finding in findings)
    warnings = len(findings) - errors
    return f"{_count(files, 'file')}, {_count(errors, 'error')}, {_count(warnings, 'warning')}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
