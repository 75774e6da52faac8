"""Calls that a person must approve, with real clients, processes and people at a command line.

The judge of what passed is the server: what it was never given was never let through, and what was
approved once reaches it once.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import socket
import sqlite3
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from support.pages import ROOT
from support.process import (
    HEADERS,
    WAIT_S,
    Answer,
    Sidecar,
    command,
    request,
    sidecar,
    tools_call,
    until,
    upstream,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

POLICY = {
    "version": "1",
    "default": "deny",
    "tools": {
        "greet": {"action": "require_approval", "reason": "a person says who is greeted"},
        "pay": {
            "action": "require_approval",
            "limits": [{"counter": "pays", "window": "month", "max": 100}],
        },
        "once": {
            "action": "require_approval",
            "limits": [{"counter": "once", "window": "month", "max": 1}],
        },
        "open": {},
    },
}
SERVER = (sys.executable, str(ROOT / "tests" / "support" / "sdk_server.py"))
PATHS = [(), ("--no-fast-path",)]


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(POLICY))
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "approvals.db"


def started(policy: Path, store: Path, url: str, *options: str) -> AbstractContextManager[Sidecar]:
    return sidecar(
        *("--policy", str(policy), "--upstream", url, "--approvals", str(store)),
        *("--log", str(store.with_name("log.jsonl")), *options),
    )


def approvals(*words: str, store: Path) -> Any:
    """What `interlock approvals` says, as data."""
    done = command("approvals", *words, "--store", str(store), "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def waiting(store: Path) -> str:
    """The id of the one request that waits."""
    (one,) = approvals("list", "--state", "pending", store=store)
    found: str = one["id"]
    return found


def approve(store: Path) -> str:
    return str(approvals("approve", waiting(store), "--by", "ann", store=store)["id"])


def told(answer: Answer) -> Any:
    return answer.json["result"]["_meta"]["interlock/decision"]


def call(tool: str, **arguments: Any) -> dict[str, Any]:
    asked = tools_call(tool)
    asked["params"]["arguments"] = arguments
    return asked


def lines(store: Path) -> list[dict[str, Any]]:
    """What the log tells of tool calls."""
    found = [
        json.loads(line)
        for path in store.parent.glob("log.jsonl*")
        for line in path.read_text().splitlines()
    ]
    return [line for line in found if line.get("tool")]


async def greeted(client: Client, name: str) -> tuple[bool, str]:
    """Whether a greeting was refused, and what the model is told."""
    result = await client.call_tool("greet", {"name": name})
    return bool(result.is_error), result.content[0].text  # type: ignore[union-attr]


async def play(client: Client, store: Path) -> None:
    """An agent and a person, from the refusal to the replay."""
    refused, text = await greeted(client, "bob")
    assert refused
    id = await asyncio.to_thread(waiting, store)
    assert f"`interlock approvals approve {id}`" in text
    assert "a person says who is greeted" in text
    shown = await asyncio.to_thread(lambda: approvals("show", id, store=store))
    assert (shown["tool"], shown["arguments"]) == ("greet", {"name": "bob"})
    await asyncio.to_thread(approve, store)
    assert (await greeted(client, "eve"))[0], "another argument is another call"
    assert await greeted(client, "bob") == (False, "hello bob")
    refused, text = await greeted(client, "bob")
    assert refused, "it was used"
    assert id not in text


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
def test_a_person_approves_and_the_very_same_call_passes_once(
    policy: Path, store: Path, mode: str
) -> None:
    async def story() -> None:
        with sidecar(
            *("--policy", str(policy), "--approvals", str(store), "--log", "none"), "--", *SERVER
        ) as it:
            async with (
                asyncio.timeout(WAIT_S),
                Client(f"http://{it.mcp}/mcp", mode=mode) as client,
            ):
                await play(client, store)
            assert await asyncio.to_thread(it.stop) == 0

    asyncio.run(story())


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
def test_a_client_that_is_held_hears_of_it_and_has_its_answer(
    tmp_path: Path, policy: Path, store: Path, mode: str
) -> None:
    config = {
        "version": "1",
        "log": {"path": "none"},
        "approvals": {"path": str(store), "wait_s": WAIT_S},
        "servers": {"parts": {"command": list(SERVER), "policy": str(policy)}},
    }
    path = tmp_path / "interlock.json"
    path.write_text(json.dumps(config))
    heard: list[str] = []
    waits = asyncio.Event()

    async def progress(done: float, total: float | None, text: str | None) -> None:
        heard.append(text or "")
        waits.set()

    async def story() -> None:
        with sidecar("--config", str(path)) as it:
            async with (
                asyncio.timeout(WAIT_S),
                Client(f"http://{it.mcp}/mcp", mode=mode) as client,
            ):
                asking = asyncio.create_task(
                    client.call_tool("greet", {"name": "bob"}, progress_callback=progress)
                )
                await waits.wait()
                id = await asyncio.to_thread(approve, store)
                result = await asking
                assert not result.is_error
                assert result.content[0].text == "hello bob"  # type: ignore[union-attr]
                assert id in heard[0]

    asyncio.run(story())


def test_between_two_pipes_it_is_the_same(policy: Path, store: Path) -> None:
    wrapped = StdioServerParameters(
        command=sys.executable,
        args=[
            *("-m", "gateway", "wrap", "--policy", str(policy), "--approvals", str(store)),
            *("--state", "memory", "--", *SERVER),
        ],
        env=dict(os.environ),
    )

    async def story() -> None:
        async with asyncio.timeout(WAIT_S), Client(stdio_client(wrapped)) as client:
            await play(client, store)

    asyncio.run(story())


@pytest.mark.parametrize("options", PATHS)
def test_each_request_has_one_line_and_one_count(
    policy: Path, store: Path, options: tuple[str, ...]
) -> None:
    with upstream() as server, started(policy, store, server.url, *options) as it:
        assert it.post(call("pay", to="bob")).decision == "approval-required"
        id = approve(store)
        assert it.post(call("pay", to="bob")).decision == "allowed"
        assert it.post(call("pay", to="bob")).decision == "approval-required"
        second = waiting(store)
        approvals("deny", second, "--remark", "not again", store=store)
        denied = told(it.post(call("pay", to="bob")))
        assert (denied["code"], denied["approval"]["state"]) == ("approval-denied", "denied")
        assert "not again" in denied["message"]
        metrics = it.get("/metrics").body.decode()
        counts = [line for line in metrics.splitlines() if line.startswith("interlock_decisions")]
        assert sum(float(line.rpartition(" ")[2]) for line in counts) == 4
        (limit,) = [one for one in it.get("/limits").json if one["counter"] == "pays"]
        assert limit["used"] == 1
        assert it.stop() == 0
        assert len(server.calls) == 1
    assert [(line["code"], line["approval"]) for line in lines(store)] == [
        ("approval-required", {"state": "pending", "id": id}),
        ("allowed", {"state": "approved", "id": id, "by": "ann"}),
        ("approval-required", {"state": "pending", "id": second}),
        (
            "approval-denied",
            {"state": "denied", "id": second, "by": lines(store)[3]["approval"]["by"]},
        ),
    ]


def test_a_restart_in_between_forgets_nothing_and_a_person_needs_no_sidecar(
    policy: Path, store: Path
) -> None:
    with upstream() as server:
        with started(policy, store, server.url) as it:
            assert it.call("pay") == "approval-required"
            assert it.stop() == 0
        approve(store)
        with started(policy, store, server.url) as it:
            assert it.call("pay") == "allowed"
            assert it.call("pay") == "approval-required"
        assert len(server.calls) == 1


def test_of_many_workers_and_connections_one_call_gets_it(policy: Path, store: Path) -> None:
    rounds, crowd = 5, 24
    with (
        upstream() as server,
        started(policy, store, server.url, "--workers", "2") as it,
        ThreadPoolExecutor(crowd) as pool,
    ):
        for number in range(1, rounds + 1):
            asked = call("pay", round=number)
            first = pool.map(lambda _: it.post(asked).decision, range(crowd))  # noqa: B023
            assert set(first) == {"approval-required"}
            approve(store)
            seen = Counter(pool.map(lambda _: it.post(asked).decision, range(crowd)))  # noqa: B023
            assert seen == {"allowed": 1, "approval-required": crowd - 1}
            assert len(server.calls) == number
            approvals("deny", waiting(store), store=store)


def test_an_approval_is_one_grants(tmp_path: Path, policy: Path, store: Path) -> None:
    tokens = {"ann": "a" * 43, "bob": "b" * 43}
    grants = [
        {"name": name, "tokens": [{"sha256": hashlib.sha256(token.encode()).hexdigest()}]}
        for name, token in tokens.items()
    ]
    with upstream() as server:
        config = {
            "version": "1",
            "log": {"path": "none"},
            "approvals": {"path": str(store)},
            "servers": {"bank": {"url": server.url, "policy": str(policy)}},
            "grants": grants,
        }
        path = tmp_path / "interlock.json"
        path.write_text(json.dumps(config))
        with sidecar("--config", str(path)) as it:

            def pay(name: str) -> str:
                fields = {**HEADERS, "authorization": f"Bearer {tokens[name]}"}
                body = json.dumps(call("pay", to="eve")).encode()
                return request(it.mcp, "POST", "/mcp", body, fields).decision

            assert pay("ann") == "approval-required"
            approve(store)
            assert pay("bob") == "approval-required"
            assert server.calls == []
            assert pay("ann") == "allowed"


def test_what_has_ended_lets_nothing_through(policy: Path, store: Path) -> None:
    with upstream() as server, started(policy, store, server.url) as it:
        it.call("pay")
        id = approve(store)
        with closing(sqlite3.connect(store)) as database, database:
            database.execute("UPDATE approval SET until = 1 WHERE id = ?", (id,))
        assert it.call("pay") == "approval-required"
        assert waiting(store) != id
        assert server.calls == []


def test_a_server_that_is_down_uses_nothing_up(policy: Path, store: Path) -> None:
    with closing(socket.socket()) as place:
        place.bind(("127.0.0.1", 0))
        port: int = place.getsockname()[1]
    with started(policy, store, f"http://127.0.0.1:{port}/mcp") as it:
        it.call("once")
        approve(store)
        assert it.call("once") == "upstream-unreachable"
        with upstream(port) as server:
            assert it.call("once") == "allowed", "neither the approval nor the limit was used up"
            assert it.call("once") == "approval-required"
            approve(store)
            assert it.call("once") == "limit-exceeded", "an approval is no room"
            assert it.call("once") == "limit-exceeded", "and is not used up by that"
            assert len(server.calls) == 1


def test_a_broken_store_refuses_and_nothing_else(policy: Path, store: Path) -> None:
    with upstream() as server, started(policy, store, server.url) as it:
        it.call("pay")
        approve(store)
        with closing(sqlite3.connect(store)) as database, database:
            database.execute("ALTER TABLE approval RENAME TO gone")
        refused = told(it.post(call("pay")))
        assert refused["code"] == "approval-required"
        assert refused["approval"] == {"state": "unavailable"}
        assert it.call("open") == "allowed"
        with closing(sqlite3.connect(store)) as database, database:
            database.execute("ALTER TABLE gone RENAME TO approval")
        assert it.call("pay") == "allowed", "it mends itself, and nothing was lost"
        assert len(server.calls) == 2


def test_a_store_that_cannot_be_had_stops_the_start(policy: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database" * 1000)
    done = command(
        *("run", "--policy", str(policy), "--upstream", "http://127.0.0.1:9/mcp"),
        *("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"),
        *("--approvals", str(tmp_path / "text")),
    )
    assert done.returncode == 69
    assert "error: " in done.stderr
    assert "help: " in done.stderr


def test_without_a_store_nobody_is_asked(policy: Path, tmp_path: Path) -> None:
    with (
        upstream() as server,
        sidecar("--policy", str(policy), "--upstream", server.url) as it,
    ):
        refused = told(it.post(call("pay")))
        assert refused["code"] == "approval-required"
        assert "approval" not in refused


def test_the_sweep_tells_how_many_wait(policy: Path, store: Path) -> None:
    with upstream() as server, started(policy, store, server.url) as it:
        it.call("pay")
        it.call("once")
        until(lambda: b"interlock_approvals_pending 2" in it.get("/metrics").body, "the gauge")
        assert b'interlock_approvals_total{outcome="asked"} 2' in it.get("/metrics").body


def test_a_killed_sidecar_lets_nothing_through_twice(policy: Path, store: Path) -> None:
    with upstream() as server, ThreadPoolExecutor(1) as pool:
        with started(policy, store, server.url) as it:
            assert it.call("pay") == "approval-required"
            approve(store)
            server.go_on.clear()
            lost = pool.submit(it.call, "pay")
            assert server.arrived.wait(WAIT_S)
            it.signal(signal.SIGKILL)
            it.wait()
            server.go_on.set()
            assert isinstance(lost.exception(WAIT_S), OSError | HTTPException)
        with started(policy, store, server.url) as it:
            assert it.call("pay") == "approval-required", "the server may have done it"
        assert len(server.calls) == 1
