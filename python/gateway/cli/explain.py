"""`interlock explain`: which rule decides a call, and why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from gateway.cli.problems import load_policy


@click.command("explain")
@click.argument("policy", type=click.Path(path_type=Path))
@click.option("--tool", required=True, help="The tool that is called.")
@click.option("--args", "arguments", default="{}", metavar="JSON", help="Its arguments.")
@click.option("--grant", default="default", show_default=True, help="Who calls.")
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text")
def command(policy: Path, tool: str, arguments: str, grant: str, style: str) -> None:
    """Say what a policy makes of one call, with all its limits unused. Nothing is charged."""
    from gateway._core import Caller, Engine, LimitTable

    engine = Engine(load_policy(policy), LimitTable(64))
    # The arguments go in as they were typed: what the core refuses in them, it should show.
    body = (
        '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":'
        f'{{"name":{json.dumps(tool)},"arguments":{arguments}}}}}'
    )
    told = engine.explain(Caller(grant, server="default"), body.encode())
    if style == "json":
        click.echo(told)
    else:
        for line in words(tool, json.loads(told)):
            click.echo(line)


def words(tool: str, told: Mapping[str, Any]) -> list[str]:
    """An explanation as lines for people."""
    decision = told["decision"]
    verdict = "allowed" if told["allowed"] else f"refused: {decision['code']}"
    lines = [f"{tool}: {verdict}"]
    if not told["allowed"]:
        lines += [f"  by        {decision['rule']}"] if decision.get("rule") else []
        lines += [f"  because   {decision['message']}"]
    lines += [f"  entry     {pointer} applies" for pointer in told["entries"]]
    if not told["entries"]:
        lines.append("  entry     none applies")
    holds = {"true": "holds", "false": "does not hold", "indeterminate": "cannot be decided"}
    lines += [f"  rule      {rule['rule']} {holds[rule['holds']]}" for rule in told["rules"]]
    lines += [f"  limit     {_limit(limit)}" for limit in told["limits"]]
    lines += [
        f"  shadow    {shadow['rule']} would refuse: {shadow['code']}" for shadow in told["shadow"]
    ]
    return lines


def _limit(limit: Mapping[str, Any]) -> str:
    per = f" a {limit['window']}" if limit["window"] else " at once"
    room = f"{limit['remaining']} left" if limit["room"] else "no room"
    return f"{limit['rule']} `{limit['counter']}`: {limit['limit']}{per}, {room}"
