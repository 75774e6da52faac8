"""Where the real peers lie once `setup.sh` has fetched them, and how each is started."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from processes import Program, free_port

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / ".cache" / "e2e"
NPM = CACHE / "npm"
NODE = str(NPM / "node_modules" / ".bin" / "node")
SDK1 = str(CACHE / "sdk1" / "bin" / "python")
SDK2 = str(CACHE / "sdk2" / "bin" / "python")

PACKAGES = NPM / "node_modules" / "@modelcontextprotocol"
CONFORMANCE = (NODE, str(PACKAGES / "conformance" / "dist" / "index.js"))
FILESYSTEM = (NODE, str(PACKAGES / "server-filesystem" / "dist" / "index.js"))
MEMORY = (NODE, str(PACKAGES / "server-memory" / "dist" / "index.js"))
EVERYTHING = (NODE, str(PACKAGES / "server-everything" / "dist" / "index.js"))
GIT = (SDK2, "-m", "mcp_server_git")
TIME = (SDK2, "-m", "mcp_server_time")


@dataclass(frozen=True)
class Client:
    """One release of one SDK's client, in one of the protocol's eras.

    Attributes:
        name: For test ids.
        driver: The command that runs the steps given to it, see `README.md`.
        mode: What the client is told about negotiating a revision.
        revision: The revision it must end up with, against a server that speaks all.
    """

    name: str
    driver: tuple[str, ...]
    mode: str
    revision: str


PYTHON1 = (SDK1, str(HERE / "clients" / "python1.py"))
PYTHON2 = (SDK2, str(HERE / "clients" / "python2.py"))
TYPESCRIPT1 = (NODE, str(NPM / "typescript1.mjs"))
TYPESCRIPT2 = (NODE, str(NPM / "typescript2.mjs"))

PYTHON_CLIENTS = (
    Client("python-1", PYTHON1, "legacy", "2025-11-25"),
    Client("python-2-legacy", PYTHON2, "legacy", "2025-11-25"),
    Client("python-2-auto", PYTHON2, "auto", "2026-07-28"),
    Client("python-2-modern", PYTHON2, "2026-07-28", "2026-07-28"),
)
TYPESCRIPT_CLIENTS = (
    Client("typescript-1", TYPESCRIPT1, "legacy", "2025-11-25"),
    Client("typescript-2-legacy", TYPESCRIPT2, "legacy", "2025-11-25"),
    Client("typescript-2-auto", TYPESCRIPT2, "auto", "2026-07-28"),
    Client("typescript-2-modern", TYPESCRIPT2, "2026-07-28", "2026-07-28"),
)


@contextlib.contextmanager
def python_everything_server() -> Iterator[str]:
    """The Python SDK's server for the conformance suite, of every revision; yields its URL."""
    command = (SDK2, "-m", "mcp_everything_server", "--port", "0")
    with Program(command, env={"PYTHONPATH": str(CACHE / "everything")}) as server:
        yield server.wait_for_line(r"running on (http://\S+)")[1] + "/mcp"


@contextlib.contextmanager
def typescript_everything_server() -> Iterator[str]:
    """The reference server of the TypeScript SDK 1.x over HTTP; yields its URL."""
    port = free_port()
    with Program((*EVERYTHING, "streamableHttp"), env={"PORT": str(port)}) as server:
        server.wait_for_line(f"listening on port {port}")
        yield f"http://127.0.0.1:{port}/mcp"
