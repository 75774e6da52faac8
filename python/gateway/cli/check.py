"""`interlock check`: every problem of policy documents, and how they fit a server's tools."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.author.calls import counted
from gateway.author.document import Fault
from gateway.cli.problems import EXIT_INVALID, EXIT_PROBLEMS, EXIT_UNAVAILABLE, report
from gateway.cli.servers import (
    Split,
    ask,
    asking_options,
    clients_option,
    of_clients,
    saved,
    target,
    tools_option,
)

if TYPE_CHECKING:
    from gateway._core import Diagnostic, PolicySet
    from gateway.author.targets import Target
    from gateway.author.tools import Listing, Tool

ELSEWHERE = ("unset-variable", "unreadable-secret")
"""Problems of a configuration that may be none where it is served."""


@click.command("check", cls=Split)
@click.argument("policies", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--upstream", metavar="URL", help="A server whose tools the policies are for.")
@clients_option("Each policy is for the server of its file's name, as desktop clients start it.")
@tools_option
@asking_options
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text")
@click.option("--strict", is_flag=True, help="Let warnings count as problems.")
@click.pass_context
def command(
    ctx: click.Context,
    *,
    policies: tuple[Path, ...],
    upstream: str | None,
    clients: bool,
    listed: Path | None,
    headers: tuple[str, ...],
    variables: tuple[str, ...],
    timeout_s: float,
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
      interlock check policies/*.json --clients
    """
    server_command = ctx.meta.get("server_command")
    ways = (upstream is not None, server_command is not None, listed is not None, clients)
    if sum(ways) > 1:
        raise click.UsageError("give one of: --upstream, a command after `--`, --tools, --clients")
    if server_command == ():
        raise click.UsageError("the server's command is needed after `--`", ctx)
    findings: list[Fault] = []
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
    if good and any(ways):
        paths = [path for path, _ in good]
        if listed is not None:
            listings = [saved(listed, "")] * len(good)
        elif clients:
            listings = _asked(_named_after(paths), timeout_s)
        else:
            asked = target(upstream, server_command or (), "", headers, variables)
            listings = _asked([asked], timeout_s) * len(good)
        for (path, policy), listing in zip(good, listings, strict=True):
            findings.extend(_against(path, policy, listing.tools))
    if style == "json":
        click.echo(json.dumps({"problems": [asdict(finding) for finding in findings]}))
    else:
        for finding in findings:
            for line in finding.lines():
                click.echo(line)
        click.echo(_summary(files, findings), err=True)
    if any(finding.severity == "error" or strict for finding in findings):
        raise click.exceptions.Exit(EXIT_PROBLEMS)


def _compile(path: Path, findings: list[Fault]) -> PolicySet | None:
    from gateway._core import PolicyError
    from gateway.policies import PolicySource

    try:
        policy = PolicySource(path).load()
    except OSError as error:
        message = f"cannot read it: {(error.strerror or str(error)).lower()}"
        findings.append(Fault(str(path), 1, 1, "unreadable", message))
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


def _configuration(path: Path, findings: list[Fault]) -> tuple[list[tuple[Path, PolicySet]], int]:
    """Check a configuration: the policies that could be compiled, and how many it names."""
    from gateway.config.source import Whole

    whole = Whole(path, {}, os.environ)
    compiled = whole.compile()
    for problem in whole.problems:
        file, line, column = (problem.place or f"{path}:1:1").rsplit(":", 2)
        # The machine that checks is often not the one that has the secrets.
        severity = "warning" if problem.code in ELSEWHERE else "error"
        place = (file, int(line), int(column))
        findings.append(
            Fault(*place, problem.code, problem.message, problem.help, problem.at, severity)
        )
    for named, policy in compiled.items():
        findings.extend(_findings(named, policy.warnings))
    return list(compiled.items()), whole.policies


def _findings(path: Path, diagnostics: Iterable[Diagnostic]) -> list[Fault]:
    return [Fault.of(str(path), diagnostic) for diagnostic in diagnostics]


def _asked(targets: Sequence[Target], timeout_s: float) -> list[Listing]:
    """What servers offer.

    Raises:
        click.exceptions.Exit: one did not tell; everything was printed.
    """
    listings = [listing for listing in ask(targets, timeout_s) if listing is not None]
    if len(listings) < len(targets):
        raise click.exceptions.Exit(EXIT_UNAVAILABLE)
    return listings


def _named_after(paths: Sequence[Path]) -> list[Target]:
    """The client's server that each policy is for: `scan --write` calls the file so.

    Raises:
        click.exceptions.Exit: there is none; everything was printed.
    """
    from gateway._core import did_you_mean
    from gateway.author.recommend import file_name

    targets = {Path(file_name(one.name)).stem: one for one in of_clients()}
    strangers = [path for path in paths if path.stem not in targets]
    for path in strangers:
        report(f"error: no client has a server `{path.stem}`, which `{path}` would be for")
        meant = did_you_mean(path.stem, list(targets))
        names = ", ".join(f"`{name}`" for name in targets)
        report(f"help: did you mean `{meant}`?" if meant else f"help: the servers are {names}")
    if strangers:
        raise click.exceptions.Exit(EXIT_INVALID)
    return [targets[path.stem] for path in paths]


def _against(path: Path, policy: PolicySet, tools: Sequence[Tool]) -> list[Fault]:
    """Where a policy and a server's tools do not meet."""
    from gateway._core import read_document
    from gateway.author.fit import misfits

    document, places, _ = read_document(path.read_bytes(), path.name)
    found = []
    for one in misfits(document, policy, tools):
        line, column = places.get(one.pointer, (1, 1, 1, 1))[:2]
        place = (str(path), line, column)
        found.append(Fault(*place, one.code, one.message, one.help, one.pointer, "warning"))
    return found


def _summary(files: int, findings: list[Fault]) -> str:
    errors = sum(finding.severity == "error" for finding in findings)
    warnings = len(findings) - errors
    return f"{counted(files, 'file')}, {counted(errors, 'error')}, {counted(warnings, 'warning')}"
