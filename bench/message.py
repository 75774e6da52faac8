"""What is measured with: the call of 330 bytes, and policies of any size that admit it.

INVARIANT: every benchmark takes its message and its policy from here, so that figures are of the
same call wherever they were taken.
"""

from __future__ import annotations

import json
from typing import Any

BODY_BYTES = 330
PLENTY = 2_000_000_000
"""The `max` of limits that are charged and never exhausted."""
REFUSED_TOOL = "tool_x"
"""A tool that no policy of these names."""

Document = dict[str, Any]


def call(tool: str, size: int = BODY_BYTES, **arguments: object) -> bytes:
    """A `tools/call` of exactly `size` bytes.

    Args:
        arguments: further arguments of the call.

    Raises:
        ValueError: the call is larger than that without any padding.
    """

    def spelt(letter: str) -> bytes:
        usual = {
            "job_url": "https://example.com/jobs/0123456789",
            "bid": 120.5,
            "answers": ["yes", "no", 3],
            "cover_letter": letter,
        }
        params = {"name": tool, "arguments": usual | arguments, "_meta": {"progressToken": 7}}
        message = {"jsonrpc": "2.0", "id": 42, "method": "tools/call", "params": params}
        return json.dumps(message, separators=(",", ":")).encode()

    padding = size - len(spelt(""))
    if padding < 0:
        raise ValueError(f"a call of `{tool}` takes {size - padding} bytes, not {size}")
    return spelt("x" * padding)


def limit(counter: str, window: str, **more: object) -> Document:
    """One limit that is never exhausted."""
    return {"counter": counter, "window": window, "max": PLENTY, **more}


def policy(tools: int = 100, effect: str = "allow") -> bytes:
    """A policy over `tools` tools, each under three limits of a window of its own."""
    return encode(
        {
            "all_tools": {"limits": [limit("a", "minute"), limit("b", "hour")]},
            "tools": {
                f"tool_{i}": {"action": effect, "limits": [limit(f"c{i}", "day")]}
                for i in range(tools)
            },
        }
    )


def ruled(rules: int, limits: int) -> bytes:
    """A policy over one tool with so many conditional rules, none of which refuses, and limits."""
    rule = {"conditions": [{"path": "args.bid", "op": "gt", "value": 500}]}
    return encode(
        {
            "tools": {
                "tool_0": {
                    "deny_if": [rule] * rules,
                    "limits": [limit(f"c{i}", "day") for i in range(limits)],
                }
            }
        }
    )


def keyed() -> bytes:
    """A policy over one tool with one limit, that counts each `args.user` by itself."""
    return encode({"tools": {"tool_0": {"limits": [limit("c", "day", key="args.user")]}}})


def encode(parts: Document) -> bytes:
    """A policy document that denies what `parts` does not admit."""
    return json.dumps({"version": "1", "default": "deny", **parts}).encode()
