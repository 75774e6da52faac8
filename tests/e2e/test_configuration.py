"""A configuration of two servers and three grants, with real clients, servers and processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from support.pages import ROOT
from support.process import HEADERS, Answer, command, request, sidecar, tools_call, until, upstream

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

CONFIG = """
version: "1"
grace_s: 1
log: {{path: none}}
servers:
  web: {{url: "http://127.0.0.1:{port}/mcp", policy: allow.json}}
  pipe: {{command: [{python}, "-m", support.sdk_server], env: {{PYTHONPATH: "{tests}"}}}}
grants:
  - name: signed
    servers: {{web: allow.json, pipe: allow.json}}
    jwt:
      issuer: https://issuer.example
      audience: interlock
      subject: "ci:*"
      jwks_file: jwks.json
grants_file: grants.json
"""
ALLOW = {"version": "1", "default": "allow"}
NO_GREETING = {"version": "1", "default": "allow", "tools": {"greet": {"action": "deny"}}}
KEY = ec.generate_private_key(ec.SECP256R1())


def signed(**claims: Any) -> str:
    said = {"iss": "https://issuer.example", "aud": "interlock", "sub": "ci:x"}
    said = {**said, "exp": time.time() + 600, **claims}
    return jwt.encode(said, KEY, "ES256", headers={"kid": "k"})


def granted(folder: Path, *words: str) -> dict[str, Any]:
    done = command("grant", *words, "--config", str(folder / "interlock.yaml"), "--format", "json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "allow.json").write_text(json.dumps(ALLOW))
    (tmp_path / "deny.json").write_text(json.dumps(NO_GREETING))
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(KEY.public_key()))
    public.pop("key_ops", None)
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [{**public, "kid": "k"}]}))
    return tmp_path


@contextmanager
def sdk_server() -> Iterator[int]:
    """The SDK's server over HTTP; its port."""
    with subprocess.Popen(
        [sys.executable, "-m", "support.sdk_http_main"],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
    ) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


def greet(place: str, server: str, token: str) -> str:
    """What a client of the SDK is told that calls `greet`."""
    from mcp import Client
    from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client

    async def main() -> str:
        url = f"http://{place}/mcp/{server}"
        async with create_mcp_http_client(headers={"Authorization": f"Bearer {token}"}) as http:
            transport = streamable_http_client(url, http_client=http)
            async with Client(transport, read_timeout_seconds=20) as client:
                result = await client.call_tool("greet", {"name": "you"})
        return "".join(getattr(block, "text", "") for block in result.content)

    return asyncio.run(main())


def test_two_servers_and_three_grants(folder: Path) -> None:
    with sdk_server() as port:
        (folder / "interlock.yaml").write_text(
            CONFIG.format(port=port, python=json.dumps(sys.executable), tests=ROOT / "tests")
        )
        reader = granted(folder, "create", "reader", "--server", "web")["token"]
        shared = json.loads((folder / "grants.json").read_text())
        shared["grants"][0]["servers"] = {"web": "deny.json"}
        (folder / "grants.json").write_text(json.dumps(shared))
        both = granted(folder, "create", "both")["token"]
        with configured(folder) as place:
            assert greet(place, "web", both) == "hello you"
            assert greet(place, "web", reader).startswith("[POLICY DENIED]")
            for server in ("web", "pipe"):
                assert greet(place, server, signed()) == "hello you"
            # No policy for `both` on the second server, and no such server for `reader`.
            for token in (both, reader):
                assert ask(place, "pipe", token).status == 403
            for stranger in (None, signed(sub="cd:x"), signed(aud="x"), both[:-1]):
                answer = ask(place, "web", stranger)
                assert answer.status == 401
                assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_rotation_and_a_revocation_reach_every_worker(folder: Path) -> None:
    with upstream() as server:
        (folder / "interlock.yaml").write_text(
            'version: "1"\ngrants_file: grants.json\nlog: {path: none}\nworkers: 2\n'
            f'servers: {{s: {{url: "{server.url}", policy: allow.json}}}}\n'
        )
        old = granted(folder, "create", "a")["token"]
        with sidecar("--config", str(folder / "interlock.yaml")) as running:
            place = running.mcp

            def statuses(token: str) -> set[int]:
                """Of several connections, so that both workers are asked."""
                return {ask(place, "s", token).status for _ in range(12)}

            assert statuses(old) == {200}
            new = granted(folder, "rotate", "a")["token"]
            until(lambda: statuses(new) == {200}, "the new token")
            assert statuses(old) == {200}, "both count"
            config = str(folder / "interlock.yaml")
            assert command("grant", "revoke", "a", "--config", config).returncode == 0
            running.signal(signal.SIGHUP)
            until(lambda: statuses(old) | statuses(new) == {401}, "the revocation")
            assert running.stop() == 0


def test_the_wrong_words_together_are_refused(folder: Path) -> None:
    (folder / "interlock.yaml").write_text("{}")
    path = str(folder / "interlock.yaml")
    done = command("run", "--config", path, "--upstream", "http://h/")
    assert done.returncode == 2
    assert "give --config or --upstream, not both" in done.stderr
    done = command("run", "--config", path, "--", "x")
    assert done.returncode == 2
    done = command("run", "--config", path)
    assert done.returncode == 64
    assert f"{path}:1:1: error[missing-key]: `version` is missing" in done.stderr
    done = command("run", env={"INTERLOCK_CONFIG": path})
    assert done.returncode == 64, "the environment may name it"


@contextmanager
def configured(folder: Path) -> Iterator[str]:
    """The sidecar, by its HOST:PORT."""
    with sidecar("--config", str(folder / "interlock.yaml"), "--state", "memory") as running:
        yield running.mcp


def ask(place: str, server: str, token: str | None) -> Answer:
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    body = json.dumps(tools_call("t")).encode()
    return request(place, "POST", f"/mcp/{server}", body, {**HEADERS, **headers})
