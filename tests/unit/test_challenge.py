"""What a client without good credentials is told (RFC 6750, RFC 9728)."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.identity import GrantIdentity
from gateway.settings import GrantSettings, Settings, TokenSettings
from support.door import Rig, call, run

TOKENS = (TokenSettings(sha256=bytes(32)),)
CLOSED = Settings(servers=(), grants=(GrantSettings(name="a", tokens=TOKENS),), anonymous=None)
ISSUERS = ("https://issuer.example", "https://other.example/tenant")


def closed(**settings: Any) -> Rig:
    rig = Rig(**settings)
    rig.door.identity = GrantIdentity(CLOSED)
    return rig


def test_without_an_authorization_server_a_token_is_just_needed() -> None:
    async def main() -> None:
        rig = closed()
        reply = await rig.client.post(call("t"))
        assert (reply.status, reply.header(b"www-authenticate")) == (401, b"Bearer")
        reply = await rig.client.post(call("t"), [(b"authorization", b"Bearer x")])
        assert reply.header(b"www-authenticate") == b'Bearer error="invalid_token"'
        path = b"/.well-known/oauth-protected-resource/mcp"
        assert (await rig.client.request("GET", path=path)).status == 404

    run(main())


@pytest.mark.parametrize("path", [b"/mcp", b"/mcp/default", b"/mcp/default/"])
def test_with_one_the_client_learns_where_to_go(path: bytes) -> None:
    async def main() -> None:
        rig = closed(authorization_servers=ISSUERS)
        reply = await rig.client.post(call("t"), path=path)
        told = (reply.header(b"www-authenticate") or b"").decode()
        assert told.startswith('Bearer resource_metadata="http://')
        url = told.removeprefix('Bearer resource_metadata="').removesuffix('"')
        place = url.removeprefix("http://").partition("/")[2]
        found = await rig.client.request("GET", path=b"/" + place.encode())
        assert found.status == 200, "to everybody"
        assert found.json["authorization_servers"] == list(ISSUERS)
        assert found.json["resource"].endswith(path.decode().rstrip("/"))
        assert found.json["bearer_methods_supported"] == ["header"]
        assert rig.upstream.seen == []

    run(main())


def test_the_metadata_is_of_servers_that_there_are_and_is_read_only() -> None:
    async def main() -> None:
        rig = closed(authorization_servers=ISSUERS, public_url="https://gw.example/")
        known = b"/.well-known/oauth-protected-resource"
        root = await rig.client.request("GET", path=known)
        assert root.json["resource"] == "https://gw.example/mcp"
        for path in (b"/mcp/other", b"/", b"x", b"/mcp/default/../x", b"/.well-known"):
            assert (await rig.client.request("GET", path=known + path)).status == 404, path
        assert (await rig.client.post(call("t"), path=known)).status == 405

    run(main())
