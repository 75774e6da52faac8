"""A disk without room, on which the decision log is and standard error too: what cannot be logged
is refused, or left out and counted, and both go on once there is room."""

from __future__ import annotations

import json
import resource
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gateway._core import verify_log
from support.process import HEADERS, WAIT_S, request, tools_call, until, upstream
from support.program import INTERLOCK, READY

pytestmark = pytest.mark.e2e

CALLS = 300
"""Whose lines are several times of what may wait."""


@pytest.mark.parametrize("on_overflow", ["deny", "drop"])
def test_a_full_disk_ends_nothing_but_room(tmp_path: Path, on_overflow: str) -> None:
    said, log = tmp_path / "stderr", tmp_path / "log.jsonl"
    policy, config = tmp_path / "policy.json", tmp_path / "interlock.json"
    policy.write_text(json.dumps({"version": "1", "default": "deny", "tools": {"open": {}}}))
    body = json.dumps(tools_call("open")).encode()

    def call() -> str:
        return request(place, "POST", "/mcp", body, HEADERS).decision

    with upstream() as server, said.open("w") as stderr:
        document: dict[str, Any] = {
            "version": "1",
            "log": {"path": str(log), "buffer_bytes": 1 << 16, "on_overflow": on_overflow},
            "servers": {"default": {"url": server.url, "policy": str(policy)}},
            "state": "memory",
            "listen": "127.0.0.1:0",
            "admin": "127.0.0.1:0",
        }
        config.write_text(json.dumps(document))
        process = subprocess.Popen((*INTERLOCK, "run", "--config", str(config)), stderr=stderr)
        try:
            until(lambda: READY.search(said.read_text()) is not None, "it to be ready")
            ready = READY.search(said.read_text())
            assert ready is not None
            place = ready["mcp"].split("/")[2]
            assert call() == "allowed"
            before = resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1, -1))
            codes = [call() for _ in range(CALLS)]
            full = request(ready["admin"], "GET", "/readyz")
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, before)
            until(lambda: call() == "allowed", "it to recover")
            until(lambda: "recovered" in log.read_text(), "it to be written again")
            if on_overflow == "deny":
                assert full.status == 503
                assert codes[-1] == "log-unavailable"
                until(lambda: request(ready["admin"], "GET", "/readyz").status == 200, "readiness")
            else:
                assert set(codes) == {"allowed"}
        finally:
            process.terminate()
            assert process.wait(WAIT_S) == 0
    assert verify_log(str(log))["problems"] == []
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    allowed = sum(line.get("code") == "allowed" for line in lines)
    gaps = sum(line.get("gap", 0) for line in lines)
    if on_overflow == "deny":
        assert allowed == len(server.calls), "no call without its line"
    else:
        assert gaps > 0
        assert allowed + gaps == len(server.calls)
