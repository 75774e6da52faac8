"""Whoever is told of a call that waits, and decides it on the operators' port: with real processes.

The receiver and the server are the judges: what each of them was given.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from support.process import Sidecar, command, request, sidecar, tools_call, until, upstream
from support.serving import Quiet, serving

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

KEY = b"k" * 32
TOKEN = "t" * 43
POLICY = {
    "version": "1",
    "default": "allow",
    "tools": {"pay": {"action": "require_approval", "reason": "money"}},
}


@dataclass
class Receiver:
    port: int = 0
    status: int = 200
    came: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    def ids(self) -> list[str]:
        """Of the messages that are signed as they should be."""
        for head, body in self.came:
            said = f"{head['webhook-id']}.{head['webhook-timestamp']}.".encode() + body
            mac = base64.b64encode(hmac.digest(KEY, said, hashlib.sha256)).decode()
            assert head["webhook-signature"] == f"v1,{mac}"
        return [json.loads(body)["data"]["id"] for _, body in self.came]


@contextmanager
def receiver(state: Receiver) -> Iterator[Receiver]:
    class Handler(Quiet):
        def do_POST(self) -> None:
            body = self.body()
            head = {name.lower(): value for name, value in self.headers.items()}
            state.came.append((head, body))
            self.send_response(state.status)
            self.end_headers()

    with serving(Handler, state.port) as state.port:
        yield state


def configured(folder: Path, server: str, port: int, **more: Any) -> Path:
    (folder / "policy.json").write_text(json.dumps(POLICY))
    (folder / "secret").write_text("whsec_" + base64.b64encode(KEY).decode() + "\n")
    webhook = {"url": f"http://127.0.0.1:{port}/T0K", "secret": "${file:secret}"}
    config = {
        "version": "1",
        "log": {"path": "none"},
        "admin_token_sha256": hashlib.sha256(TOKEN.encode()).hexdigest(),
        "approvals": {"path": "approvals.db", "webhook": webhook},
        "servers": {"bank": {"url": server, "policy": "policy.json"}},
        **more,
    }
    path = folder / "interlock.json"
    path.write_text(json.dumps(config))
    return path


def pay(it: Sidecar, sum: int) -> str:
    asked = tools_call("pay")
    asked["params"]["arguments"] = {"sum": sum}
    return it.post(asked).decision


def decide(it: Sidecar, id: str, verb: str = "approve", **head: str) -> int:
    fields = {"content-type": "application/json", "authorization": f"Bearer {TOKEN}", **head}
    path = f"/approvals/{id}/{verb}"
    return request(it.admin, "POST", path, b'{"by": "ann"}', fields).status


@pytest.mark.parametrize("workers", [1, 2])
def test_a_request_is_told_once_and_decided_on_the_port(tmp_path: Path, workers: int) -> None:
    with receiver(Receiver()) as told, upstream() as server:
        path = configured(tmp_path, server.url, told.port, workers=workers)
        with sidecar("--config", str(path)) as it:
            for sum in (1, 2, 3):
                assert pay(it, sum) == "approval-required"
                assert pay(it, sum) == "approval-required"
            until(lambda: len(told.came) >= 3, "everything is told")
            ids = told.ids()
            assert len(set(ids)) == 3
            assert b"sum" not in told.came[0][1], "arguments are not sent"
            found = it.get("/approvals?state=pending", authorization=f"Bearer {TOKEN}").json
            assert {each["id"] for each in found["approvals"]} == set(ids)
            one = next(each for each in found["approvals"] if each["arguments"] == {"sum": 2})
            assert it.get("/approvals").status == 401
            assert decide(it, one["id"], authorization="") == 401
            assert request(it.mcp, "POST", f"/approvals/{one['id']}/approve").status == 404
            assert decide(it, one["id"]) == 200
            assert decide(it, one["id"]) == 409
            assert pay(it, 1) == "approval-required"
            assert [pay(it, 2), pay(it, 2)] == ["allowed", "approval-required"]
            assert len(server.calls) == 1
            until(lambda: len(told.came) >= 4, "the next one is told")
            assert len(set(told.ids())) == 4
            counted = 'interlock_approval_deliveries_total{outcome="%s"} %d\n'
            until(
                lambda: counted % ("delivered", 4) in it.get("/metrics").body.decode(),
                "what was told is counted",
            )
            assert counted % ("failed", 0) in it.get("/metrics").body.decode()


def test_a_receiver_that_is_down_holds_up_nothing_and_is_told_after_a_restart(
    tmp_path: Path,
) -> None:
    with receiver(Receiver()) as closed:
        port = closed.port
    with upstream() as server:
        path = configured(tmp_path, server.url, port)
        with sidecar("--config", str(path)) as it:
            assert pay(it, 1) == "approval-required"
            told = command(
                *("approvals", "approve", "--store", str(tmp_path / "approvals.db")),
                *("--format", "json", _only(tmp_path)),
            )
            assert told.returncode == 0, told.stderr
            assert pay(it, 1) == "allowed", "people decide without it"
            assert pay(it, 2) == "approval-required"
            assert it.call("open") == "allowed"
            assert it.stop() == 0
        with receiver(Receiver(port=port)) as again, sidecar("--config", str(path)) as it:
            until(lambda: bool(again.came), "what was not told is told")
            assert again.ids() == [_only(tmp_path)]
            assert pay(it, 2) == "approval-required"
            assert it.stop() == 0


def _only(folder: Path) -> str:
    """The id of the one request that waits."""
    done = command(
        *("approvals", "list", "--state", "pending", "--format", "json"),
        *("--store", str(folder / "approvals.db")),
    )
    (one,) = json.loads(done.stdout)
    return str(one["id"])


def test_neither_secret_nor_url_is_in_what_the_sidecar_says(tmp_path: Path) -> None:
    with receiver(Receiver(status=500)) as told, upstream() as server:
        path = configured(tmp_path, server.url, told.port)
        with sidecar("--config", str(path)) as it:
            assert pay(it, 1) == "approval-required"
            until(lambda: bool(told.came), "it is told")
            assert it.stop() == 0
            said = it.all_output()
    assert "told later: it answered 500" in said
    for secret in ("T0K", base64.b64encode(KEY).decode(), TOKEN):
        assert secret not in said
