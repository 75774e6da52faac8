"""Drives the Python SDK 2.x client: a target and steps in, what it made of each out, as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from mcp import Client, MCPError, StdioServerParameters


async def step(client: Client, verb: str, *rest: Any) -> Any:
    """Does one step; an answer that the client raises as a protocol error is a result too."""
    try:
        if verb == "list":
            return {"tools": [tool.name for tool in (await client.list_tools()).tools]}
        if verb == "call":
            result = await client.call_tool(*rest)
            return {
                "is_error": bool(result.is_error),
                "text": "".join(getattr(block, "text", "") for block in result.content),
                "content": [block.model_dump(mode="json") for block in result.content],
                "meta": result.meta or {},
                "structured": result.structured_content,
            }
        if verb == "read":
            result = await client.read_resource(*rest)
            return {"text": "".join(getattr(block, "text", "") for block in result.contents)}
    except MCPError as error:
        return {"error": {"code": error.code, "message": error.message, "data": error.data}}
    raise ValueError(verb)


async def main(target: dict[str, Any], steps: list[list[Any]]) -> None:
    """Connects, does every step over the one connection, and prints the transcript."""
    where = target.get("url") or StdioServerParameters(
        command=target["command"][0], args=target["command"][1:], env=target.get("env")
    )
    async with Client(where, mode=target["mode"], read_timeout_seconds=20) as client:
        done = [await step(client, *each) for each in steps]
        transcript = {"revision": client.protocol_version, "steps": done}
    print(json.dumps(transcript))  # noqa: T201


asyncio.run(main(json.loads(sys.argv[1]), json.loads(sys.argv[2])))
