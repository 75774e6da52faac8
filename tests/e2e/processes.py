"""The sidecar as the end-to-end tests start it, and what else they run to its end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from support.program import (
    INTERLOCK,
    PATIENCE_S,
    READY,
    Program,
    children,
    descendants,
    environment,
    running,
)

__all__ = [
    "INTERLOCK",
    "PATIENCE_S",
    "READY",
    "Program",
    "Sidecar",
    "children",
    "descendants",
    "free_port",
    "run_json",
    "running",
    "wrapped",
    "write_policy",
]


class Sidecar(Program):
    """`interlock run`, ready to serve on ports of its own choosing.

    Attributes:
        url: Where clients connect.
        admin: The admin port's base URL.

    Args:
        folder: Where its policy document is written.
        policy: The document.
        upstream: The server's URL, or the command that starts a stdio server.
        options: More options of `run`.
    """

    def __init__(
        self,
        folder: Path,
        policy: Mapping[str, Any],
        upstream: str | Sequence[str],
        *options: str,
    ) -> None:
        document = write_policy(folder, policy)
        ports = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
        state = () if "--state" in options else ("--state", "memory")
        grace = ("--grace", "5")
        server = ("--upstream", upstream) if isinstance(upstream, str) else ("--", *upstream)
        super().__init__(
            (
                *INTERLOCK,
                "run",
                "--policy",
                str(document),
                *ports,
                *state,
                *grace,
                *options,
                *server,
            )
        )
        try:
            ready = self.wait_for_line(READY)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self.url = ready["mcp"]
        self.admin = f"http://{ready['admin']}"


def write_policy(folder: Path, policy: Mapping[str, Any]) -> Path:
    """The policy as a file in the folder, as `--policy` takes it."""
    path = folder / "policy.json"
    path.write_text(json.dumps({"version": "1", **policy}))
    return path


def wrapped(
    folder: Path, policy: Mapping[str, Any], command: Sequence[str], *options: str
) -> tuple[str, ...]:
    """The command line of `interlock wrap` around a stdio server, for a client to start."""
    document = write_policy(folder, policy)
    given = ("--policy", str(document), "--state", "memory", *options)
    return (*INTERLOCK, "wrap", *given, "--", *command)


def free_port() -> int:
    """A port that nothing listens on now, for servers that cannot say which one they were given."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def run_json(
    command: Sequence[str], *, timeout_s: float = PATIENCE_S, env: Mapping[str, str] | None = None
) -> Any:
    """Runs a command to its end and reads its standard output as JSON.

    Raises:
        AssertionError: It failed, or took longer than allowed; with what it wrote.
    """
    with subprocess.Popen(
        command,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, errors = process.communicate()
            raise AssertionError(f"{command} took over {timeout_s} s\n{output}\n{errors}") from None
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert process.returncode == 0, f"{command} exited {process.returncode}\n{output}\n{errors}"
    return json.loads(output)
