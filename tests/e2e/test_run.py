"""`interlock run` as a process: what it prints, where it serves, how it reloads and how it ends."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from support.process import HEADERS, command, request, sidecar, tools_call, until, upstream

pytestmark = pytest.mark.e2e


def write(path: Path, **tools: Any) -> Path:
    path.write_text(json.dumps({"version": "1", "default": "deny", "tools": tools}))
    return path


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    return write(tmp_path / "policy.json", open={})


def test_it_serves_once_it_says_so_and_ends_with_0(policy: Path) -> None:
    with upstream() as server, sidecar("--policy", str(policy), "--upstream", server.url) as it:
        assert it.get("/livez").status == 200
        assert it.get("/readyz").json == {"ready": True, "reasons": []}
        assert it.call("open") == "allowed"
        assert it.call("shut") == "default-deny"
        assert [call["params"]["name"] for call in server.calls] == ["open"]
        assert it.get("/policies").json[0]["source"] == str(policy)
        assert it.stop() == 0


def test_it_serves_on_asyncios_loop_where_there_is_no_other(policy: Path, tmp_path: Path) -> None:
    (tmp_path / "uvloop.py").write_text("raise ImportError('not here')")
    env = {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    with (
        upstream() as server,
        sidecar("--policy", str(policy), "--upstream", server.url, env=env) as it,
    ):
        assert it.get("/version").json["loop"] == "asyncio"
        assert it.call("open") == "allowed"
        assert it.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_drain_finishes_what_runs_and_takes_nothing_new(
    policy: Path, number: signal.Signals
) -> None:
    with upstream() as server, sidecar("--policy", str(policy), "--upstream", server.url) as it:
        server.go_on.clear()
        connection = http.client.HTTPConnection(it.mcp)
        connection.request("POST", "/mcp", json.dumps(tools_call("open")), HEADERS)
        assert server.arrived.wait(10)
        it.signal(number)
        until(lambda: it.get("/readyz").status == 503, "readiness to turn")
        assert it.get("/readyz").json["reasons"] == ["draining"]
        with pytest.raises(ConnectionRefusedError):
            request(it.mcp, "POST", "/mcp")
        server.go_on.set()
        response = connection.getresponse()
        assert response.status == 200
        assert response.getheader("connection") == "close"
        assert json.loads(response.read())["result"]["content"]
        connection.close()
        assert it.wait() == 0


def test_the_grace_is_an_end_and_the_running_call_is_told(policy: Path) -> None:
    options = ("--policy", str(policy), "--grace", "0.2")
    with upstream() as server, sidecar(*options, "--upstream", server.url) as it:
        server.go_on.clear()
        replies: list[Any] = []
        caller = threading.Thread(target=_call, args=(it.mcp, replies))
        caller.start()
        assert server.arrived.wait(10)
        assert it.stop() == 0
        caller.join(10)
        (reply,) = replies
        assert reply.status == 200
        assert reply.json["id"] == tools_call("open")["id"]
        assert reply.json["result"]["isError"] is True
        assert reply.json["result"]["_meta"]["interlock/decision"]["code"] == "draining"


def _call(place: str, replies: list[Any]) -> None:
    body = json.dumps(tools_call("open")).encode()
    replies.append(request(place, "POST", "/mcp", body, HEADERS))


def test_a_second_signal_ends_the_grace(policy: Path) -> None:
    options = ("--policy", str(policy), "--grace", "600")
    with upstream() as server, sidecar(*options, "--upstream", server.url) as it:
        server.go_on.clear()
        replies: list[Any] = []
        caller = threading.Thread(target=_call, args=(it.mcp, replies))
        caller.start()
        assert server.arrived.wait(10)
        it.signal(signal.SIGTERM)
        until(lambda: it.get("/readyz").status == 503, "the drain to begin")
        it.signal(signal.SIGTERM)
        assert it.wait() == 0
        caller.join(10)
        assert [reply.status for reply in replies] == [200]


def test_a_changed_policy_is_taken_up_by_itself(policy: Path) -> None:
    with upstream() as server, sidecar("--policy", str(policy), "--upstream", server.url) as it:
        assert it.call("shut") == "default-deny"
        write(policy, shut={})
        until(lambda: it.call("shut") == "allowed", "the new policy")
        policy.write_text("{")
        until(lambda: it.get("/policies").json[0]["last_error"] is not None, "the error")
        assert it.call("shut") == "allowed"


def test_sighup_reloads(policy: Path) -> None:
    with upstream() as server, sidecar("--policy", str(policy), "--upstream", server.url) as it:
        it.signal(signal.SIGHUP)

        def looked() -> bool:
            reloads = it.get("/policies").json[0]["reloads"]
            return bool(reloads == {"success": 0, "failure": 0, "unchanged": 1})

        until(looked, "the reload")
        assert it.call("open") == "allowed"


def test_an_invalid_policy_opens_nothing(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text("{")
    done = command("run", "--policy", str(path), "--upstream", "http://127.0.0.1:9/mcp")
    assert done.returncode == 64
    assert done.stderr.startswith(f"{path}:1:")
    assert "error[" in done.stderr
    assert "ready" not in done.stderr


def test_every_problem_of_the_settings_is_told(policy: Path) -> None:
    done = command(
        *("run", "--policy", str(policy), "--upstream", "ftp://x/", "--name", "a b"),
        *("--listen", "0.0.0.0:8080"),
    )
    assert done.returncode == 64
    assert [line for line in done.stderr.splitlines() if line.startswith("error:")] == [
        "error: `a b` cannot be a server's name",
        "error: the URL of server `a b` is not an http or https URL",
        "error: `0.0.0.0:8080` is open to other machines and a request needs no credentials",
    ]


def test_a_port_in_use_is_69(policy: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        for workers in ("1", "2"):
            done = command(
                *("run", "--policy", str(policy), "--upstream", "http://127.0.0.1:9/mcp"),
                *("--listen", place, "--state", "memory", "--workers", workers),
            )
            assert done.returncode == 69
            assert f"cannot listen on `{place}`" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["run", "--policy", "p.json"],
        ["run", "--policy", "p.json", "--upstream", "http://x/", "--", "server"],
        ["run", "--policy", "p.json", "--upstream", "http://x/", "--listen", "8080"],
        ["nonsense"],
    ],
)
def test_usage_is_2(arguments: list[str]) -> None:
    assert command(*arguments).returncode == 2


def test_the_environment_speaks_where_the_command_line_does_not(policy: Path) -> None:
    with upstream() as server:
        env = {
            "INTERLOCK_POLICY": str(policy),
            "INTERLOCK_UPSTREAM": server.url,
            "INTERLOCK_NAME": "from-environment",
            "INTERLOCK_ADMIN": "none",
        }
        with sidecar("--name", "from-command-line", env=env) as it:
            assert it.get("/policies").json[0]["server"] == "from-command-line"
            assert it.call("open") == "allowed"


def test_what_is_not_http_1_is_not_served(policy: Path) -> None:
    with upstream() as server, sidecar("--policy", str(policy), "--upstream", server.url) as it:
        upgrade = {"connection": "upgrade", "upgrade": "h2c", "http2-settings": "AAMAAABk"}
        assert request(it.admin, "GET", "/livez", headers=upgrade).status == 200
        host, _, port = it.mcp.partition(":")
        with socket.create_connection((host, int(port)), timeout=10) as wire:
            wire.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            assert wire.recv(4096).startswith(b"HTTP/1.1 4")
        websocket = {
            "connection": "upgrade",
            "upgrade": "websocket",
            "sec-websocket-version": "13",
            "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        }
        assert request(it.mcp, "GET", "/mcp", headers=websocket).status == 403
        for size in (40_000, 200_000):
            answer = request(it.mcp, "GET", "/mcp", headers={"x-large": "x" * size})
            assert answer.status == 431
            assert answer.json["error"]["code"] == -32600
