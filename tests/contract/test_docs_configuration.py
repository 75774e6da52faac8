"""docs/configuration.md: the keys and codes that there are, and its examples as they are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from gateway.cli import interlock
from gateway.config import document
from gateway.config.source import ConfigSource
from support.pages import ROOT, blocks, page, plain, sections, table

if TYPE_CHECKING:
    from gateway.config.forms import Record

PAGE = "docs/configuration.md"
TABLES: dict[str, Record] = {
    "The file": document.CONFIG,
    "`log`": document.LOG,
    "`tls`": document.TLS,
    "`approvals`": document.APPROVALS,
    "`webhook` of `approvals`": document.WEBHOOK,
    "`certificate` of a grant": document.CERTIFICATE,
    "A server": document.SERVER,
    "A grant": document.GRANT,
    "`jwt` of a grant": document.JWT,
    "A token": document.TOKEN,
}


@pytest.mark.parametrize("heading", TABLES)
def test_the_keys_are_those_there_are(heading: str) -> None:
    told = {
        plain(row["key"]): row["meaning"] for row in table(sections(PAGE, 3)[heading].splitlines())
    }
    keys = TABLES[heading].keys
    assert told == {name: key.about for name, key in keys.items()}


def test_the_codes_are_those_there_are() -> None:
    sources = [*ROOT.glob("python/gateway/config/*.py"), ROOT / "python/gateway/validation.py"]
    text = "".join(source.read_text() for source in sources)
    made = set(
        re.findall(r'(?:problem\(\s*(?:at|""|step\([^)]*\)|there), |code=)"([a-z-]+)"', text)
    )
    made |= {"bad-value", "unusable", "conflicting-keys", "unreadable", "bad-substitution"}
    told = {plain(row["code"]) for row in table(sections(PAGE, 2)["Problems"].splitlines())}
    shared = set(re.findall(r"`([a-z]+-[a-z]+)`", sections(PAGE, 2)["Problems"])) - told
    assert made - shared == told


def test_the_example_is_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = [block.text for block in blocks(PAGE) if block.language == "yaml"]
    (tmp_path / "interlock.yaml").write_text(example)
    for policy in ("readers", "writers"):
        (tmp_path / f"{policy}.json").write_text('{"version":"1","default":"allow"}')
    (tmp_path / "search-key").write_text("k")
    (tmp_path / "ci-token-sha256").write_text("ab" * 32)
    monkeypatch.setenv("PROFILE", "p")
    settings = ConfigSource(tmp_path / "interlock.yaml", {}).load()
    assert [grant.name for grant in settings.grants] == ["laptop", "ci"]
    done = CliRunner().invoke(interlock, ["check", str(tmp_path / "interlock.yaml")])
    assert done.exit_code == 0, done.output


def test_the_problems_are_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = 'version: "1"\nserves: {}\nworkers: 99\nservers: {s: {url: "http://h/mcp"}}\n'
    (tmp_path / "broken.yaml").write_text(text)
    told = CliRunner().invoke(interlock, ["check", "broken.yaml"]).output
    shown = page(PAGE).split("$ interlock run --config broken.yaml\n")[1].split("$ echo")[0]
    assert told.startswith(shown)
