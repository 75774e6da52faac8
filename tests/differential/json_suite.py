"""The files of JSONTestSuite, which are not ours to keep here: fetched once, by hash."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from functools import cache
from pathlib import Path

REQUIREMENT = Path(__file__).with_name("requirements-json-suite.txt")
CACHE = Path(__file__).parents[2] / ".cache" / "json-suite"
FOLDER = "/JSONTestSuite/test_parsing/"
WAIT_S = 300


@cache
def files() -> dict[str, bytes]:
    """What each file holds, by its name without the ending; empty if it cannot be had.

    Names begin with `y_` if every reader must take it, `n_` if none may, `i_` if it is up to them.
    In CI, which has to have them, that they cannot be had is an error.
    """
    archive = CACHE / REQUIREMENT.read_text(encoding="utf-8").rpartition(":")[2].strip()
    if not archive.exists() and not _download(archive):
        return {}
    found = {}
    with tarfile.open(archive) as members:
        for member in members:
            if FOLDER in member.name and (file := members.extractfile(member)) is not None:
                found[Path(member.name).stem] = file.read()
    return found


def _download(archive: Path) -> bool:
    """Ask a registry for it, and give it its name once it is whole; whether it is to be had."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
        ]
        # Not `:all:`, which would build from source also what reading its metadata takes.
        command += ["--no-deps", "--no-binary", "pyjson5", "--require-hashes"]
        command += ["--requirement", str(REQUIREMENT), "--dest", folder]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=WAIT_S)
        if done.returncode == 0:
            [got] = Path(folder).iterdir()
            got.replace(archive)
            return True
    assert "CI" not in os.environ, done.stderr
    return False
