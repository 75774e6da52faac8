"""What is recorded is what was decided, by a policy that was there, however often that changes; and
deciding it again says the same each time.

`INTERLOCK_CALLS`, `INTERLOCK_RELOADS` and `INTERLOCK_RECORDS` make them longer.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from counting import speaking

from gateway._core import Caller, Engine, LimitTable, PolicySet, verify_log
from support.logs import Desk
from support.process import HEADERS, WAIT_S, Sidecar, sidecar, tools_call, until, upstream

pytestmark = pytest.mark.e2e

CALLS = int(os.environ.get("INTERLOCK_CALLS", "3000"))
RELOADS = int(os.environ.get("INTERLOCK_RELOADS", "40"))
RECORDS = int(os.environ.get("INTERLOCK_RECORDS", "5000"))
TOOLS = ("always", "now-and-then", "never")
LIMIT = {"counter": "calls", "window": "month", "max": 1_000_000}


async def crowd(place: str, calls: int) -> Counter[tuple[str, str]]:
    """What so many calls are answered, by tool and code, on sixteen connections."""
    host, _, port = place.rpartition(":")
    codes: Counter[tuple[str, str]] = Counter()

    async def client(numbers: range) -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for number in numbers:
            tool = TOOLS[number % len(TOOLS)]
            body = json.dumps(tools_call(tool, id=number)).encode()
            fields = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
            head = f"POST /mcp HTTP/1.1\r\nhost: {place}\r\n{fields}content-length: {len(body)}"
            writer.write(head.encode() + b"\r\n\r\n" + body)
            told = (await reader.readuntil(b"\r\n\r\n")).lower().partition(b"content-length:")[2]
            answer = json.loads(await reader.readexactly(int(told.split(b"\r\n")[0])))
            meta = answer["result"].get("_meta", {}).get("interlock/decision", {})
            codes[tool, meta.get("code", "allowed")] += 1
        writer.close()
        await writer.wait_closed()

    async with asyncio.TaskGroup() as tasks:
        for first in range(16):
            tasks.create_task(client(range(first, calls, 16)))
    return codes


@pytest.mark.timeout(60 + CALLS // 500)
@pytest.mark.parametrize("workers", [1, 2])
def test_client_server_log_and_metrics_agree(tmp_path: Path, workers: int) -> None:
    log = tmp_path / "log.jsonl"
    (tmp_path / "policy.json").write_bytes(policy(1))

    seen: list[int] = []

    def reply(head: bytes, body: bytes) -> Iterable[bytes]:
        seen.append(json.loads(body)["id"])
        answer = json.dumps({"jsonrpc": "2.0", "id": seen[-1], "result": {"content": []}})
        told = f"content-type: application/json\r\ncontent-length: {len(answer)}"
        yield f"HTTP/1.1 200 OK\r\n{told}\r\n\r\n{answer}".encode()

    async def main() -> tuple[Counter[tuple[str, str]], int, str]:
        async with speaking(reply) as url:
            options = ("--policy", str(tmp_path / "policy.json"), "--upstream", url)
            more = ("--log", str(log), "--workers", str(workers))
            with sidecar(*options, *more) as it:
                codes = await crowd(it.mcp, CALLS)
                metrics = await asyncio.to_thread(it.get, "/metrics")
                assert it.stop() == 0
                return codes, len(seen), metrics.body.decode()

    codes, reached, metrics = asyncio.run(main())
    assert codes.total() == CALLS
    assert reached == sum(count for (_, code), count in codes.items() if code == "allowed")
    assert verify_log(str(log))["problems"] == []
    files = [file for file in tmp_path.iterdir() if file.name.startswith("log.jsonl")]
    assert len(files) == workers
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    decided = [line for line in lines if "event" not in line]
    assert Counter((line["tool"], line["code"]) for line in decided) == codes
    assert sorted(line["request_id"] for line in decided) == list(range(CALLS))
    counts = re.findall(
        r'^interlock_decisions_total{.*tool="(.*?)".*code="(.*?)"} (\d+)', metrics, re.M
    )
    known = {
        (tool if tool in ("always", "now-and-then") else "other", code) for tool, code in codes
    }
    told = {(tool, code): int(count) for tool, code, count in counts}
    assert {each for each, count in told.items() if count} == known
    assert sum(told.values()) == CALLS
    assert all(told.get(each, count) == count for each, count in codes.items())


def policy(number: int) -> bytes:
    """A policy that differs from all others, and by whose number a tool comes and goes."""
    tools: dict[str, Any] = {"always": {"limits": [LIMIT]}}
    if number % 2:
        tools["now-and-then"] = {"limits": [LIMIT]}
    document = {"version": "1", "default": "deny", "description": f"the {number}th", "tools": tools}
    return json.dumps(document).encode()


class Policies:
    """A policy file that changes in every way that there is."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "policy.json"
        self.published: dict[str, bytes] = {}
        self._folder = folder
        self._number = 0
        (folder / "0").mkdir()
        (folder / "0" / "policy.json").write_bytes(self._next())
        (folder / "data").symlink_to(folder / "0")
        self.path.symlink_to("data/policy.json")

    def _next(self) -> bytes:
        self._number += 1
        text = policy(self._number)
        self.published[hashlib.sha256(text).hexdigest()] = text
        return text

    def change(self) -> bool:
        """Change it; whether it is a policy then."""
        match self._number % 4:
            case 0:  # as Kubernetes does
                folder = self._folder / str(self._number)
                folder.mkdir()
                (folder / "policy.json").write_bytes(self._next())
                link = self._folder / "new"
                link.symlink_to(folder)
                link.replace(self._folder / "data")
            case 1:
                (self._folder / "data" / "policy.json").write_bytes(self._next())
            case 2:
                beside = self._folder / "data" / "beside"
                beside.write_bytes(self._next())
                beside.replace(self._folder / "data" / "policy.json")
            case _:
                self._number += 1
                broken = policy(self._number)[: -(self._number % 9) - 1]
                (self._folder / "data" / "policy.json").write_bytes(broken)
                return False
        return True


class Client(threading.Thread):
    """Calls one tool after the other on one connection until it is told to stop."""

    def __init__(self, place: str) -> None:
        super().__init__()
        self.codes: Counter[str] = Counter()
        self.enough = threading.Event()
        self._place = place

    def run(self) -> None:
        connection = http.client.HTTPConnection(self._place, timeout=WAIT_S)
        with contextlib.closing(connection):
            number = 0
            while not self.enough.is_set():
                number += 1
                call = tools_call(TOOLS[number % len(TOOLS)], id=number)
                connection.request("POST", "/mcp", json.dumps(call), HEADERS)
                result = json.loads(connection.getresponse().read())["result"]
                meta = result.get("_meta", {}).get("interlock/decision", {})
                self.codes[meta.get("code", "allowed")] += 1


def asked_of(clients: list[Client]) -> int:
    """Calls so far."""
    return sum(client.codes.total() for client in clients)


def reloaded(it: Sidecar) -> int:
    """How often it has looked at its policy and found another, or a broken one."""
    (told,) = it.get("/policies").json
    return int(told["reloads"]["success"] + told["reloads"]["failure"])


@pytest.mark.timeout(60 + RELOADS)
def test_each_line_is_of_a_policy_that_was_there_and_says_what_that_says(tmp_path: Path) -> None:
    policies, log = Policies(tmp_path), tmp_path / "log.jsonl"
    with (
        upstream() as server,
        sidecar(
            *("--policy", str(policies.path), "--upstream", server.url, "--log", str(log))
        ) as it,
    ):
        clients = [Client(it.mcp) for _ in range(4)]
        for client in clients:
            client.start()
        for _ in range(RELOADS):
            before = reloaded(it)
            policies.change()
            it.signal(signal.SIGHUP)
            until(lambda before=before: reloaded(it) > before, "the reload")
            asked = asked_of(clients)
            until(lambda most=asked + 10: asked_of(clients) > most, "calls")
        for client in clients:
            client.enough.set()
            client.join(WAIT_S)
        (usage, *_) = it.get("/limits").json
        assert it.stop() == 0
    assert verify_log(str(log))["problems"] == []
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    decided = [line for line in lines if "event" not in line]
    codes = sum((client.codes for client in clients), Counter())
    assert Counter(line["code"] for line in decided) == codes
    assert codes["allowed"] == len(server.calls) == usage["used"]
    engines: dict[str, Engine] = {}
    caller = Caller("default", server="default")
    for line in decided:
        text = policies.published[line["policy"]]
        if line["policy"] not in engines:
            compiled = PolicySet.parse(text, name="policy.json")
            engines[line["policy"]] = Engine(compiled, LimitTable(64))
        body = json.dumps(tools_call(line["tool"])).encode()
        again = engines[line["policy"]].decide(caller, body)
        assert (again.code, again.rule) == (line["code"], line["rule"]), line
    assert len(engines) > 1
    assert {line["code"] for line in decided if line["tool"] == "now-and-then"} == {
        *("allowed", "default-deny"),
    }
    sys.stderr.write(f"{RELOADS} reloads, {len(decided)} decisions, {len(engines)} policies\n")


@pytest.mark.timeout(60 + RECORDS // 1000)
def test_a_replay_says_the_same_each_time(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    desk = Desk(log)
    for number in range(RECORDS):
        desk.call(("read", "send", "wipe")[number % 3], grant=f"g{number % 5}", path="a")
    desk.close()
    strict = tmp_path / "policy.json"
    limit = {"counter": "c", "window": "minute", "max": 7}
    strict.write_text(
        json.dumps({"version": "1", "default": "deny", "tools": {"*": {"limits": [limit]}}})
    )
    replay = (sys.executable, "-m", "gateway", "replay", "--format", "json", str(strict), str(log))
    said = [subprocess.run(replay, capture_output=True, check=False) for _ in range(2)]
    assert [one.returncode for one in said] == [0, 0], said[0].stderr
    assert said[0].stdout == said[1].stdout
    assert json.loads(said[0].stdout)["calls"] == RECORDS
