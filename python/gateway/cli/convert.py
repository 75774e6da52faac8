"""`interlock convert`: policies from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import click

from gateway.cli.problems import EXIT_INVALID, EXIT_PROBLEMS, cannot, complain, report


@click.command("convert")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Where to write the policy.")
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text")
def command(source: Path, output: Path | None, style: str) -> None:
    """Say a policy of PolicyLayer's Intercept, or of the older short form, in this language.

    The policy goes to standard output, or to --output. What is not exactly as it was is told on
    standard error, each with its place and one of

    \b
        lost      has no counterpart; a rule that refuses stands in its place
        stricter  refuses more, in the case that is told
        laxer     refuses less, likewise
        note      refuses the same

    What comes of it always loads. The exit code is 1 where something was lost. With --format json
    one object has both: {"policy": …, "notes": […]}.
    """
    from gateway.author.convert import convert
    from gateway.author.document import DocumentError

    try:
        converted = convert(source)
    except DocumentError as error:
        complain(*error.faults)
        raise click.exceptions.Exit(EXIT_INVALID) from error
    text = json.dumps(converted.policy, indent=2, ensure_ascii=False) + "\n"
    if style == "json":
        notes = [note.data() for note in converted.notes]
        click.echo(json.dumps({"policy": converted.policy, "notes": notes}))
    else:
        for note in converted.notes:
            report(note.text())
    if output is not None:
        try:
            output.write_text(text, encoding="utf-8")
        except OSError as error:
            cannot("write", output, error)
    elif style == "text":
        click.echo(text, nl=False)
    if any(note.level == "lost" for note in converted.notes):
        raise click.exceptions.Exit(EXIT_PROBLEMS)
