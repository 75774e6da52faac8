"""The decision log of a real process: what is in it, and what kills and blocked pipes do to it."""

from __future__ import annotations

import concurrent.futures
import http.client
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from gateway._core import verify_log
from support.process import (
    HEADERS,
    WAIT_S,
    command,
    request,
    sidecar,
    tools_call,
    until,
    upstream,
)

pytestmark = pytest.mark.e2e


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps({"version": "1", "default": "deny", "tools": {"open": {}}}))
    return path


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_request_has_a_line_and_the_chain_is_whole(policy: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with upstream() as server:
        options = ("--policy", str(policy), "--upstream", server.url, "--log", str(log))
        with sidecar(*options) as it:
            assert it.call("open") == "allowed"
            assert it.call("shut") == "default-deny"
            assert request(it.mcp, "PUT", "/mcp").status == 405
            assert request(it.mcp, "POST", "/mcp", b"{", {**HEADERS, "host": "x"}).status == 403
            assert request(it.mcp, "POST", "/mcp", b"{", HEADERS).status == 400
            assert request(it.mcp, "GET", "/mcp", headers={"accept": "text/plain"}).status == 406
            assert it.stop() == 0
        with sidecar(*options) as it:
            assert it.call("open") == "allowed"
            assert it.stop() == 0
    seen = [(r.get("event") or r["code"], r.get("method")) for r in records(log)]
    assert seen == [
        ("start", None),
        ("allowed", "tools/call"),
        ("default-deny", "tools/call"),
        ("method-not-allowed", "PUT"),
        ("host-not-allowed", None),
        ("malformed-request", None),
        ("not-acceptable", "GET"),
        ("stop", None),
        ("start", None),
        ("allowed", "tools/call"),
        ("stop", None),
    ]
    found = verify_log(str(log))
    assert (found["problems"], found["notes"], found["lines"]) == ([], [], 11)
    done = command("log", "verify", str(log))
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "11 lines, whole")


def test_it_goes_to_standard_output_by_itself(policy: Path) -> None:
    with upstream() as server:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "gateway", "run", "--policy", str(policy)),
                *("--upstream", server.url, "--listen", "127.0.0.1:0", "--admin", "none"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        place = process.stderr.readline().split("mcp=http://")[1].split("/")[0]
        body = json.dumps(tools_call("shut")).encode()
        assert request(place, "POST", "/mcp", body, HEADERS).status == 200
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=WAIT_S)
    codes = [json.loads(line).get("code") for line in out.splitlines()]
    assert codes == [None, "default-deny", None]


def test_on_a_terminal_it_is_a_short_line_a_decision(policy: Path) -> None:
    ours, theirs = pty.openpty()
    with upstream() as server:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "gateway", "run", "--policy", str(policy)),
                *("--upstream", server.url, "--listen", "127.0.0.1:0", "--admin", "none"),
            ],
            stdout=theirs,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(theirs)
        assert process.stderr is not None
        place = process.stderr.readline().split("mcp=http://")[1].split("/")[0]
        for tool in ("open", "shut\x1b[2K"):
            body = json.dumps(tools_call(tool)).encode()
            assert request(place, "POST", "/mcp", body, HEADERS).status == 200
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=WAIT_S)
    shown = os.read(ours, 1 << 16).decode().splitlines()
    os.close(ours)
    assert re.fullmatch(r"[0-9:]{8}  allow  open  [0-9.]+ ms  default@default", shown[0])
    assert re.fullmatch(
        r"[0-9:]{8}  deny   shut\\u001b\[2K  tool-name-invalid  /tools  default@default", shown[1]
    )
    assert len(shown) == 2


def test_wrap_logs_to_a_file_and_never_to_the_protocol(policy: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    options = ("wrap", "--policy", str(policy), "--state", "memory", "--log")
    assert command(*options, "-", "--", "cat").returncode == 2
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *options, str(log), "--", "cat"],
        input=json.dumps(tools_call("shut")) + "\n",
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert "default-deny" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert [r.get("code") for r in records(log)] == [None, "default-deny", None]


class Client(threading.Thread):
    """Calls one tool after the other on a connection, until it breaks."""

    def __init__(self, place: str) -> None:
        super().__init__()
        self.place = place
        self.answered = 0

    def run(self) -> None:
        body = json.dumps(tools_call("open")).encode()
        connection = http.client.HTTPConnection(self.place, timeout=WAIT_S)
        try:
            while True:
                connection.request("POST", "/mcp", body, HEADERS)
                connection.getresponse().read()
                self.answered += 1
        except (OSError, http.client.HTTPException):
            return
        finally:
            connection.close()


def test_a_kill_loses_no_more_lines_than_calls_were_in_flight(policy: Path, tmp_path: Path) -> None:
    log, clients, asked = tmp_path / "log.jsonl", 8, 0
    with upstream() as server:
        options = ("--policy", str(policy), "--upstream", server.url, "--log", str(log))
        for _ in range(4):
            with sidecar(*options) as it:
                running = [Client(it.mcp) for _ in range(clients)]
                for client in running:
                    client.start()
                until(lambda now=running: sum(c.answered for c in now) > 200, "calls")
                it.signal(signal.SIGKILL)
                it.wait()
                for client in running:
                    client.join(WAIT_S)
                asked += sum(client.answered for client in running)
                lines = sum(r.get("code") == "allowed" for r in whole(log))
                assert asked - clients <= lines <= len(server.calls)
                asked = lines  # what is lost stays lost
        with sidecar(*options) as it:
            assert it.stop() == 0
    found = verify_log(str(log))
    assert found["problems"] == []


def whole(log: Path) -> list[dict[str, Any]]:
    """The lines that were not torn."""
    return [json.loads(line) for line in log.read_bytes().split(b"\n")[:-1] if line[-2:] == b'"}']


def test_a_pipe_that_nobody_reads_holds_up_no_call(policy: Path, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    config = tmp_path / "interlock.yaml"
    with upstream() as server:
        config.write_text(
            json.dumps(
                {
                    "version": "1",
                    "log": {"path": "-", "buffer_bytes": 1 << 16},
                    "servers": {"default": {"url": server.url, "policy": str(policy)}},
                    "state": "memory",
                    "listen": "127.0.0.1:0",
                    "admin": "127.0.0.1:0",
                }
            )
        )
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "run", "--config", str(config)],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(writer)
        assert process.stderr is not None
        ready = process.stderr.readline()
        mcp, admin = (part.split("/")[2] for part in ready.split("=")[1:])
        mcp, admin = mcp.split()[0], admin.split()[0]
        codes: list[str] = []
        while not codes or codes[-1] != "log-unavailable":
            assert len(codes) < 5000
            answer = request(mcp, "POST", "/mcp", json.dumps(tools_call("open")).encode(), HEADERS)
            codes.append(answer.decision)
        assert len(server.calls) == len(codes) - 1
        told = json.loads(request(admin, "GET", "/readyz").body)
        assert not told["ready"]
        assert "decision log" in told["reasons"][0]
        with os.fdopen(reader, "rb") as lines, concurrent.futures.ThreadPoolExecutor() as pool:
            reading = pool.submit(lines.read)
            until(lambda: request(admin, "GET", "/readyz").status == 200, "it to recover")
            answer = request(mcp, "POST", "/mcp", json.dumps(tools_call("open")).encode(), HEADERS)
            assert answer.decision == "allowed"
            process.send_signal(signal.SIGTERM)
            process.wait(WAIT_S)
            text = reading.result(WAIT_S)
        process.stderr.close()
    told_of = [json.loads(line) for line in text.splitlines()]
    allowed = sum(r.get("code") == "allowed" for r in told_of)
    gaps = sum(r.get("gap", 0) for r in told_of)
    refused = sum(r.get("code") == "log-unavailable" for r in told_of)
    assert allowed == len(server.calls)
    assert refused + gaps >= 1
    piped = subprocess.run(
        [sys.executable, "-m", "gateway", "log", "verify", "-"], input=text, capture_output=True
    )
    assert piped.returncode == 0, piped.stdout


def test_nothing_secret_is_in_what_it_leaves(policy: Path, tmp_path: Path) -> None:
    secrets = [f"canary-{number}-6f1e" for number in range(6)]
    token, cookie, value, nested, session, query = secrets
    log = tmp_path / "log.jsonl"
    body = tools_call("open")
    body["params"]["arguments"] = {"password": value, "deep": {"key": [nested]}}
    fields = {
        **HEADERS,
        "authorization": f"Bearer {token}",
        "cookie": f"sid={cookie}",
        "mcp-session-id": session,
    }
    with upstream() as server:
        options = ("--policy", str(policy), "--upstream", server.url, "--log", str(log))
        with sidecar(*options) as it:
            raw = json.dumps(body).encode()
            plain = {key: value for key, value in fields.items() if key != "mcp-session-id"}
            assert request(it.mcp, "POST", "/mcp", raw, plain).status == 200
            assert request(it.mcp, "POST", "/mcp", raw.replace(b"open", b"shut"), plain).status
            assert request(it.mcp, "POST", "/mcp", raw, fields).status == 404
            assert request(it.mcp, "POST", f"/mcp?{query}", raw, plain).status
            assert request(it.mcp, "POST", "/mcp", raw[:-1], plain).status == 400
            metrics = it.get("/metrics").body
            assert it.stop() == 0
            told = it.all_output()
    left = log.read_text() + told + metrics.decode()
    assert "password" in left
    assert not [secret for secret in secrets if secret in left]


def test_each_worker_has_a_chain_and_a_dead_ones_goes_on(policy: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with upstream() as server:
        options = ("--policy", str(policy), "--upstream", server.url, "--log", str(log))
        with sidecar(*options, "--workers", "2") as it:
            for _ in range(20):
                assert it.call("open") == "allowed"
            victim = it.workers()[0]
            os.kill(victim, signal.SIGKILL)
            until(lambda: it.get("/readyz").status == 200 and victim not in it.workers(), "another")
            for _ in range(20):
                assert it.call("open") == "allowed"
            assert it.stop() == 0
    found = verify_log(str(log))
    assert [chain["file"] for chain in found["chains"]] == [str(log), f"{log}.w1"]
    assert found["problems"] == []
    lines = [r for name in (log, Path(f"{log}.w1")) for r in records(name)]
    assert sum(r.get("code") == "allowed" for r in lines) == 40
    assert {r["worker"] for r in lines} == {0, 1}


def test_a_log_that_cannot_be_opened_is_said_before_anything_opens(
    policy: Path, tmp_path: Path
) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("mine\n")
    for path in (notes, tmp_path / "no" / "folder", tmp_path):
        done = command(
            *("run", "--policy", str(policy), "--upstream", "http://127.0.0.1:9/mcp"),
            *("--listen", "127.0.0.1:0", "--admin", "none", "--log", str(path)),
        )
        assert done.returncode == 69, done.stderr
        assert f"the decision log `{path}` cannot be opened" in done.stderr
    assert notes.read_text() == "mine\n"
