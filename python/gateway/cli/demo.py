"""`interlock demo`: see it work."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec

import click

from gateway.cli.problems import EXIT_INVALID, EXIT_PROBLEMS, report


@click.command("demo")
@click.option("--once", is_flag=True, help="End after the calls; exit 0 only if all went well.")
@click.option("--listen", default="127.0.0.1:0", metavar="HOST:PORT", help="Where agents connect.")
@click.option("--admin", default="127.0.0.1:0", metavar="HOST:PORT", help="Where operators look.")
def command(once: bool, listen: str, admin: str) -> None:
    """Start a bundled MCP server and a sidecar, and call tools until the policy refuses."""
    if find_spec("mcp") is None:
        report("error: the demo needs the MCP library")
        report("help: pip install 'interlock[demo]'")
        raise click.exceptions.Exit(EXIT_INVALID)
    from gateway.demo.play import play

    if not asyncio.run(play(once=once, listen=listen, admin=admin)):
        raise click.exceptions.Exit(EXIT_PROBLEMS)
