"""What a decision costs through the boundary: Python bytes in, a `Decision` out and dropped again.

The message is a `tools/call` of 330 bytes, the policy has three limits for each of its tools.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from gateway._core import Caller, Decision, Engine, LimitTable, PolicySet

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

BODY_BYTES = 330
PLENTY = 2_000_000_000
CALLER = Caller("bench", server="upwork")

HEADERS = [
    (b"host", b"127.0.0.1:8080"),
    (b"accept", b"application/json, text/event-stream"),
    (b"accept-encoding", b"gzip, deflate"),
    (b"connection", b"keep-alive"),
    (b"user-agent", b"python-httpx/0.28.1"),
    (b"content-type", b"application/json"),
    (b"content-length", str(BODY_BYTES).encode()),
    (b"authorization", b"Bearer 0123456789abcdef0123456789abcdef"),
    (b"mcp-session-id", b"0123456789abcdef0123456789abcdef"),
    (b"mcp-protocol-version", b"2025-06-18"),
]


def engine(tools: int, effect: str = "allow") -> Engine:
    """An engine over `tools` tools, each under three limits of its own window."""

    def limit(counter: str, window: str) -> dict[str, object]:
        return {"counter": counter, "window": window, "max": PLENTY}

    document = {
        "version": "1",
        "default": "deny",
        "all_tools": {"limits": [limit("a", "minute"), limit("b", "hour")]},
        "tools": {
            f"tool_{i}": {"action": effect, "limits": [limit(f"c{i}", "day")]} for i in range(tools)
        },
    }
    policy = PolicySet.parse(json.dumps(document).encode(), name="bench.json")
    return Engine(policy, LimitTable(1 << 15))


def call(tool: str) -> bytes:
    """A call of the tool, padded to `BODY_BYTES`."""

    def spelt(letter: str) -> bytes:
        arguments = {
            "job_url": "https://example.com/jobs/0123456789",
            "bid": 120.5,
            "answers": ["yes", "no", 3],
            "cover_letter": letter,
        }
        params = {"name": tool, "arguments": arguments, "_meta": {"progressToken": 7}}
        message = {"jsonrpc": "2.0", "id": 42, "method": "tools/call", "params": params}
        return json.dumps(message, separators=(",", ":")).encode()

    return spelt("x" * (BODY_BYTES - len(spelt(""))))


def measure(
    benchmark: BenchmarkFixture,
    engine: Engine,
    body: bytes,
    headers: list[tuple[bytes, bytes]] | None = None,
) -> Decision:
    """Times decisions by the hundred, since one is over before a clock has been read twice."""
    decision: Decision = benchmark.pedantic(
        engine.decide, (CALLER, body, headers), rounds=1_000, iterations=100, warmup_rounds=10
    )
    return decision


@pytest.mark.parametrize("tools", [10, 100, 1_000, 10_000])
def test_allowed(benchmark: BenchmarkFixture, tools: int) -> None:
    """By the size of the policy, on which it should not depend."""
    assert measure(benchmark, engine(tools), call(f"tool_{tools - 1}")).allowed


@pytest.mark.parametrize("tool", ["tool_0", "unheard_of"])
def test_denied(benchmark: BenchmarkFixture, tool: str) -> None:
    """By its entry, and for lack of one."""
    assert not measure(benchmark, engine(100, "deny"), call(tool)).allowed


@pytest.mark.parametrize("count", [0, len(HEADERS)])
def test_headers(benchmark: BenchmarkFixture, count: int) -> None:
    """With the header fields of an HTTP request, which are held against the body."""
    assert measure(benchmark, engine(100), call("tool_99"), HEADERS[:count]).allowed
