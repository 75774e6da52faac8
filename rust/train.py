"""What a release build learns from: `maturin build --pgo` runs this on an instrumented extension.

The compiler then lays out the code by how often each branch was taken here (profile-guided
optimisation), so this does what a busy gateway does, in about the proportions of one: calls of many
shapes from several clients, most allowed, some refused by each kind of rule, answers whole and as
event streams, with and without a decision log. What is measured in `bench/` is another message and
another policy, on purpose. Nothing here depends on chance, so that builds stay alike.
"""

from __future__ import annotations

import json
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

from gateway._core import Caller, DecisionLog, Engine, Exchange, Gate, Intake, LimitTable, PolicySet

ROUNDS = 500
ROOM = 1_000_000_000
TOKEN = b"ilk_training0000000000000000000000000000000"


def limit(counter: str, window: str, **more: object) -> dict[str, object]:
    """A limit that is charged and, unless `max` is given, never exhausted."""
    return {"counter": counter, "window": window, "max": ROOM, **more}


POLICY = {
    "version": "1",
    "default": "deny",
    "hide": ["admin_*"],
    "all_tools": {
        "deny_if": [{"conditions": [{"path": "args.path", "op": "contains", "value": ".."}]}],
        "limits": [limit("all", "hour")],
    },
    "tools": {
        "search_*": {"limits": [limit("searches", "minute")]},
        "get_profile": {},
        "list_messages": {"limits": [limit("reads", "10m", algorithm="sliding_window")]},
        "submit_proposal": {
            "require": [{"conditions": [{"path": "args.job.id", "op": "exists", "value": True}]}],
            "deny_if": [{"conditions": [{"path": "args.bid", "op": "gt", "value": 500}]}],
            "limits": [
                limit("bids", "day", cost="args.bid"),
                limit("jobs", "day", key="args.job.id"),
            ],
        },
        "write_file": {
            "limits": [limit("writes", "minute", algorithm="token_bucket", burst=1_000_000)]
        },
        "upload": {"limits": [{"counter": "uploads", "algorithm": "concurrency", "max": 1_000}]},
        "close_session": {"limits": [limit("closed", "minute", max=30)]},
        **{f"tool_{n}": {"limits": [limit(f"c{n}", "day")]} for n in range(60)},
    },
}

CALLS: list[tuple[str, dict[str, Any]]] = [
    ("search_jobs", {"query": "rust engineer", "page": 1, "filters": {"remote": True, "min": 40}}),
    ("search_docs", {"query": "Zürich, «Straßenbahn» \U0001f68b", "limit": 10, "after": None}),
    ("get_profile", {}),
    ("list_messages", {"thread": "0d3e9a62-77f6-4d8e-9a1c-2f3b8c1d4e5f", "unread": False}),
    ("submit_proposal", {"job": {"id": "8841"}, "bid": 120.5, "cover": "Dear team,\n" + "a " * 90}),
    ("submit_proposal", {"job": {"id": "8842"}, "bid": 700, "answers": ["yes", "no", 3]}),
    ("submit_proposal", {"bid": 20}),
    ("write_file", {"path": "/srv/notes/plan.md", "text": '# Plan\n\n- one\n- "two"\n' * 12}),
    ("write_file", {"path": "/srv/../etc/passwd", "text": "x"}),
    ("upload", {"name": "a.bin", "data": "QUJD" * 300, "parts": [[1, 2.5, -3e2], [0.25], []]}),
    ("close_session", {"id": 17}),
    ("drop_database", {"name": "production", "force": True}),
    *((f"tool_{n}", {"id": n, "name": f"item {n}", "tags": ["a", "b"]}) for n in range(0, 60, 6)),
]

HEADS = [
    b"Host: 127.0.0.1:8080\r\nAccept: application/json, text/event-stream\r\n"
    b"Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n"
    b"User-Agent: python-httpx/0.28.1\r\n"
    b"MCP-Protocol-Version: 2025-06-18\r\nContent-Type: application/json\r\n",
    b"host: 127.0.0.1:8080\r\nconnection: keep-alive\r\ncontent-type: application/json\r\n"
    b"accept: application/json, text/event-stream\r\nmcp-protocol-version: 2025-11-25\r\n"
    b"authorization: Bearer %b\r\naccept-language: *\r\nsec-fetch-mode: cors\r\n"
    b"user-agent: node\r\naccept-encoding: gzip, deflate\r\n" % TOKEN,
]

RESULT = json.dumps(
    {
        "jsonrpc": "2.0",
        "id": 1,
        "result": {"content": [{"type": "text", "text": "done: " + "b" * 300}], "isError": False},
    }
).encode()
PLAIN = (
    b"HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(RESULT), RESULT)
)
NOTICE = b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1}}'
STREAM = [
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
    *(
        b"%x\r\n%b\r\n" % (len(event), event)
        for event in (b"event: message\r\ndata: %b\r\n\r\n" % each for each in (NOTICE, RESULT))
    ),
    b"0\r\n\r\n",
]
LIST = json.dumps(
    {
        "jsonrpc": "2.0",
        "id": 1,
        "result": {
            "tools": [
                {"name": name, "description": "c" * 80, "inputSchema": {"type": "object"}}
                for name in ("search_jobs", "admin_reset", "get_profile", "submit_proposal")
            ]
        },
    }
).encode()


def message(method: str, params: dict[str, Any], number: int) -> bytes:
    """A request as clients spell it: every other one without blanks."""
    body = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    return json.dumps(
        body, separators=(",", ":") if number % 2 else None, ensure_ascii=number % 3 == 0
    ).encode()


def messages() -> list[bytes]:
    """One of each."""
    calls = [
        message(
            "tools/call", {"name": name, "arguments": arguments, "_meta": {"progressToken": n}}, n
        )
        for n, (name, arguments) in enumerate(CALLS)
    ]
    return [*calls, message("ping", {}, 98), message("tools/list", {}, 99)]


def decide(engine: Engine, bodies: list[bytes]) -> None:
    """What the slow door asks of the core."""
    caller = Caller("agent", server="upwork")
    for body in bodies:
        decision = engine.decide(caller, body, [(b"mcp-protocol-version", b"2025-06-18")])
        if decision.allowed:
            engine.settle(decision, "done", status=200)
        else:
            decision.answer()
    engine.filter_list(caller, LIST)


def relay(gate: Gate, requests: list[bytes]) -> None:
    """What the fast path asks of it, for one connection."""
    intake = Intake(gate)
    for number, request in enumerate(requests):
        found = intake.receive(request)
        if isinstance(found, Exchange):
            _ = found.tag, found.request, found.kind
            for piece in STREAM if number % 5 == 0 else [PLAIN]:
                found.feed(piece)
            found.finish()


def train(log: DecisionLog | None) -> None:
    """All of it, over and over."""
    policies = PolicySet.parse(json.dumps(POLICY).encode(), name="training.json")
    engine = Engine(policies, LimitTable(), log=log)
    ours = b"POST /mcp HTTP/1.1\r\nhost: 127.0.0.1:9000\r\naccept-encoding: identity\r\n"
    way = (b"/mcp", engine, "agent", "upwork", ours, [b"host", b"accept-encoding"], 0, True)
    tokens = [(sha256(TOKEN).digest(), "agent", None)]
    gate = Gate(hosts=[b"127.0.0.1:8080"], routes=[way], tokens=tokens)
    bodies = messages()
    talks = [
        [
            b"POST /mcp HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)
            for body in bodies
        ]
        for head in HEADS
    ]
    for _ in range(ROUNDS):
        decide(engine, bodies)
        for talk in talks:
            relay(gate, talk)


def main() -> None:
    """Without a log, which is the commonest, and with one."""
    train(None)
    with tempfile.TemporaryDirectory() as folder:
        log = DecisionLog(str(Path(folder, "decisions.jsonl")))
        train(log)
        log.close(60)


if __name__ == "__main__":
    main()
