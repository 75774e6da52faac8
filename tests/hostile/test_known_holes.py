"""Holes that other gateways, SDKs and HTTP libraries had: each is a test here, by its number.

What a row needs beyond these tests is named in its docstring. Nothing may reach the server.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from support.door import JSON, Reply, Rig, answer, call, run

if TYPE_CHECKING:
    from gateway.asgi import Headers

OURS = (b"host", b"127.0.0.1:8080")
LONE = {"version": "1", "default": "deny", "tools": {"read": {}}}


async def post(rig: Rig, body: bytes, *fields: tuple[bytes, bytes]) -> Reply:
    """A call with exactly these fields beside what a client has to send."""
    lacking = [field for field in (OURS, *JSON) if field[0] not in dict(fields)]
    return await rig.client.request("POST", body, [*lacking, *fields])


REBINDING: list[Headers] = [
    [(b"host", b"rebound.example:8080")],
    [(b"origin", b"http://evil.example")],
    [(b"origin", b"null")],
    [(b"origin", b"http://127.0.0.1.evil.example:8080")],
    [(b"content-type", b"text/plain"), (b"origin", b"http://evil.example")],
    [(b"content-type", b"text/plain")],
    [(b"content-type", b"application/x-www-form-urlencoded")],
]


@pytest.mark.parametrize("fields", REBINDING, ids=repr)
def test_cve_2025_49596_a_web_page_reaches_no_server(fields: Headers) -> None:
    """Also CVE-2025-66414, CVE-2025-66416, CVE-2025-64443, CVE-2026-35568 and CVE-2026-42559:
    a loopback port without a check of Host and Origin. The admin port's check is in
    `tests/unit/test_operate_admin.py::test_another_name_reads_nothing`.
    """
    rig = Rig()
    reply = run(post(rig, json.dumps(call("t")).encode(), *fields))
    assert reply.status in (403, 415, 421)
    assert rig.upstream.seen == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_cve_2025_6514_nothing_that_a_server_names_is_followed(status: int) -> None:
    """An address of a server's choosing was opened, by a shell even."""
    script = answer(status, [(b"location", b"http://169.254.169.254/latest/$(id)")])
    rig = Rig(script)
    reply = run(rig.client.post(call("t")))
    assert len(rig.upstream.seen) == 1
    assert b"169.254.169.254" not in reply.body
    assert reply.header(b"location") is None


@pytest.mark.parametrize("session", [b"s1", b"1", b"00000001", b"never"])
def test_cve_2025_6515_a_guessed_session_id_is_worth_nothing(session: bytes) -> None:
    """Also CVE-2026-33946: an id that was not bound to who opened it."""

    async def main() -> None:
        rig = Rig()
        fields = await rig.open_session(b"s1")
        stolen = [(b"mcp-session-id", session), *fields[1:]]
        thief = Rig(table=rig.table, grant="thief")
        reply = await thief.client.post(call("t"), stolen)
        assert reply.status == 404
        assert thief.upstream.seen == []

    run(main())


CHOOSING = [
    (b"x-mcp-server", b"other"),
    (b"x-mcp-servername", b"other"),
    (b"x-mcp-authorized", b"true"),
    (b"x-forwarded-host", b"other.example"),
    (b"x-forwarded-for", b"127.0.0.1"),
    (b"forwarded", b"host=other.example"),
    (b"x-original-url", b"/mcp/other"),
    (b"x-rewrite-url", b"/mcp/other"),
    (b"x-http-method-override", b"DELETE"),
    (b":authority", b"other.example"),
    (b"mcp-init-host", b"other.example"),
    (b"router-key", b"default"),
]


def test_ghsa_g53w_w6mj_hrpp_no_header_selects_a_server_or_carries_trust() -> None:
    """A routing header and a shared default key skipped the session's check."""

    async def main() -> None:
        rig = Rig(policy=json.dumps(LONE).encode())
        refused = await rig.client.post(call("write"), CHOOSING)
        assert refused.code == "default-deny"
        assert rig.upstream.seen == []
        await rig.client.post(call("read"), CHOOSING)
        (seen,) = rig.upstream.seen
        # What has the protocol's prefix passes, as the protocol wants; it chose nothing either.
        others = [name for name, _ in CHOOSING if not name.startswith(b"mcp-")]
        assert [name for name in others if seen.header(name) is not None] == []

    run(main())


def rpc(params: str) -> bytes:
    return f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}'.encode()


POLICYLAYER: dict[str, tuple[bytes, Any]] = {
    "a number that overflows": (rpc('{"name":"read","arguments":{"n":1e999}}'), ()),
    "a key twice": (rpc('{"name":"read","name":"write","arguments":{}}'), ()),
    "a key twice, escaped": (rpc('{"name":"read","na\\u006de":"write"}'), ()),
    "a key in other case": (rpc('{"name":"read","Name":"write"}'), ()),
    "an array": (b"[" + rpc('{"name":"read"}') + b"]", ()),
    "another case": (rpc('{"name":"READ"}'), ()),
    "a look-alike": (rpc('{"name":"re\\u0430d"}'), ()),
    "a blank": (rpc('{"name":"read "}'), ()),
    "gzip": (rpc('{"name":"read"}'), ((b"content-encoding", b"gzip"),)),
    "two encodings": (rpc('{"name":"read"}'), ((b"content-encoding", b"identity, gzip"),)),
}


@pytest.mark.parametrize("default", ["allow", "deny"])
@pytest.mark.parametrize("name", POLICYLAYER)
def test_what_policy_layers_of_others_let_through(name: str, default: str) -> None:
    """Bodies that two readers read differently, and names in disguise, whatever the default."""
    body, fields = POLICYLAYER[name]
    rig = Rig(policy=json.dumps({**LONE, "default": default}).encode())
    reply = run(post(rig, body, *fields))
    assert rig.upstream.seen == []
    assert reply.status >= 400 or reply.code != "allowed"
