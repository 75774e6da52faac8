"""What a result was measured on, and with."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
VERSIONS = {
    "nginx": ["nginx", "-v"],
    "haproxy": ["haproxy", "-v"],
    "wrk": ["wrk", "-v"],
    "go": ["go", "version"],
    "rustc": ["rustc", "--version"],
}
PACKAGES = ["hypercorn", "limits", "orjson", "uvloop"]
PLACES = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/go/bin"])


def describe() -> dict[str, Any]:
    """What was measured, when, and on what.

    Returns:
        `date`, `commit`, `changed` (something outside of `bench/` was not committed),
        `load_average` of the last minute, `machine` and `versions`.
    """
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": said("git", "-C", str(ROOT), "rev-parse", "HEAD"),
        "changed": bool(said("git", "-C", str(ROOT), "status", "--porcelain", "--", ":!bench")),
        "load_average": os.getloadavg()[0],
        "machine": {
            "cpu": cpu_model(Path("/proc/cpuinfo").read_text(encoding="utf-8")),
            "cores": os.cpu_count(),
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "kernel": platform.release(),
        },
        "versions": {
            "python": sys.version.split()[0],
            **{name: version(name) for name in PACKAGES},
            **{name: number(said(*command)) for name, command in VERSIONS.items()},
        },
    }


def cpu_model(text: str) -> str:
    """The processor's name in `/proc/cpuinfo`."""
    found = re.search(r"^model name\s*: (.*)$", text, re.M)
    return found[1] if found else platform.machine()


def said(*command: str) -> str:
    """What a command prints, on either output; nothing if it is not there."""
    program = shutil.which(command[0], path=PLACES)
    if program is None:
        return ""
    done = subprocess.run([program, *command[1:]], check=False, capture_output=True, text=True)
    return (done.stdout + done.stderr).strip()


def number(text: str) -> str | None:
    """The first thing in a text that looks like a version."""
    found = re.search(r"\d+\.\d+(\.\d+)?", text)
    return found[0] if found else None


def version(package: str) -> str | None:
    """That of an installed package; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
