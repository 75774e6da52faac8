"""Reads the data cases of `cases/*.yaml` into steps that any decider can be walked through.

The format is described in `cases/README.md`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "cases"
BEGIN = "2026-03-02T00:00:00Z"
"""When a case starts that does not say; a Monday, and no month's first day."""

UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
STEP_KEYS = {
    "at", "after", "call", "body", "headers", "caller", "as", "settle", "outcome", "install",
    "expect",
}  # fmt: skip
EXPECT_KEYS = {
    "allowed", "code", "rule", "counter", "limit", "window", "remaining", "retry_after_ms",
    "shadow",
}  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One thing that happens: a message, the end of a call, or a new policy."""

    at_ns: int
    body: bytes | None = None
    headers: list[tuple[bytes, bytes]] | None = None
    caller: dict[str, str | None] = field(default_factory=dict)
    label: str | None = None
    settle: str | None = None
    outcome: str = "done"
    install: str | None = None
    expect: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """A policy and what happens under it."""

    file: str
    name: str
    policy: str
    steps: list[Step]


def policy_text(policy: Any) -> str:
    """A policy as JSON text; text is taken as it is."""
    return policy if isinstance(policy, str) else json.dumps(policy, ensure_ascii=False)


def instant(text: str) -> int:
    """Nanoseconds since 1970 of an RFC 3339 instant, to the millisecond."""
    since = datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)
    return since // timedelta(milliseconds=1) * 1_000_000


def duration(text: str) -> int:
    """Nanoseconds of `90s`, `250ms`, `-1h`."""
    found = re.fullmatch(r"(-?[0-9]+)(ms|s|m|h|d)", text)
    assert found, f"not a duration: {text}"
    return int(found[1]) * UNIT_MS[found[2]] * 1_000_000


def call_body(call: dict[str, Any]) -> bytes:
    """A request for `{tool, args}` or `{method, params}`, whose text values are JSON as it is."""

    def raw(value: Any) -> str:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    assert set(call) <= {"tool", "args", "method", "params"}, call
    if "tool" in call:
        arguments = f',"arguments":{raw(call["args"])}' if "args" in call else ""
        params = f',"params":{{"name":{json.dumps(call["tool"], ensure_ascii=False)}{arguments}}}'
        return f'{{"jsonrpc":"2.0","id":1,"method":"tools/call"{params}}}'.encode()
    params = f',"params":{raw(call["params"])}' if "params" in call else ""
    return f'{{"jsonrpc":"2.0","id":1,"method":{json.dumps(call["method"])}{params}}}'.encode()


def steps(rows: list[dict[str, Any]], caller: dict[str, str | None]) -> list[Step]:
    """The steps of one case; a clock runs through them."""
    now = instant(BEGIN)
    found = []
    for row in rows:
        assert set(row) <= STEP_KEYS, f"unknown keys in {row}"
        assert set(row.get("expect", {})) <= EXPECT_KEYS, f"unknown keys in {row['expect']}"
        now = instant(row["at"]) if "at" in row else now
        now += duration(row["after"]) if "after" in row else 0
        body = row["body"].encode() if "body" in row else None
        headers = row.get("headers")
        found.append(
            Step(
                at_ns=now,
                body=call_body(row["call"]) if "call" in row else body,
                headers=None
                if headers is None
                else [(name.encode(), value.encode()) for name, value in headers.items()],
                caller={**caller, **row.get("caller", {})},
                label=row.get("as"),
                settle=row.get("settle"),
                outcome=row.get("outcome", "done"),
                install=policy_text(row["install"]) if "install" in row else None,
                expect=row.get("expect", {}),
            )
        )
    return found


def load(file: str) -> list[Case]:
    """Every case of one file."""
    rows = yaml.safe_load((FOLDER / file).read_text(encoding="utf-8"))
    for row in rows:
        assert set(row) <= {"name", "policy", "caller", "steps"}, f"unknown keys in {row['name']}"
    return [
        Case(
            file.removesuffix(".yaml"),
            row["name"],
            policy_text(row["policy"]),
            steps(row["steps"], row.get("caller", {})),
        )
        for row in rows
    ]


FILES = (
    "policy.yaml", "conditions.yaml", "patterns.yaml", "numbers.yaml", "limits.yaml",
    "messages.yaml",
)  # fmt: skip


def load_all() -> list[Case]:
    """Every case of every file."""
    return [case for file in FILES for case in load(file)]
