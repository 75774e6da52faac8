"""The protocol's rules for what stays out and in: credentials, foreign hosts and origins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.door import (
    HOST,
    Rig,
    answer,
    call,
    message,
    result,
    run,
)

if TYPE_CHECKING:
    from gateway.asgi import Message


PRIVATE = [
    (b"authorization", b"Bearer canary"),
    (b"cookie", b"a=canary"),
    (b"proxy-authorization", b"Basic canary"),
    (b"dpop", b"canary"),
    (b"forwarded", b"for=canary"),
    (b"x-forwarded-for", b"canary"),
    (b"x-forwarded-host", b"canary"),
    (b"x-real-ip", b"canary"),
    (b"x-api-key", b"canary"),
    (b"x-anything", b"canary"),
    (b"origin", b"http://" + HOST),
    (b"connection", b"keep-alive, x-hop, user-agent"),
    (b"x-hop", b"canary"),
    (b"user-agent", b"canary"),
    (b"te", b"trailers"),
    (b"trailer", b"canary"),
    (b"upgrade", b"canary"),
    (b"expect", b"100-continue"),
    (b"keep-alive", b"canary"),
    (b"accept-encoding", b"gzip"),
]


def test_rule_36_no_credential_of_the_client_reaches_the_server() -> None:
    async def main() -> None:
        rig = Rig()
        reply = await rig.client.post(call("t"), PRIVATE)
        assert reply.status == 200
        names = [name for name, _ in rig.upstream.seen[0].headers]
        assert names == [b"content-type", b"accept"]

    run(main())


def test_rule_36_no_credential_of_the_server_reaches_the_client() -> None:
    async def main() -> None:
        theirs = [
            (b"set-cookie", b"canary"),
            (b"www-authenticate", b"Bearer canary"),
            (b"location", b"http://canary/"),
            (b"server", b"canary"),
            (b"x-powered-by", b"canary"),
            (b"access-control-allow-origin", b"*"),
            (b"alt-svc", b"canary"),
            (b"connection", b"close"),
        ]
        ours = [
            (b"content-type", b"application/json"),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
            (b"retry-after", b"3"),
        ]
        body = result(1)
        length = (b"content-length", str(len(body)).encode())
        rig = Rig(answer(200, [*theirs, *ours, length], body))
        reply = await rig.client.post(call("t"))
        assert reply.headers == [*ours, length]

    run(main())


@pytest.mark.parametrize("status", [401, 403, 301, 302, 307, 308])
def test_rule_36_challenges_and_redirects_are_our_fault(status: int) -> None:
    async def main() -> None:
        rig = Rig(answer(status, [(b"www-authenticate", b"Bearer"), (b"location", b"http://x/")]))
        reply = await rig.client.post(message("initialize", {}))
        assert reply.status == 502
        assert reply.header(b"www-authenticate") is reply.header(b"location") is None
        assert (await rig.client.request("GET")).status == 502
        assert (await rig.client.post(call("t"))).json["result"]["isError"] is True

    run(main())


FOREIGN_HOSTS = [
    b"evil.example",
    b"evil.example:8080",
    b"127.0.0.1",
    b"127.0.0.1:80",
    b"127.0.0.1:08080",
    b"127.0.0.1.evil.example:8080",
    b"localhost.:8080",
    b"localhost:8080@evil.example",
    b"",
]
OWN_HOSTS = [b"127.0.0.1:8080", b"localhost:8080", b"LocalHost:8080", b"[::1]:8080"]


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_rule_37_a_foreign_host_is_refused_before_the_body(host: bytes) -> None:
    async def main() -> None:
        rig = Rig()
        read: list[Message] = []

        async def refuse_to_read() -> Message:
            read.append({})
            return {"type": "http.disconnect"}

        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "http_version": "1.1",
            "scheme": "http",
            "method": "POST",
            "path": "/mcp",
            "raw_path": b"/mcp",
            "headers": [(b"host", host), (b"content-type", b"application/json")],
            "server": ("127.0.0.1", 8080),
        }
        await rig.door(scope, refuse_to_read, send)
        assert 400 <= sent[0]["status"] < 500
        assert read == []
        assert rig.upstream.seen == []

    run(main())


@pytest.mark.parametrize("host", OWN_HOSTS)
def test_rule_37_our_own_names_pass_and_stay_here(host: bytes) -> None:
    async def main() -> None:
        rig = Rig()
        own_origin = (b"origin", b"http://" + host)
        reply = await rig.client.post(call("t"), [(b"host", host), own_origin])
        assert reply.status == 200
        assert rig.upstream.seen[0].header(b"host") is None

    run(main())


@pytest.mark.parametrize(
    "origin",
    [
        b"null",
        b"",
        b"http://evil.example",
        b"http://evil.example:8080",
        b"http://127.0.0.1:8080.evil.example",
        b"http://127.0.0.1:9999",
        b"http://localhost",
        b"file://",
        b"chrome-extension://127.0.0.1:8080",
    ],
)
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE", "OPTIONS"])
def test_rule_37_a_foreign_origin_is_refused(origin: bytes, method: str) -> None:
    async def main() -> None:
        rig = Rig()
        reply = await rig.client.request(method, headers=[(b"origin", origin)])
        assert (reply.status, reply.code) == (403, "origin-not-allowed")
        assert reply.header(b"access-control-allow-origin") is None
        assert rig.upstream.seen == []

    run(main())


def test_rule_38_no_metadata_is_served_where_no_oauth_is() -> None:
    async def main() -> None:
        rig = Rig()
        for path in (b"/.well-known/oauth-protected-resource/mcp", b"/.well-known/x", b"/"):
            reply = await rig.client.request("GET", path=path)
            assert reply.status == 404
            assert reply.header(b"content-type") == b"application/json"
            assert "error" in reply.json

    run(main())
