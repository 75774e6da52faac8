"""`--lock`, `--diff` and `--accept` of `interlock scan`: the definitions that someone has read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli.problems import EXIT_PROBLEMS, cannot, report

if TYPE_CHECKING:
    from gateway.author.assess import Assessment
    from gateway.author.pins import Change, Lock
    from gateway.author.tools import Listing

ALL = "*"


def pin(path: Path, listings: Sequence[Listing]) -> None:
    """Pin servers that are not pinned yet.

    Raises:
        click.exceptions.Exit: one is, and offers something else now; everything was printed.
    """
    from gateway.author.calls import counted
    from gateway.author.pins import Lock, accepted, differences, read

    lock = read(path) if path.exists() else Lock()
    known = [listing for listing in listings if listing.server in lock.servers]
    if changes := differences(lock, known):
        report(f"error: `{path}` pins {_servers(changes)} already, and there are changes")
        report("help: read them with --diff, and accept them with --accept")
        raise click.exceptions.Exit(EXIT_PROBLEMS)
    fresh = [listing for listing in listings if listing.server not in lock.servers]
    for listing in fresh:
        lock = lock.with_server(listing.server, {})
    _put(accepted(lock, fresh, None), path)
    number = sum(len(listing.tools) for listing in fresh)
    report(f"pinned {counted(number, 'tool')} in `{path}`")


def differ(
    path: Path,
    listings: Sequence[Listing],
    found: Sequence[Assessment],
    accept: Sequence[str],
    style: str,
    *,
    failed: bool,
) -> None:
    """Print what servers offer otherwise than it is pinned, after accepting some of it.

    Args:
        failed: not all servers told what they offer.

    Raises:
        click.exceptions.Exit: something is left to be read.
    """
    from gateway.author.pins import accepted, differences, read

    lock = read(path)
    if accept:
        lock = accepted(lock, listings, None if ALL in accept else accept)
        _put(lock, path)
    changes = differences(lock, listings)
    if style == "json":
        click.echo(json.dumps({"changes": [one.data() for one in changes]}))
    else:
        if not changes:
            which = "every tool that was told of" if failed else "every tool"
            click.echo(f"{which} is as it was pinned")
        for line in _lines(changes, found):
            click.echo(line)
    if changes:
        raise click.exceptions.Exit(EXIT_PROBLEMS)


def _lines(changes: Sequence[Change], found: Sequence[Assessment]) -> list[str]:
    """Changes with all there is to read before they are accepted."""
    from gateway.author.assess import shown

    tools = {(one.server, tool.name): tool for one in found for tool in one.tools}
    lines = []
    for one in changes:
        name = shown(one.tool)
        words = {
            "changed": f"{name}: {', '.join(one.parts)}",
            "renamed": f"{shown(one.before or '')} is now {name}",
        }
        lines.append(f"{shown(one.server)}  {one.kind:8}  {words.get(one.kind, name)}")
        tool = tools.get((one.server, one.tool))
        if tool is not None:
            lines.append(
                f"    {tool.kind}, {tool.severity}; it says: {shown(tool.tool.description)}"
            )
            lines += [f"    ! {flag.slug}: {shown(flag.why)}" for flag in tool.flags]
    return lines


def _servers(changes: Sequence[Change]) -> str:
    return ", ".join(f"`{name}`" for name in dict.fromkeys(one.server for one in changes))


def _put(lock: Lock, path: Path) -> None:
    from gateway.author.pins import write

    try:
        write(lock, path)
    except OSError as error:
        cannot("write", path, error)
