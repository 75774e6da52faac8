"""`interlock schema`: for editors and continuous integration."""

from __future__ import annotations

import click


@click.command("schema")
@click.argument("document", type=click.Choice(["policy", "config"]), default="policy")
def command(document: str) -> None:
    """Print the JSON Schema (draft 2020-12) of a document."""
    if document == "config":
        from gateway.config.document import config_schema

        click.echo(config_schema())
        return
    from gateway._core import policy_schema

    click.echo(policy_schema().rstrip("\n"))
