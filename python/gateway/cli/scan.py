"""`interlock scan`: what agents can call, how risky it is, and what to allow."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli import locking
from gateway.cli.problems import EXIT_INVALID, EXIT_UNAVAILABLE, cannot, report
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
    from gateway.author.assess import Assessment
    from gateway.author.targets import Target


@click.command("scan", cls=Split)
@click.argument("url", required=False)
@clients_option("All servers that desktop clients on this machine are set up with.")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="All servers of a sidecar's configuration.",
)
@tools_option
@click.option("--name", default="", help="What to call the one server.")
@asking_options
@click.option(
    "--classes",
    "overrides",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Classes that you set yourself: JSON, {tool: class}.",
)
@click.option(
    "--html",
    "page",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a report to send.",
)
@click.option(
    "--write",
    "proposed",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the proposed policy; of several servers, one each into a folder of this name.",
)
@click.option("--force", is_flag=True, help="Let --write replace what is there.")
@click.option("--lock", "locks", is_flag=True, help="Pin the definitions as they are now.")
@click.option("--diff", "differs", is_flag=True, help="Tell what is not as it was pinned.")
@click.option(
    "--accept",
    multiple=True,
    metavar="TOOL",
    help="With --diff: pin this one as it is now; `*` for all.",
)
@click.option(
    "--lock-file",
    type=click.Path(path_type=Path),
    default="interlock.lock",
    show_default=True,
    metavar="FILE",
    help="Where definitions are pinned.",
)
@click.option("--brief", is_flag=True, help="A line for each tool, without the reasons.")
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text")
@click.pass_context
def command(
    ctx: click.Context,
    *,
    url: str | None,
    clients: bool,
    config: Path | None,
    listed: Path | None,
    name: str,
    headers: tuple[str, ...],
    variables: tuple[str, ...],
    timeout_s: float,
    overrides: Path | None,
    page: Path | None,
    proposed: Path | None,
    force: bool,
    locks: bool,
    differs: bool,
    accept: tuple[str, ...],
    lock_file: Path,
    brief: bool,
    style: str,
) -> None:
    """List what a server's tools do, how bad a wrong call can be, and what to allow.

    The server is given by its URL, by a command after `--`, by the clients that use it, or by a
    file. It is asked for its list of tools, and no tool is called.

    \b
      interlock scan http://127.0.0.1:8000/mcp
      interlock scan -- npx -y @modelcontextprotocol/server-filesystem /tmp
      interlock scan --clients --html report.html
      interlock scan --config interlock.yaml
      interlock scan --write policy.json -- my-mcp-server --flag
      interlock scan --lock --name shop -- my-mcp-server --flag
      interlock scan --diff --name shop -- my-mcp-server --flag
    """
    given = ctx.meta.get("server_command")
    ways = (url is not None, given is not None, config is not None, clients, listed is not None)
    if sum(ways) != 1:
        wanted = "a URL, a command after `--`, --config, --clients, --tools"
        raise click.UsageError(f"give one of: {wanted}", ctx)
    if given == ():
        raise click.UsageError("the server's command is needed after `--`", ctx)
    if locks and (differs or accept):
        raise click.UsageError("give --lock or --diff, not both", ctx)
    from gateway.author.assess import assess, read_overrides
    from gateway.author.report import data, lines

    own = read_overrides(overrides) if overrides is not None else {}
    if listed is not None:
        listings, failed = [saved(listed, name)], False
    else:
        if config is not None:
            targets = _configured(config)
        elif clients:
            targets = of_clients()
        else:
            targets = [target(url, given or (), name, headers, variables)]
        answers = ask(targets, timeout_s)
        listings = [listing for listing in answers if listing is not None]
        failed = len(listings) < len(answers)
    if not listings:
        # Nobody told anything: an empty report, lock or comparison would look like good news.
        if style == "json":
            click.echo(json.dumps({"changes" if differs or accept else "servers": []}))
        raise click.exceptions.Exit(EXIT_UNAVAILABLE)
    found = assess(listings, own)
    if page is not None:
        _write(page, _html(found))
    if proposed is not None:
        _propose(proposed, found, force=force)
    if locks:
        locking.pin(lock_file, listings)
    if differs or accept:
        locking.differ(lock_file, listings, found, accept, style, failed=failed)
    elif style == "json":
        click.echo(json.dumps(data(found)))
    else:
        for line in lines(found, why=not brief):
            click.echo(line)
    if failed:
        raise click.exceptions.Exit(EXIT_UNAVAILABLE)


def _configured(path: Path) -> list[Target]:
    """The servers of a configuration, whose policies need not be there yet.

    Raises:
        SettingsError: it cannot be used.
    """
    from gateway.author.targets import Target
    from gateway.config.source import Whole
    from gateway.errors import SettingsError

    whole = Whole(path, {}, os.environ, may_lack_grants=True)
    if whole.problems or whole.settings is None:
        raise SettingsError(whole.problems)
    return [
        Target(
            one.name,
            url=one.url,
            command=one.command or (),
            env=one.env,
            headers=one.headers,
            source=str(path),
            ca_file=one.ca_file,
        )
        for one in whole.settings.servers
    ]


def _html(found: list[Assessment]) -> str:
    from gateway.author.page import html

    return html(found)


def _propose(path: Path, found: list[Assessment], *, force: bool) -> None:
    """Write a policy for each server; a policy that is there was written by someone.

    Raises:
        click.exceptions.Exit: it cannot be; everything was printed.
    """
    from gateway.author.recommend import file_name, policy, written
    from gateway.policies import MAX_POLICY_BYTES

    files = (
        {path: found[0]}
        if len(found) == 1 and not path.is_dir()
        else {path / file_name(one.server): one for one in found}
    )
    for file, one in files.items():
        text = written(policy(one.server, one.tools))
        if len(text.encode()) > MAX_POLICY_BYTES:
            report(f"error: a policy for {len(one.tools):,} tools is larger than one may be")
            raise click.exceptions.Exit(EXIT_INVALID)
        if file.exists() and not force:
            report(f"error: `{file}` is there already")
            report("help: name another file, or say `--force` to replace it")
            raise click.exceptions.Exit(EXIT_INVALID)
        if file.parent == path:
            path.mkdir(exist_ok=True)
        _write(file, text)
        report(f"wrote `{file}`; look at it with `interlock check {file}`")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        cannot("write", path, error)
