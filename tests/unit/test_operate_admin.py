"""The operators' port answers what is asked of it, and nobody's browser."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.operate.admin import create_admin
from gateway.reloads import Reload
from gateway.settings import Address, ServerSettings, Settings
from support.operators import Gateway, asked, view

SETTINGS = Settings(
    servers=(ServerSettings(name="upwork", policy=Path("p.json"), url="http://127.0.0.1:1/"),)
)


def ask(
    path: str,
    *,
    method: str = "GET",
    hosts: tuple[bytes, ...] = (b"127.0.0.1:9090",),
    told: Gateway | None = None,
    accept: bytes = b"*/*",
    settings: Settings = SETTINGS,
    credentials: tuple[bytes, ...] = (),
) -> tuple[int, dict[str, str], Any]:
    """Status, header fields and body (parsed where it is JSON)."""
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.Event().wait()  # the client stays, and sends no body

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"accept", accept), *((b"host", host) for host in hosts)]
    headers += [(b"authorization", each) for each in credentials]
    scope = {"type": "http", "method": method, "path": path, "headers": headers}
    asyncio.run(create_admin(asked(told or view()), settings)(scope, receive, send))
    start, body = sent
    fields = {name.decode(): value.decode() for name, value in start["headers"]}
    assert int(fields["content-length"]) == len(body["body"])
    is_json = fields["content-type"] == "application/json"
    return start["status"], fields, orjson.loads(body["body"]) if is_json else body["body"]


def test_alive_and_ready() -> None:
    assert ask("/livez")[::2] == (200, {"live": True})
    assert ask("/readyz")[::2] == (200, {"ready": True, "reasons": []})
    status, _, body = ask("/readyz", told=view(not_ready=("draining",)))
    assert status == 503
    assert body == {"ready": False, "reasons": ["draining"]}


FAILED = Reload("policy", "/etc/p.json")
FAILED.failed("/etc/p.json:1:2: error[unknown-key]: unknown key `defalt`")


def test_what_is_not_in_force_is_told_and_is_ready_all_the_same() -> None:
    told = view()
    told.files, told.late = [Reload("pins", "p.lock"), FAILED], ["workers"]
    status, _, body = ask("/readyz", told=told)
    file = {"what": "policy", "source": FAILED.source, "error": FAILED.error}
    stale = {"files": [file], "restart": ["workers"]}
    assert (status, body) == (200, {"ready": True, "reasons": [], "stale": stale})
    lines = ask("/metrics", told=told)[2].decode().splitlines()
    assert 'interlock_reload_failures_total{what="policy"} 1' in lines
    assert 'interlock_reload_failing{what="policy"} 1' in lines
    assert 'interlock_reload_failing{what="pins"} 0' in lines
    assert "interlock_restart_needed 1" in lines
    FAILED.succeeded()
    told.late = []
    assert ask("/readyz", told=told)[2] == {"ready": True, "reasons": []}
    FAILED.failed("again")
    assert FAILED.failures == 2


def test_a_stranger_learns_that_a_file_is_wrong_and_not_what_is_in_it() -> None:
    far = replace(SETTINGS, admin=Address("0.0.0.0", 9090))
    told = view()
    told.files = [FAILED]
    _, _, body = ask("/readyz", told=told, settings=far)
    assert body["stale"] == {"files": [{"what": "policy"}], "restart": []}


def test_policies_and_limits() -> None:
    (policy,) = ask("/policies")[2]
    assert policy["server"] == "upwork"
    assert policy["digest"] == "ab" * 32
    assert policy["source"] == "/etc/upwork/policy.json"
    assert policy["loaded_at"] == 1000.5
    (limit, _) = ask("/limits")[2]
    assert limit["counter"] == "calls"
    assert limit["remaining"] == 27


ABROAD = replace(SETTINGS, admin=Address("0.0.0.0", 9090))
WITH_TOKEN = replace(ABROAD, admin_token=hashlib.sha256(b"ilk_operators").digest())
FOR_ALL = ("/livez", "/readyz", "/metrics")
FOR_OPERATORS = ("/policies", "/limits", "/version", "/nothing", "/metrics/", "//metrics")


@pytest.mark.parametrize("settings", [SETTINGS, ABROAD, WITH_TOKEN])
@pytest.mark.parametrize("path", FOR_ALL)
def test_health_and_metrics_need_no_token(path: str, settings: Settings) -> None:
    assert ask(path, settings=settings)[0] == 200


@pytest.mark.parametrize("path", FOR_OPERATORS)
def test_beyond_this_machine_the_rest_needs_a_token(path: str) -> None:
    status, _, body = ask(path, settings=ABROAD)
    assert status == 403
    assert "admin_token_sha256" in body["help"]
    assert ask(path, settings=ABROAD, credentials=(b"Bearer ilk_operators",))[0] == 403


@pytest.mark.parametrize("path", FOR_OPERATORS)
@pytest.mark.parametrize(
    "credentials",
    [
        (),
        (b"Bearer other",),
        (b"Bearer ",),
        (b"ilk_operators",),
        (b"Basic ilk_operators",),
        (b"Bearer ilk_operators", b"Bearer ilk_operators"),
        (b"Bearer " + hashlib.sha256(b"ilk_operators").hexdigest().encode(),),
    ],
)
def test_no_other_token_will_do(path: str, credentials: tuple[bytes, ...]) -> None:
    for settings in (WITH_TOKEN, replace(WITH_TOKEN, admin=SETTINGS.admin)):
        status, fields, body = ask(path, settings=settings, credentials=credentials)
        assert (status, fields["www-authenticate"]) == (401, "Bearer")
        assert "token" in body["error"]


@pytest.mark.parametrize("path", ["/policies", "/limits", "/version"])
def test_operators_with_their_token_are_told(path: str) -> None:
    assert ask(path, settings=WITH_TOKEN, credentials=(b"Bearer ilk_operators",))[0] == 200


def test_versions() -> None:
    assert {"version", "python"} <= ask("/version")[2].keys()


def test_metrics() -> None:
    status, fields, body = ask("/metrics")
    assert status == 200
    assert fields["content-type"].startswith("text/plain")
    assert b"interlock_decisions_total" in body


@pytest.mark.parametrize(
    ("accept", "modern"),
    [
        (b"application/openmetrics-text;version=1.0.0;q=0.6,text/plain;q=0.3", True),
        (b"text/plain, Application/OpenMetrics-Text", True),
        (b"text/plain;version=0.0.4", False),
        (b"", False),
    ],
)
def test_who_knows_openmetrics_gets_it(accept: bytes, modern: bool) -> None:
    _, fields, body = ask("/metrics", accept=accept)
    assert fields["content-type"].startswith("application/openmetrics-text") is modern
    assert body.endswith(b"# EOF\n") is modern


def test_nothing_else_is_there() -> None:
    assert ask("/")[0] == 404
    assert ask("/metrics/")[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_it_is_read_only(method: str) -> None:
    status, fields, _ = ask("/metrics", method=method)
    assert status == 405
    assert fields["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    "host", [b"127.0.0.1:9090", b"localhost", b"LOCALHOST:1", b"[::1]:9090", b"10.1.2.3:9090"]
)
def test_an_address_or_localhost_is_this_machine(host: bytes) -> None:
    assert ask("/metrics", hosts=(host,))[0] == 200


@pytest.mark.parametrize(
    "hosts",
    [
        (),
        (b"",),
        (b"evil.example",),
        (b"evil.example:9090",),
        (b"127.0.0.1.evil.example",),
        (b"localhost.evil.example",),
        (b"127.0.0.1", b"evil.example"),
        (b"2130706433",),
    ],
)
def test_another_name_reads_nothing(hosts: tuple[bytes, ...]) -> None:
    for path in ("/livez", "/metrics", "/nothing"):
        assert ask(path, hosts=hosts)[0] == 403


def test_names_that_are_ours_are_known() -> None:
    settings = replace(SETTINGS, admin=Address("ops.example", 9090), allowed_hosts=("gw.example",))
    assert ask("/livez", hosts=(b"ops.example:9090",), settings=settings)[0] == 200
    assert ask("/livez", hosts=(b"gw.example",), settings=settings)[0] == 200


def test_nothing_is_kept_by_a_cache() -> None:
    assert ask("/limits")[1]["cache-control"] == "no-store"
