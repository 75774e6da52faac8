"""docs/operations.md and docs/metrics.md: the commands, options, variables, endpoints and metrics
that there are."""

from __future__ import annotations

import asyncio
import re
import shlex

import click
import pytest

from gateway import LimitTable
from gateway.cli import VERBS, interlock
from gateway.operate.admin import create_admin
from gateway.operate.metrics import render
from gateway.settings import MAX_WORKERS, Settings
from support.door import Client, Reply
from support.operators import asked, view
from support.pages import ROOT, Row, blocks, codes, page, plain, sections, table

PAGE = "docs/operations.md"
PARTS = sections(PAGE, 2)
PAGES = ["README.md", *(str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("docs/*.md")))]


def verb(name: str) -> click.Command:
    found = interlock.get_command(click.Context(interlock), name)
    assert found is not None
    return found


def options(name: str) -> dict[str, click.Option]:
    """The options of a verb by their long name."""
    return {
        parameter.opts[0]: parameter
        for parameter in verb(name).params
        if isinstance(parameter, click.Option)
    }


def rows(part: str) -> list[Row]:
    return list(table(PARTS[part].splitlines()))


def test_the_commands_are_those_there_are() -> None:
    told = {plain(row["command"]).removeprefix("interlock "): row for row in rows("Commands")}
    assert {name: row["what it does"] for name, row in told.items()} == VERBS
    for name in VERBS:
        assert verb(name).help


OPTIONS = rows("Options of `run` and `wrap`")


@pytest.mark.parametrize("name", ["run", "wrap"])
def test_the_options_are_those_there_are(name: str) -> None:
    told = [plain(row["option"]).split()[0] for row in OPTIONS if name in codes(row["of"])]
    assert sorted(told) == sorted(options(name))


@pytest.mark.parametrize("row", OPTIONS, ids=lambda row: plain(row["option"]))
def test_an_option_is_as_it_is_told(row: Row) -> None:
    name, _, value = plain(row["option"]).partition(" ")
    for where in codes(row["of"]):
        option = options(where)[name]
        assert option.envvar == plain(row["variable"])
        assert bool(value) is not option.is_flag
        assert option.required is (row["default"] == "required")
        if row["default"].startswith("`"):
            assert str(option.default) == plain(row["default"])
        if option.multiple:
            assert "several times" in row["meaning"]


def test_the_most_workers_are_as_told() -> None:
    (row,) = [row for row in OPTIONS if row["option"].startswith("`--workers")]
    assert f"up to {MAX_WORKERS}" in row["meaning"]


def commands() -> list[tuple[str, str]]:
    """Every command line of every page's shell blocks that runs the command."""
    return [
        (name, line)
        for name in PAGES
        for block in blocks(name)
        if block.language == "sh"
        for line in block.text.splitlines()
        if re.search(r"\binterlock [a-z]", line)
    ]


@pytest.mark.parametrize(("name", "line"), commands())
def test_a_command_line_is_understood(name: str, line: str) -> None:
    words = shlex.split(line.replace(".venv/bin/", ""), comments=True)
    # The last of them: a container may be called so as well.
    at = max(index for index, word in enumerate(words[:-1]) if word == "interlock")
    command, args = verb(words[at + 1]), words[at + 2 :]
    command.make_context("interlock", args, resilient_parsing=False)


def test_the_metrics_are_those_there_are() -> None:
    text = asyncio.run(render(view())).decode()
    helps = dict(re.findall(r"^# HELP (\w+) (.*)$", text, re.M))
    types = dict(re.findall(r"^# TYPE (\w+) (.*)$", text, re.M))
    catalogue = sections("docs/metrics.md", 2)["All of them"]
    told = {plain(row["metric"]): row for row in table(catalogue.splitlines())}
    assert {name: row["type"] for name, row in told.items()} == types
    assert {name: row["what it counts"] for name, row in told.items()} == helps
    for name, row in told.items():
        series = re.findall(rf"^{name}(?:_bucket)?(?:{{(.*)}})? ", text, re.M)
        assert series, name
        labels = {label for one in series for label in re.findall(r'(\w+)="', one)} - {"le"}
        assert labels == {label for label in row["labels"].split(", ") if label}, name


@pytest.mark.parametrize("row", rows("The admin port"), ids=lambda row: plain(row["path"]))
def test_an_endpoint_answers(row: Row) -> None:
    async def main() -> Reply:
        app = create_admin(asked(view()), Settings(servers=()))
        path = plain(row["path"])
        return await Client(app).request("GET", path=path.encode())

    assert asyncio.run(main()).status == 200


def test_every_endpoint_is_told() -> None:
    source = page("python/gateway/operate/admin.py")
    there = set(re.findall(r'case "(/\w+)"', source))
    assert there == {plain(row["path"]) for row in rows("The admin port")}


def test_the_ready_line_is_the_one_that_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    from gateway.process import announce
    from gateway.settings import ServerSettings

    server = ServerSettings(name="default", policy=ROOT / "p.json", url="http://127.0.0.1/mcp")
    announce(Settings(servers=(server,)))
    shown = next(block.text for block in blocks(PAGE) if "ready" in block.text)
    assert capsys.readouterr().err == shown


def test_the_table_is_as_large_as_told() -> None:
    told = re.search(r"([\d,]+) slots are (\d+) MiB", PARTS["The state file"])
    assert told is not None
    assert int(told[1].replace(",", "")) == LimitTable().slots == Settings(servers=()).slots
    assert int(told[2]) * 1024 * 1024 == LimitTable().slots * 128
