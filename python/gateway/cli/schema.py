"""`interlock schema`: for editors and continuous integration."""

from __future__ import annotations

import click


@click.command("schema")
@click.argument("document", type=click.Choice(["policy"]), default="policy")
def command(document: str) -> None:
    """Print the JSON Schema (draft 2020-12) of a document."""
    from gateway._core import policy_schema

    assert document == "policy"
    click.echo(policy_schema().rstrip("\n"))
