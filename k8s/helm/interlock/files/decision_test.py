"""`helm test`: the sidecar beside this container allows one call and refuses another.

Needs nothing but Python. It is the MCP server as well: what arrives here was let through.
"""

import http.client
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

HEADERS = {
    "content-type": "application/json",
    "accept": "application/json, text/event-stream",
    "mcp-protocol-version": "2025-06-18",
}
arrived: list[str] = []


class Server(BaseHTTPRequestHandler):
    """Answers every tool call."""

    def do_POST(self) -> None:
        call = json.loads(self.rfile.read(int(self.headers["content-length"])))
        arrived.append(call["params"]["name"])
        result = {"content": [{"type": "text", "text": "done"}]}
        body = json.dumps({"jsonrpc": "2.0", "id": call["id"], "result": result}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


def refused(tool: str) -> str:
    """Why the call was refused; empty where it was not."""
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": tool, "arguments": {}},
    }
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ["MCP_PORT"]), timeout=10)
    connection.request("POST", "/mcp", json.dumps(message), HEADERS)
    answer = json.loads(connection.getresponse().read())
    if "error" in answer:
        return str(answer["error"])
    decision = answer["result"].get("_meta", {}).get("interlock/decision", {})
    return str(decision.get("code", ""))


def say(tool: str, why: str) -> None:
    """Tell whoever reads the pod's log."""
    sys.stdout.write(f"{tool}: {f'refused, {why}' if why else 'allowed'}\n")


server = HTTPServer(("127.0.0.1", 18765), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()

allowed, denied = os.environ["ALLOWED"], os.environ["DENIED"]
failed = False
if allowed:
    why = refused(allowed)
    failed |= bool(why) or arrived != [allowed]
    say(allowed, why)
before = len(arrived)
why = refused(denied)
failed |= not why or len(arrived) != before
say(denied, why)
sys.exit(failed)
