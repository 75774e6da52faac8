"""The processes of the demo: its MCP server and a sidecar.

INVARIANT: both end when the demo's exit stack does.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from contextlib import AsyncExitStack

from gateway.errors import Problem, StartError

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0


async def start_server(stack: AsyncExitStack) -> str:
    """Start the bundled MCP server; its URL.

    Raises:
        StartError: it did not come up.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "gateway.demo.server"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    stack.push_async_callback(_stop, process)
    assert process.stdout is not None
    port = await _line(process.stdout)
    if not port.strip().isdigit():
        raise StartError(Problem("the demo's server did not start"))
    return f"http://127.0.0.1:{int(port)}/mcp"


async def start_sidecar(
    stack: AsyncExitStack, *, policy: str, upstream: str, listen: str, admin: str
) -> tuple[str, str]:
    """Start a sidecar with its counts in memory; the URLs of its ready line.

    Raises:
        StartError: it did not come up; what it said went to standard error.
    """
    options = {
        "--policy": policy,
        "--upstream": upstream,
        "--listen": listen,
        "--admin": admin,
        "--state": "memory",
        "--log": "none",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "gateway", "run"),
        *(part for option in options.items() for part in option),
        stderr=asyncio.subprocess.PIPE,
        # What the environment says of the user's own sidecar is not meant for this one.
        env={k: v for k, v in os.environ.items() if not k.startswith("INTERLOCK_")},
    )
    stack.push_async_callback(_stop, process)
    assert process.stderr is not None
    while line := await _line(process.stderr):
        if ready := re.fullmatch(r"interlock ready: mcp=(\S+) admin=(\S+)\n", line):
            passing_on = asyncio.create_task(_pass_on(process.stderr))
            stack.callback(passing_on.cancel)
            return ready[1], ready[2]
        sys.stderr.write(line)
    raise StartError(Problem("the sidecar did not start"))


async def _line(stream: asyncio.StreamReader) -> str:
    """The next line; nothing where none comes in time."""
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            return (await stream.readline()).decode()
    except TimeoutError:
        return ""


async def _pass_on(stream: asyncio.StreamReader) -> None:
    while line := await stream.readline():
        sys.stderr.write(line.decode())


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
