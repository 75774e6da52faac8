"""docs/tracing.md lists the attributes that there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.tracing import attributes
from support.pages import plain, sections, table

if TYPE_CHECKING:
    from gateway.tracing import SpanRow

ROW: SpanRow = {
    "trace_id": 1, "span_id": 1, "parent_id": None, "parent_sampled": False,
    "started_ns": 0, "ended_ns": 1, "grant": "g", "server": "s", "session": "d",
    "method": "tools/call", "tool": "t", "request_id": '"\\u0061"', "allowed": False,
    "code": "limit-exceeded", "rule": "/tools/t", "counter": "c", "remaining": "0",
    "shadow": 1, "policy": "p", "status": 200, "fault": None,
}  # fmt: skip


def test_the_attributes_are_those_there_are() -> None:
    rows = table(sections("docs/tracing.md", 2)["What is exported"].splitlines())
    told = [plain(row["attribute"]) for row in rows]
    found = dict(attributes(ROW, "tcp"))
    assert told == list(found)
    assert found["jsonrpc.request.id"] == "a"
    assert found["error.type"] == "limit-exceeded"
