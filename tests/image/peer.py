"""Both ends of MCP, for the pod: a server that tells what arrived, and an agent's client.

peer.py serve                   a server on port 8000 of every address
peer.py wait                    an agent that does nothing by itself
peer.py call URL TOOL [COUNT]   call a tool; each decision's code, one a line
peer.py load URL COUNT SECONDS  that many slow calls at once; the same
"""

from __future__ import annotations

import asyncio
import signal
import sys

import uvicorn
from mcp.client import Client
from mcp.server.mcpserver import MCPServer

server = MCPServer("peer", log_level="WARNING")


@server.tool()
def echo() -> str:
    """Answers."""
    print("arrived echo", flush=True)
    return "done"


@server.tool()
def secret() -> str:
    """What no agent is to reach."""
    print("arrived secret", flush=True)
    return "done"


@server.tool()
async def slow(seconds: float) -> str:
    """Answers after a while."""
    print("arrived slow", flush=True)
    await asyncio.sleep(seconds)
    return "done"


async def call(client: Client, tool: str, **arguments: float) -> None:
    """Call a tool, and say with which code it was decided."""
    result = await client.call_tool(tool, arguments)
    decision = (result.meta or {}).get("interlock/decision", {})
    print(decision.get("code", "failed") if result.is_error else "allowed", flush=True)


async def calls(url: str, tool: str, count: int) -> None:
    async with Client(url) as client:
        for _ in range(count):
            await call(client, tool)


async def load(url: str, count: int, seconds: float) -> None:
    async with Client(url) as client:
        # Else it asks for the tools after the first answer, when there is nobody to ask any more.
        await client.list_tools()
        await asyncio.gather(*(call(client, "slow", seconds=seconds) for _ in range(count)))


def main(verb: str, *rest: str) -> None:
    match verb:
        case "serve":
            uvicorn.run(
                server.streamable_http_app(host="0.0.0.0"), host="0.0.0.0", log_level="error"
            )
        case "wait":
            signal.sigwait({signal.SIGTERM})
        case "call":
            asyncio.run(calls(rest[0], rest[1], int(rest[2]) if rest[2:] else 1))
        case "load":
            asyncio.run(load(rest[0], int(rest[1]), float(rest[2])))


if __name__ == "__main__":
    main(*sys.argv[1:])
