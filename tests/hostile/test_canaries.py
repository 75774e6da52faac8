"""Twenty-four secrets go in wherever one can be, and none is in what the sidecar leaves."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from support.collector import collector
from support.process import HEADERS, Answer, Sidecar, request, sidecar, until
from support.serving import Quiet, serving

pytestmark = pytest.mark.e2e

KINDS = (
    *("good-token", "wrong-token", "operators-token", "basic", "proxy", "api-key", "cookie"),
    *("baggage", "query", "session", "argument", "nested", "long", "refused", "malformed"),
    *("twice", "progress", "resource", "prompt", "env-header", "file-header", "answer"),
    *("failed-answer", "set-cookie"),
)
CANARY = {kind: f"canary.{kind}.7f3a91" for kind in KINDS}
FOR_A_SERVER = {"env-header", "file-header"}
"""Which of them a server is to get, in heads."""


def digest(kind: str) -> str:
    return hashlib.sha256(CANARY[kind].encode()).hexdigest()


@contextmanager
def leaking() -> Iterator[tuple[str, list[str]]]:
    """A server whose answers are full of secrets, and the heads that it got."""
    heads: list[str] = []

    class Handler(Quiet):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            heads.append(str(self.headers))
            body = json.loads(self.body())
            fails = body["params"].get("name") == "fail"
            said = {"content": [{"type": "text", "text": CANARY["answer"]}]}
            answer = {"jsonrpc": "2.0", "id": body["id"], "result": said}
            text = CANARY["failed-answer"] if fails else json.dumps(answer)
            self.send_response(500 if fails else 200)
            self.send_header("content-type", "text/plain" if fails else "application/json")
            self.send_header("set-cookie", CANARY["set-cookie"])
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

    with serving(Handler) as port:
        yield f"http://127.0.0.1:{port}/mcp", heads


def configuration(folder: Path, url: str) -> Path:
    (folder / "key").write_text(CANARY["file-header"])
    policy = {"version": "1", "default": "allow", "tools": {"shut": {"action": "deny"}}}
    policy["tools"]["few"] = {"limits": [{"counter": "c", "window": "day", "max": 1}]}
    (folder / "policy.json").write_text(json.dumps(policy))
    place = folder / "interlock.json"
    headers = {"X-Env": "${env:UPSTREAM_KEY}", "X-File": "${file:key}"}
    place.write_text(
        json.dumps(
            {
                "version": "1",
                "listen": "127.0.0.1:0",
                "admin": "127.0.0.1:0",
                "admin_token_sha256": digest("operators-token"),
                "state": "memory",
                "log": {"path": str(folder / "log.jsonl")},
                "servers": {
                    "up": {"url": url, "headers": headers, "policy": "policy.json"},
                    "gone": {"url": "http://127.0.0.1:9/mcp", "policy": "policy.json"},
                },
                "grants": [{"name": "g", "token_sha256": digest("good-token")}],
            }
        )
    )
    return place


def message(name: str, arguments: dict[str, Any], method: str = "tools/call") -> bytes:
    params = {"name": name, "arguments": arguments, "_meta": {"progressToken": CANARY["progress"]}}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()


def provoke(it: Sidecar) -> list[Answer]:
    """Sends every secret down every way that a message can take; the answers that are ours."""
    good = {
        **HEADERS,
        "authorization": f"Bearer {CANARY['good-token']}",
        "cookie": f"sid={CANARY['cookie']}",
        "proxy-authorization": f"Basic {CANARY['proxy']}",
        "x-api-key": CANARY["api-key"],
    }

    def post(body: bytes, path: str = "/mcp/up", **fields: str) -> Answer:
        return request(it.mcp, "POST", path, body, {**good, **fields})

    arguments = {
        "password": CANARY["argument"],
        "deep": {"key": [{"er": CANARY["nested"]}]},
        "long": CANARY["long"] * 2000,
    }
    ours = []
    for name in ("open", "fail", "few", "few"):
        post(message(name, arguments), baggage=f"k={CANARY['baggage']}")
    ours.append(post(message("shut", {"x": CANARY["refused"]})))
    ours.append(post(message("few", arguments)))
    ours.append(post(message("open", arguments), "/mcp/gone"))
    ours.append(post(message("open", {"x": CANARY["malformed"]})[:-2]))
    ours.append(post(b'{"id":1,"id":"%b"}' % CANARY["twice"].encode()))
    post(message("open", {}), f"/mcp/up?token={CANARY['query']}")
    ours.append(post(message("open", arguments), **{"mcp-session-id": CANARY["session"]}))
    read = {"uri": f"file:///{CANARY['resource']}"}
    body = {"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": read}
    ours.append(post(json.dumps(body).encode(), "/mcp/gone"))
    prompt = message("p", {"x": CANARY["prompt"]}, "prompts/get")
    ours.append(post(prompt, "/mcp/gone"))
    for scheme, kind in (("Bearer", "wrong-token"), ("Basic", "basic")):
        ours.append(post(message("open", {}), authorization=f"{scheme} {CANARY[kind]}"))
    with suppress(OSError):
        ours.append(
            request(it.mcp, "GET", "/mcp/up", None, {**good, "accept": "text/event-stream"})
        )
    return ours


@pytest.mark.parametrize("fast", [True, False], ids=["fast", "asgi"])
def test_no_secret_is_in_what_it_leaves(fast: bool, tmp_path: Path) -> None:
    assert len(KINDS) == 24
    told: list[str] = []
    door = () if fast else ("--no-fast-path",)
    with collector() as taken, leaking() as (url, heads):
        env = {
            "UPSTREAM_KEY": CANARY["env-header"],
            "OTEL_EXPORTER_OTLP_ENDPOINT": taken.url,
            "OTEL_BSP_SCHEDULE_DELAY": "20",
            "NO_PROXY": "127.0.0.1",
            "PYTHONASYNCIODEBUG": "1",
        }
        config = configuration(tmp_path, url)
        with sidecar("--config", str(config), "--otel", *door, env=env) as it:
            answers = provoke(it)
            assert len(answers) >= 10
            operators = {"authorization": f"Bearer {CANARY['operators-token']}"}
            pages = ("/metrics", "/policies", "/limits", "/readyz", "/version")
            told += [it.get(path, **operators).body.decode() for path in pages]
            told.append(it.get("/limits", authorization="Bearer nobody").body.decode())
            config.write_text(config.read_text().replace('"version": "1"', '"versoin": "1"'))
            until(lambda: "stale" in it.get("/readyz").json, "the broken configuration")
            told.append(it.get("/readyz", **operators).body.decode())
            until(lambda: len(taken.spans) >= 8, "spans")
            assert it.stop() == 0
            told.append(it.all_output())
    told += [f"{answer.headers} {answer.body.decode()}" for answer in answers]
    told += [(tmp_path / "log.jsonl").read_text(), str(taken.spans)]
    left = "\n".join(told)
    assert '"password"' in left, "what may be told is told"
    assert {code for code in ("deny", "limit-exceeded", "unauthenticated") if code in left}
    assert [kind for kind in KINDS if CANARY[kind] in left] == []
    # What a server gets is its own credentials, and nobody else's.
    sent = "\n".join(heads)
    assert {kind for kind in KINDS if CANARY[kind] in sent} - {"baggage"} == FOR_A_SERVER
