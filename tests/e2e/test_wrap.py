"""`interlock wrap` as desktop clients start it: one process for each client, one policy for all."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from support.process import WAIT_S

pytestmark = pytest.mark.e2e

TOOL = "upwork_check_session"
SERVER = (sys.executable, "-c", "from gateway.demo.server import server; server.run()")


def test_clients_of_one_policy_share_its_counts(tmp_path: Path) -> None:
    limits = [{"counter": "calls", "window": "week", "max": 2}]
    document = {"version": "1", "default": "allow", "all_tools": {"limits": limits}}
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps(document))
    wrapped = StdioServerParameters(
        command=sys.executable,
        args=["-m", "gateway", "wrap", "--policy", str(policy), "--", *SERVER],
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
    )

    async def calls() -> list[bool]:
        async with (
            asyncio.timeout(WAIT_S),
            Client(stdio_client(wrapped)) as one,
            Client(stdio_client(wrapped)) as two,
        ):
            return [(await client.call_tool(TOOL, {})).is_error for client in (one, two, one, two)]

    assert asyncio.run(calls()) == [False, False, True, True]
    (state,) = (tmp_path / "interlock").iterdir()
    assert state.name.startswith("wrap-")
