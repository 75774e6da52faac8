"""Whatever is too much, no decision is without its line in the log, and its count."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from counting import CountingServer, Crowd
from processes import INTERLOCK, PATIENCE_S, READY, Program

from gateway._core import verify_log

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

CLIENTS, CALLS_EACH, MAX_IN_FLIGHT, MAX = 64, 20, 2, 300
POLICY: dict[str, Any] = {
    "version": "1",
    "default": "deny",
    "tools": {"spend": {"limits": [{"counter": "budget", "window": "month", "max": MAX}]}},
}


def configuration(folder: Path, upstream: str, **log: Any) -> Path:
    """Of a sidecar with little room for calls in flight."""
    policy, file = folder / "policy.json", folder / "interlock.json"
    policy.write_text(json.dumps(POLICY))
    document = {
        "version": "1",
        "log": {"path": str(folder / "log.jsonl"), **log},
        "servers": {"default": {"url": upstream, "policy": str(policy)}},
        "state": "memory",
        "listen": "127.0.0.1:0",
        "admin": "127.0.0.1:0",
        "max_in_flight": MAX_IN_FLIGHT,
    }
    file.write_text(json.dumps(document))
    return file


def counted(admin: str) -> Counter[str]:
    """Decisions by code, of a scrape."""
    with urllib.request.urlopen(f"http://{admin}/metrics", timeout=PATIENCE_S) as answer:
        text = answer.read().decode()
    found = re.findall(r'interlock_decisions_total{.*code="([^"]+)"} (\S+)', text)
    return Counter({code: int(float(value)) for code, value in found})


@pytest.mark.parametrize("buffer_bytes", [8 << 20, 1 << 16])
def test_no_decision_is_without_its_line(tmp_path: Path, buffer_bytes: int) -> None:
    async def overload() -> tuple[Crowd, int, Counter[str]]:
        server = CountingServer()
        async with asyncio.timeout(3 * PATIENCE_S), server.serve() as upstream:
            config = configuration(tmp_path, upstream, buffer_bytes=buffer_bytes)
            with Program((*INTERLOCK, "run", "--config", str(config))) as sidecar:
                ready = await asyncio.to_thread(sidecar.wait_for_line, READY)
                crowd = Crowd(ready["mcp"], clients=CLIENTS, calls=CALLS_EACH)
                await crowd.run()
                metrics = await asyncio.to_thread(counted, ready["admin"])
                assert await asyncio.to_thread(sidecar.terminate) == 0
        return crowd, server.calls, metrics

    crowd, served, metrics = asyncio.run(overload())
    assert crowd.lost == 0
    assert crowd.codes["overloaded"] > 0, "it was never too much"
    assert crowd.codes["allowed"] == served
    log = tmp_path / "log.jsonl"
    assert verify_log(str(log))["problems"] == []
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    told = Counter(line.get("fault", line["code"]) for line in lines if "code" in line)
    left_out = sum(line.get("gap", 0) for line in lines)
    # Only what was refused anyway may be left out, and is counted then.
    assert told["allowed"] == served
    assert sum(told.values()) + left_out == crowd.codes.total() == metrics.total()
    if buffer_bytes > 1 << 20:
        assert told == crowd.codes
