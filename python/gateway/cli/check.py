"""`interlock check`: every problem of policy documents, and how they fit a server's tools."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli.problems import EXIT_PROBLEMS, EXIT_UNAVAILABLE
from gateway.cli.servers import Split, ask, saved

if TYPE_CHECKING:
    from gateway._core import Diagnostic, PolicySet
    from gateway.author.tools import Tool

TIMEOUT_S = 60.0


ELSEWHERE = ("unset-variable", "unreadable-secret")
"""Problems of a configuration that may be none where it is served."""


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


@click.command("check", cls=Split)
@click.argument("policies", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--upstream", metavar="URL", help="A server whose tools the policies are for.")
@click.option(
    "--tools",
    "listed",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Its saved `tools/list` answer, instead.",
)
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text")
@click.option("--strict", is_flag=True, help="Let warnings count as problems.")
@click.pass_context
def command(
    ctx: click.Context,
    *,
    policies: tuple[Path, ...],
    upstream: str | None,
    listed: Path | None,
    style: str,
    strict: bool,
) -> None:
    """Find every problem of POLICIES, or of configurations and the policies that they name.

    `-- COMMAND` may name a stdio server, as --upstream does.

    With a server, its tools are asked for, and what the policies say of them is compared: names
    that no tool has, arguments that a tool has not or that are of another type, arguments that a
    call may leave out under a bound, and tools that no entry names.

    \b
      interlock check policy.json
      interlock check policy.json --upstream http://127.0.0.1:8000/mcp
      interlock check policy.json -- my-mcp-server --flag
    """
    server_command = ctx.meta.get("server_command")
    if sum((upstream is not None, server_command is not None, listed is not None)) > 1:
        raise click.UsageError("give one of: --upstream, a command after `--`, --tools")
    findings: list[Finding] = []
    good: list[tuple[Path, PolicySet]] = []
    files = 0
    for path in policies:
        if _is_configuration(path):
            compiled, named = _configuration(path, findings)
            files += 1 + named
            good += compiled
            continue
        files += 1
        policy = _compile(path, findings)
        if policy is not None:
            good.append((path, policy))
    if good and (upstream is not None or server_command or listed is not None):
        tools = _tools(upstream, server_command, listed)
        for path, policy in good:
            findings.extend(_against(path, policy, tools))
    if style == "json":
        click.echo(json.dumps({"problems": [asdict(finding) for finding in findings]}))
    else:
        for finding in findings:
            for line in finding.lines():
                click.echo(line)
        click.echo(_summary(files, findings), err=True)
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


def _is_configuration(path: Path) -> bool:
    """Whether a document is about servers; one that cannot be read is nothing in particular."""
    from gateway._core import read_document

    try:
        content, _, _ = read_document(path.read_bytes(), path.name)
    except OSError:
        return False
    return isinstance(content, dict) and "servers" in content and "default" not in content


def _configuration(path: Path, findings: list[Finding]) -> tuple[list[tuple[Path, PolicySet]], int]:
    """Check a configuration: the policies that could be compiled, and how many it names."""
    from gateway.config.source import Whole

    whole = Whole(path, {}, os.environ)
    compiled = whole.compile()
    for problem in whole.problems:
        file, line, column = (problem.place or f"{path}:1:1").rsplit(":", 2)
        # The machine that checks is often not the one that has the secrets.
        severity = "warning" if problem.code in ELSEWHERE else "error"
        found = Finding(
            file,
            int(line),
            int(column),
            severity,
            problem.code,
            problem.message,
            problem.help,
            problem.at,
        )
        findings.append(found)
    for named, policy in compiled.items():
        findings.extend(_findings(named, policy.warnings))
    return list(compiled.items()), whole.policies


def _findings(path: Path, diagnostics: Iterable[Diagnostic]) -> list[Finding]:
    return [
        Finding(str(path), d.line, d.column, d.severity, d.code, d.message, d.help, d.path)
        for d in diagnostics
    ]


def _tools(
    upstream: str | None, server_command: tuple[str, ...] | None, listed: Path | None
) -> Sequence[Tool]:
    """What the server offers."""
    from gateway.author.targets import Target

    if listed is not None:
        return saved(listed, "").tools
    (listing,) = ask([Target(url=upstream, command=server_command or ())], TIMEOUT_S)
    if listing is None:
        raise click.exceptions.Exit(EXIT_UNAVAILABLE)
    return listing.tools


def _against(path: Path, policy: PolicySet, tools: Sequence[Tool]) -> list[Finding]:
    """Where a policy and a server's tools do not meet."""
    from gateway._core import read_document
    from gateway.author.fit import misfits

    document, places, _ = read_document(path.read_bytes(), path.name)
    found = []
    for one in misfits(document, policy, tools):
        line, column = places.get(one.pointer, (1, 1, 1, 1))[:2]
        found.append(
            Finding(
                str(path), line, column, "warning", one.code, one.message, one.help, one.pointer
            )
        )
    return found


def _summary(files: int, findings: list[Finding]) -> str:
    errors = sum(finding.severity == "error" for finding in findings)
    warnings = len(findings) - errors
    return f"{_count(files, 'file')}, {_count(errors, 'error')}, {_count(warnings, 'warning')}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
