"""Asks a server for its tools, as a client would."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mcp.client import Client

TIMEOUT_S = 30.0


class SurveyError(Exception):
    """The server did not tell its tools; the message is for people."""


def tools(url: str | None, command: list[str] | None) -> list[str]:
    """The names of all tools that a server offers, by its URL or the command that starts it.

    Raises:
        SurveyError: it cannot be asked, or it did not answer.
    """
    if find_spec("mcp") is None:
        raise SurveyError("asking a server takes the MCP library: pip install 'interlock[demo]'")
    try:
        return asyncio.run(_ask(url, command))
    except Exception as error:
        named = url if url is not None else " ".join(command or [])
        raise SurveyError(f"`{named}` did not tell its tools: {_innermost(error)}") from error


async def _ask(url: str | None, command: list[str] | None) -> list[str]:
    async with asyncio.timeout(TIMEOUT_S), _client(url, command) as client:
        names: list[str] = []
        cursor = None
        while True:
            page = await client.list_tools(cursor=cursor)
            names += [tool.name for tool in page.tools]
            cursor = page.next_cursor
            if cursor is None:
                return names


def _client(url: str | None, command: list[str] | None) -> Client:
    from mcp.client import Client
    from mcp.client.stdio import StdioServerParameters, stdio_client

    if url is not None:
        return Client(url)
    assert command
    return Client(stdio_client(StdioServerParameters(command=command[0], args=command[1:])))


def _innermost(error: BaseException) -> str:
    """What went wrong, out of the groups that task groups wrap it in."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) or type(error).__name__
