"""One process with a configuration: who may do what, and what a reload takes over."""

from __future__ import annotations

import asyncio
import hashlib
import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from gateway._core import LimitTable
from gateway.app import Gateway
from gateway.config.source import ConfigSource
from gateway.identity import GrantIdentity, Known
from gateway.server import Listener, bind
from gateway.settings import Address, GrantSettings, Settings, TokenSettings
from support.door import Client, call, run
from support.http_server import Wire, serving

ALLOW = {"version": "1", "default": "allow"}
DENY = {"version": "1", "default": "deny"}


async def echo(wire: Wire) -> None:
    """Answer each call with its own id."""
    while True:
        request = await wire.request()
        found = json.loads(request.partition(b"\r\n\r\n")[2])
        await wire.answer(json.dumps({"jsonrpc": "2.0", "id": found["id"], "result": {}}).encode())


CONFIG = """
version: "1"
grace_s: 0
servers:
  one: {{url: "{url}", policy: allow.json, headers: {{X-Key: "${{file:key}}"}}}}
  two: {{url: "{url}"}}
grants:
  - {{name: a, token_sha256: {a}, servers: {{one: null, two: allow.json}}}}
  - {{name: b, token_sha256: {b}, servers: {{one: deny.json}}}}
  - {{name: c, token_sha256: {c}, servers: []}}
"""
TOKENS = {name: f"ilk_{name * 64}" for name in "abcd"}
HASHES = {name: hashlib.sha256(token.encode()).hexdigest() for name, token in TOKENS.items()}


def bearing(token: str) -> list[tuple[bytes, bytes]]:
    return [(b"authorization", b"Bearer " + token.encode())]


def write(path: Path, text: str) -> None:
    path.write_text(text)


@pytest.fixture
def configured(tmp_path: Path) -> Path:
    (tmp_path / "allow.json").write_text(json.dumps(ALLOW))
    (tmp_path / "deny.json").write_text(json.dumps(DENY))
    (tmp_path / "key").write_text("old")
    return tmp_path / "interlock.yaml"


def test_each_grant_has_its_own_policy_on_each_server(configured: Path) -> None:
    async def main() -> None:
        async with serving(echo) as server:
            write(configured, CONFIG.format(url=server.url, **HASHES))
            source = ConfigSource(configured, {})
            gateway = Gateway(source.load(), table=LimitTable(), source=source)
            await gateway.start()
            client = Client(gateway.data)

            async def say(token: str | None, name: str = "one") -> str | int:
                fields = [] if token is None else bearing(token)
                reply = await client.post(call("t"), fields, path=f"/mcp/{name}".encode())
                return reply.status if reply.json.get("result") == {} else reply.code or 0

            assert await say(TOKENS["a"]) == 200
            assert await say(TOKENS["a"], "two") == 200
            assert await say(TOKENS["b"]) == "default-deny"
            assert await say(TOKENS["b"], "two") == "no-policy"
            assert await say(TOKENS["c"]) == "no-policy"
            for stranger in (None, TOKENS["d"], "", TOKENS["a"].upper(), HASHES["a"]):
                assert await say(stranger) == "unauthenticated", stranger
            assert await say(TOKENS["a"], "three") == "not-found"
            assert {(route.server, route.grant) for route in gateway.routes()} == {
                *{("one", "a"), ("two", "a"), ("one", "b")}
            }
            await gateway.aclose(0)

    run(main())


def test_a_reload_takes_over_what_it_can_and_tells_the_rest(
    configured: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        heads: list[bytes] = []

        async def noting(wire: Wire) -> None:
            while True:
                request = await wire.request()
                heads.append(request)
                found = json.loads(request.partition(b"\r\n\r\n")[2])
                answer = {"jsonrpc": "2.0", "id": found["id"], "result": {}}
                await wire.answer(json.dumps(answer).encode())

        async with serving(noting) as server:
            write(configured, CONFIG.format(url=server.url, **HASHES))
            source = ConfigSource(configured, {})
            gateway = Gateway(source.load(), table=LimitTable(), source=source)
            await gateway.start()
            client = Client(gateway.data)

            async def say(token: str) -> str | int:
                reply = await client.post(call("t"), bearing(token), path=b"/mcp/one")
                return reply.status if reply.json.get("result") == {} else reply.code or 0

            assert (await say(TOKENS["a"]), await say(TOKENS["b"])) == (200, "default-deny")
            assert b"x-key: old\r\n" in heads[-1]
            assert b"ilk_" not in heads[-1], "a client's credentials stay here"
            write(configured.parent / "key", "new")
            text = CONFIG.format(url=server.url, **{**HASHES, "a": HASHES["d"]})
            text = text.replace("deny.json", "allow.json").replace("grace_s: 0", "grace_s: 1")
            issuer = "authorization_servers: [https://login.example]\n"
            write(configured, text + "workers: 2\n" + issuer)
            stranger = await client.post(call("t"), path=b"/mcp/one")
            assert stranger.header(b"www-authenticate") == b"Bearer"
            with caplog.at_level("INFO"):
                gateway.reload()
            assert "takes effect at the next start only: workers, grace_s" in caplog.text
            assert await say(TOKENS["a"]) == "unauthenticated"
            assert (await say(TOKENS["d"]), await say(TOKENS["b"])) == (200, 200)
            assert b"x-key: new\r\n" in heads[-1]
            stranger = await client.post(call("t"), path=b"/mcp/one")
            assert b"resource_metadata=" in (stranger.header(b"www-authenticate") or b"")
            assert gateway.awaits_restart() == ["workers", "grace_s"]
            assert not any(one.error for one in gateway.reloads())
            write(configured, "nonsense")
            caplog.clear()
            gateway.reload()
            assert "interlock.yaml:1:1: error[wrong-type]" in caplog.text
            assert await say(TOKENS["d"]) == 200
            (told,) = [one for one in gateway.reloads() if one.error]
            assert (told.what, told.failures) == ("configuration", 1)
            assert "error[wrong-type]" in (told.error or "")
            write(configured, CONFIG.format(url=server.url, **HASHES))
            gateway.reload()
            assert (told.error, list(gateway.awaits_restart())) == (None, [])
            await gateway.aclose(0)

    run(main())


def test_a_policy_that_grants_share_is_reloaded_for_all(configured: Path) -> None:
    async def main() -> None:
        async with serving(echo) as server:
            write(configured, CONFIG.format(url=server.url, **HASHES))
            source = ConfigSource(configured, {})
            gateway = Gateway(source.load(), table=LimitTable(), source=source)
            await gateway.start()
            client = Client(gateway.data)
            write(configured.parent / "allow.json", json.dumps(DENY))
            gateway.reload()
            for name in ("one", "two"):
                path = f"/mcp/{name}".encode()
                reply = await client.post(call("t"), bearing(TOKENS["a"]), path=path)
                assert reply.code == "default-deny"
            await gateway.aclose(0)

    run(main())


def test_what_is_open_for_a_grant_ends_with_it(configured: Path) -> None:
    async def main() -> None:
        asked = asyncio.Event()

        async def silent(wire: Wire) -> None:
            await wire.request()
            asked.set()
            await asyncio.Event().wait()

        async with serving(silent) as server:
            write(configured, CONFIG.format(url=server.url, **HASHES))
            source = ConfigSource(configured, {})
            gateway = Gateway(source.load(), table=LimitTable(), source=source)
            await gateway.start()
            client = Client(gateway.data)
            waiting = asyncio.create_task(
                client.post(call("t"), bearing(TOKENS["a"]), path=b"/mcp/one")
            )
            async with asyncio.timeout(10):
                await asked.wait()
            gateway.reload()
            assert not waiting.done(), "nothing was taken back"
            write(configured, CONFIG.format(url=server.url, **{**HASHES, "a": HASHES["d"]}))
            gateway.reload()
            async with asyncio.timeout(10):
                reply = await waiting
            assert (reply.status, reply.code) == (200, "unauthenticated")
            assert gateway._door._open == {}
            await gateway.aclose(0)

    run(main())


def test_a_token_ends_when_it_expires(configured: Path) -> None:
    now = [1000.0]
    identity = GrantIdentity(
        Settings(
            servers=(),
            grants=(
                GrantSettings(
                    name="a",
                    tokens=(
                        TokenSettings(sha256=hashlib.sha256(b"x").digest(), until=1010.0),
                        TokenSettings(sha256=hashlib.sha256(b"y").digest()),
                    ),
                ),
            ),
            anonymous=None,
        ),
        clock=lambda: now[0],
    )

    async def who(token: bytes) -> Known | None:
        return await identity.identify({b"authorization": b"Bearer " + token}, {})

    async def main() -> None:
        known = await who(b"x")
        assert known is not None
        assert identity.holds(known)
        assert identity.ends_in() == 10.0
        now[0] = 1010.0
        assert await who(b"x") is None
        assert not identity.holds(known)
        assert (await who(b"y")) is not None
        assert identity.ends_in() is None

    run(main())


STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = b'data: {"jsonrpc":"2.0","method":"notifications/message","params":{}}\n\n'


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_open_stream_ends_with_its_grant_and_no_other_does(
    configured: Path, method: str, *, fast: bool
) -> None:
    async def main() -> None:
        async def streaming(wire: Wire) -> None:
            await wire.request()
            await wire.write(STREAM + b"%x\r\n%b\r\n" % (len(EVENT), EVENT))
            await asyncio.Event().wait()

        async with serving(streaming) as server:
            text = CONFIG.format(url=server.url, **HASHES).replace("deny.json", "allow.json")
            write(configured, f"{text}fast_path: {str(fast).lower()}\n")
            source = ConfigSource(configured, {"listen": Address("127.0.0.1", 0)})
            settings = source.load()
            sock = bind(settings.listen)
            place = sock.getsockname()[:2]
            settings = replace(settings, listen=Address(*place))
            gateway = Gateway(settings, table=LimitTable(), source=source)
            listener = Listener(gateway.data, sock, fast=gateway.fast_path(place))
            await gateway.start()
            await listener.start()
            body = json.dumps(call("t")).encode() if method == "POST" else b""
            streams = {}
            for name in "ab":
                reader, writer = await asyncio.open_connection(*place)
                writer.write(
                    f"{method} /mcp/one HTTP/1.1\r\nHost: 127.0.0.1:{place[1]}\r\n"
                    f"Authorization: Bearer {TOKENS[name]}\r\nAccept: text/event-stream, "
                    f"application/json\r\nContent-Type: application/json\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n".encode()
                    + body
                )
                async with asyncio.timeout(10):
                    assert b"notifications/message" in await reader.readuntil(b"}}\n\n")
                streams[name] = reader, writer
            write(configured, source.path.read_text().replace(HASHES["a"], HASHES["d"]))
            gateway.reload()
            reader, _ = streams["a"]
            async with asyncio.timeout(10):
                with suppress(ConnectionError):
                    left = await reader.read()
                    assert not left.endswith(b"0\r\n\r\n") or b"unauthenticated" in left
            assert not streams["b"][0].at_eof()
            for _, writer in streams.values():
                writer.close()
            gateway.drain()
            await listener.drain(0)
            await gateway.aclose(0)

    run(main())
