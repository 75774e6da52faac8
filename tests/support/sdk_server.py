"""A server of the official SDK on its standard streams, with a tool for each thing it can do."""

from __future__ import annotations

import asyncio
import os
import sys

from mcp.server.mcpserver import Context, MCPServer
from pydantic import BaseModel

server = MCPServer("parts", log_level="WARNING")


class Name(BaseModel):
    """What `ask` asks for."""

    name: str


@server.tool()
def greet(name: str) -> str:
    """Say hello."""
    return f"hello {name}"


@server.tool()
def shut() -> str:
    """Never to be called."""
    return "called"


@server.tool()
def pid() -> int:
    """The process that answers."""
    return os.getpid()


@server.tool()
async def steps(count: int, ctx: Context) -> str:
    """Report progress."""
    for step in range(count):
        await ctx.report_progress(step, count, f"step {step}")
    return "done"


@server.tool()
async def ask(ctx: Context) -> str:
    """Ask the person at the client."""
    answer = await ctx.elicit("who are you?", Name)
    return f"hello {answer.data.name}" if answer.action == "accept" else answer.action


@server.tool()
async def hang(ctx: Context) -> str:
    """Say that it was cancelled, on standard error, if it ever is."""
    await ctx.report_progress(0)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        sys.stderr.write("hang was cancelled\n")
        raise
    return "never"


@server.tool()
async def change(ctx: Context) -> str:
    """Tell listeners that the list of tools is another one."""
    await ctx.notify_tools_changed()
    return "changed"


@server.tool()
def die() -> str:
    """End the process."""
    os._exit(1)


@server.tool()
def picture(size: int) -> str:
    """A long answer."""
    return "x" * size


if __name__ == "__main__":
    server.run("stdio")
