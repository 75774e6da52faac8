"""Drives the Python SDK 1.x client: a target and steps in, what it made of each out, as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from mcp import ClientSession, McpError, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client


async def step(client: ClientSession, verb: str, *rest: Any) -> Any:
    """Does one step; an answer that the client raises as a protocol error is a result too."""
    try:
        if verb == "list":
            return {"tools": [tool.name for tool in (await client.list_tools()).tools]}
        if verb == "call":
            result = await client.call_tool(*rest)
            return {
                "is_error": bool(result.isError),
                "text": "".join(getattr(block, "text", "") for block in result.content),
                "content": [block.model_dump(mode="json") for block in result.content],
                "meta": result.meta or {},
                "structured": result.structuredContent,
            }
        if verb == "read":
            result = await client.read_resource(*rest)
            return {"text": "".join(getattr(block, "text", "") for block in result.contents)}
    except McpError as error:
        return {"error": error.error.model_dump()}
    raise ValueError(verb)


@asynccontextmanager
async def streams(target: dict[str, Any]) -> Any:
    """The transport's two streams, over HTTP or to a child process."""
    if "url" in target:
        async with streamable_http_client(target["url"]) as (read, write, _):
            yield read, write
    else:
        program, *arguments = target["command"]
        server = StdioServerParameters(command=program, args=arguments, env=target.get("env"))
        async with stdio_client(server) as (read, write):
            yield read, write


async def main(target: dict[str, Any], steps: list[list[Any]]) -> None:
    """Connects, does every step over the one connection, and prints the transcript."""
    async with (
        streams(target) as (read, write),
        ClientSession(read, write, read_timeout_seconds=timedelta(seconds=20)) as client,
    ):
        greeting = await client.initialize()
        done = [await step(client, *each) for each in steps]
    print(json.dumps({"revision": greeting.protocolVersion, "steps": done}))  # noqa: T201


asyncio.run(main(json.loads(sys.argv[1]), json.loads(sys.argv[2])))
