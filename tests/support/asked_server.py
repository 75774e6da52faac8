"""An MCP server on stdio that behaves as its first argument says; for those who ask for tools."""

from __future__ import annotations

import json
import sys
from typing import Any

LEGACY = "2025-11-25"


def say(message: Any) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def answer(ident: Any, result: Any) -> None:
    say({"jsonrpc": "2.0", "id": ident, "result": result})


def refuse(ident: Any, code: int, message: str) -> None:
    say({"jsonrpc": "2.0", "id": ident, "error": {"code": code, "message": message}})


def tool(name: str) -> dict[str, Any]:
    return {"name": name, "description": f"Get {name}.", "inputSchema": {"type": "object"}}


def page(how: str, cursor: str | None) -> dict[str, Any]:
    """A page of the list."""
    number = int(cursor or 0)
    match how:
        case "pages":
            more = {"nextCursor": str(number + 1)} if number < 4 else {}
            return {"tools": [tool(f"get_{number}")], **more}
        case "circle":
            return {"tools": [tool(f"get_{number}")], "nextCursor": "7"}
        case "endless":
            return {"tools": [], "nextCursor": str(number + 1)}
        case "many":
            return {"tools": [tool(f"get_{n}") for n in range(10_000)]}
        case "twice":
            return {"tools": [tool("get"), tool("get")]}
        case "nameless":
            return {"tools": [{"description": "x"}]}
        case "listless":
            return {"tools": "none"}
    return {"tools": [tool("get_x")]}


def serve(how: str) -> None:
    if how == "garbage":
        for _ in range(1000):
            sys.stdout.write("{not json\n")
        sys.stdout.flush()
    if how == "banner":
        sys.stdout.write("Welcome to the server!\n")
        sys.stdout.flush()
    if how == "dies":
        sys.stderr.write(f"cannot reach the database with {sys.argv[2]}\n")
        sys.exit(3)
    era: str | None = None
    for line in sys.stdin:
        message = json.loads(line)
        method, ident = message["method"], message.get("id")
        if how == "silent" or ident is None:
            continue
        if method == "initialize":
            if how in ("modern", "neither"):
                refuse(ident, -32022, "speak 2026-07-28 to me")
                continue
            era = LEGACY
            if how == "asks":
                say({"jsonrpc": "2.0", "id": "a", "method": "roots/list"})
                assert json.loads(sys.stdin.readline())["error"]["code"] == -32601
                say({"jsonrpc": "2.0", "id": 1.5, "method": "ping"})
                assert json.loads(sys.stdin.readline())["result"] == {}
            answer(
                ident,
                {
                    "protocolVersion": LEGACY,
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": "asked\x1b[31m", "version": "1"},
                },
            )
        elif method == "server/discover" and how == "modern":
            meta = message["params"]["_meta"]
            assert meta["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"
            answer(ident, {"supportedVersions": ["2026-07-28"], "serverInfo": {"name": "new"}})
            era = "2026-07-28"
        elif method == "tools/list" and era is not None:
            if how == "refuses":
                refuse(ident, -32603, "no database")
            else:
                answer(ident, page(how, message["params"].get("cursor")))
        else:
            refuse(ident, -32601, "method not found")


if __name__ == "__main__":
    serve(sys.argv[1])
