"""Calls as a policy sees them: messages put together from their parts, instants and durations."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}

CODES = (
    "allowed", "default-deny", "hidden", "tool-denied", "requirement-unmet", "limit-exceeded",
    "tool-changed", "approval-required", "approval-denied", "method-denied", "malformed-request",
    "duplicate-key", "header-mismatch", "batch-not-allowed", "body-too-large", "too-deep",
    "number-out-of-range", "cost-invalid", "indeterminate", "tool-name-invalid", "method-unknown",
    "table-full", "contended", "state-unavailable", "log-unavailable", "overloaded",
    "internal-error",
)  # fmt: skip
"""What the core may decide."""


def tool_body(tool: str, arguments: str | None = None) -> bytes:
    """A `tools/call`; `arguments` is JSON text, taken as it is."""
    rest = "" if arguments is None else f',"arguments":{arguments}'
    params = f'{{"name":{json.dumps(tool)}{rest}}}'
    return f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}'.encode()


def method_body(method: str, params: str | None = None) -> bytes:
    """A request for a method, or a notification; `params` is JSON text, taken as it is."""
    rest = "" if params is None else f',"params":{params}'
    number = "" if method.startswith("notifications/") else '"id":1,'
    return f'{{"jsonrpc":"2.0",{number}"method":{json.dumps(method)}{rest}}}'.encode()


def instant(text: str) -> int | None:
    """Nanoseconds since 1970 UTC of an RFC 3339 instant, or None. Without an offset it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - EPOCH) // timedelta(microseconds=1) * 1_000


def duration(text: str) -> int | None:
    """Nanoseconds of `250ms`, `30s`, `5m`, `1h`, `1d`, `2w`, or several as in `1h30m`; or None."""
    if re.fullmatch(r"([0-9]+(ms|s|m|h|d|w))+", text) is None:
        return None
    parts = re.findall(r"([0-9]+)(ms|s|m|h|d|w)", text)
    return sum(int(number) * UNITS_MS[unit] for number, unit in parts) * 1_000_000


def moment(now_ns: int) -> str:
    """An instant for people: `2026-03-02 10:00:12`, with milliseconds where there are any."""
    when = EPOCH + timedelta(microseconds=now_ns // 1_000)
    text = when.strftime("%Y-%m-%d %H:%M:%S")
    return text if not when.microsecond else f"{text}.{when.microsecond // 1000:03}"


def counted(number: int, noun: str) -> str:
    """How many of something there are, for people: `1 call`, `9,200 calls`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def most(counts: Counter[str]) -> str:
    """The four largest counts for people, and how many more there are."""
    shown = [f"{name} ({count:,})" for name, count in counts.most_common(4)]
    more = len(counts) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def span(duration_ms: int) -> str:
    """A duration for people, in the notation that `duration` reads, exactly: `13h57m`."""
    parts = []
    for unit in ("d", "h", "m", "s", "ms"):
        count, duration_ms = divmod(duration_ms, UNITS_MS[unit])
        parts += [f"{count}{unit}"] if count else []
    return "".join(parts) or "0s"
