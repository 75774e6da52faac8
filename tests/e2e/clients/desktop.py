"""A desktop client: starts every server of a configuration file, and makes calls as an agent would.

Prints `{"servers": {name: [tool, ...]}, "calls": [...]}`; a call is `[server, tool, arguments]`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters


async def main(servers: dict[str, Any], calls: list[list[Any]]) -> None:
    """Connects to all of them at once, and keeps the connections through all calls."""
    async with AsyncExitStack() as stack:
        clients = {}
        for name, entry in servers.items():
            started = StdioServerParameters(
                command=entry["command"], args=entry.get("args", []), env=entry.get("env")
            )
            client = Client(started, mode="auto", read_timeout_seconds=20)
            clients[name] = await stack.enter_async_context(client)
        listed = {
            name: [tool.name for tool in (await client.list_tools()).tools]
            for name, client in clients.items()
        }
        done = []
        for server, tool, arguments in calls:
            result = await clients[server].call_tool(tool, arguments)
            text = "".join(getattr(block, "text", "") for block in result.content)
            done.append({"is_error": bool(result.is_error), "text": text})
    print(json.dumps({"servers": listed, "calls": done}))  # noqa: T201


asyncio.run(main(json.loads(Path(sys.argv[1]).read_text())["mcpServers"], json.loads(sys.argv[2])))
