"""The composition root, over in-memory ASGI and a loopback server."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway import create_app
from gateway._core import LimitTable
from gateway.app import Gateway
from gateway.approvals.settings import ApprovalSettings, WebhookSettings
from gateway.approvals.store import Approvals, Wanted
from gateway.errors import SettingsError
from gateway.settings import ServerSettings, Settings
from support.door import Client, call, run
from support.http_server import Wire, serving

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.asgi import ASGIApp, Message
    from gateway.policies import PolicySource

ALLOW = {"version": "1", "default": "allow"}
DENY = {"version": "1", "default": "deny"}


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(ALLOW))
    return path


def settings(policy: Path, *names: str, url: str = "http://127.0.0.1:9/mcp") -> Settings:
    servers = tuple(ServerSettings(name=name, policy=policy, url=url) for name in names)
    return Settings(servers=servers, grace_s=0)


def replace(policy: Path, text: str) -> None:
    policy.write_text(text)


async def echo(wire: Wire) -> None:
    """Answer each call with its own id."""
    while True:
        request = await wire.request()
        found = json.loads(request.partition(b"\r\n\r\n")[2])
        await wire.answer(json.dumps({"jsonrpc": "2.0", "id": found["id"], "result": {}}).encode())


def test_a_gateway_from_start_to_end(policy: Path) -> None:
    async def main() -> None:
        async with serving(echo) as server:
            gateway = Gateway(settings(policy, "one", url=server.url), table=LimitTable())
            assert gateway.ready() == ["starting"]
            await gateway.start()
            assert gateway.ready() == []
            client = Client(gateway.data)
            for path in (b"/mcp", b"/mcp/one/"):
                assert (await client.post(call("t", id=9), path=path)).json["id"] == 9
            replace(policy, json.dumps(DENY))
            gateway.reload()
            assert (await client.post(call("t"))).code == "default-deny"
            replace(policy, "{")
            gateway.reload()
            assert (await client.post(call("t"))).code == "default-deny"
            (route,) = gateway.admin_view.routes()
            assert (route.server, route.grant, route.in_flight) == ("one", "default", 0)
            assert (route.sessions, dict(route.upstream_errors)) == (0, {})
            assert route.policy().last_error is not None
            assert route.engine.usage(route.caller) == []
            gateway.drain()
            assert gateway.ready() == ["draining"]
            assert (await client.request("GET")).code == "draining"
            await gateway.aclose()
            assert gateway.ready() == ["stopped"]

    run(main())


def test_several_servers_have_a_path_each(policy: Path) -> None:
    async def main() -> None:
        gateway = Gateway(settings(policy, "one", "two"), table=LimitTable())
        client = Client(gateway.data)
        assert (await client.request("GET", path=b"/mcp")).status == 404
        for path in (b"/mcp/one", b"/mcp/two/"):
            assert (await client.request("GET", path=path)).status == 502
        await gateway.aclose()

    run(main())


def test_servers_that_cannot_be_used(policy: Path) -> None:
    for bad in (
        ServerSettings(name="x", policy=policy),
        ServerSettings(name="x", policy=policy, url="ftp://x"),
    ):
        with pytest.raises(SettingsError):
            Gateway(Settings(servers=(bad,)), table=LimitTable())


class Lifespan:
    """Drives an application's lifespan."""

    def __init__(self, app: ASGIApp) -> None:
        self.sent: asyncio.Queue[Message] = asyncio.Queue()
        self.told: asyncio.Queue[Message] = asyncio.Queue()
        self.task = asyncio.ensure_future(app({"type": "lifespan"}, self.told.get, self.sent.put))

    async def tell(self, kind: str) -> Message:
        await self.told.put({"type": f"lifespan.{kind}"})
        return await self.sent.get()


def test_an_application_for_any_server(policy: Path) -> None:
    async def main() -> None:
        async with serving(echo) as server:
            app = create_app(settings(policy, "one", url=server.url))
            lifespan = Lifespan(app)
            assert (await lifespan.tell("startup"))["type"] == "lifespan.startup.complete"
            assert (await Client(app).post(call("t", id="a"))).json["id"] == "a"
            assert (await lifespan.tell("shutdown"))["type"] == "lifespan.shutdown.complete"
            await lifespan.task
            assert (await Client(app).post(call("t"))).json["result"]["isError"] is True

    run(main())


def test_an_application_tells_of_approvals(
    policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    came = threading.Event()

    def post(url: str, body: bytes, head: Mapping[str, str]) -> int:
        told.append(url)
        came.set()
        return 200

    monkeypatch.setattr("gateway.approvals.webhook.Sender", lambda _: post)
    webhook = WebhookSettings(url="http://127.0.0.1:9/", secret=b"k" * 32)
    approvals = ApprovalSettings(path=tmp_path / "a.db", webhook=webhook)
    wanted = Wanted(*(b"d" * 32, "one", "default", "t", "/r"), reason="", policy="p", call="{}")

    async def main() -> None:
        lifespan = Lifespan(
            create_app(dataclasses.replace(settings(policy, "one"), approvals=approvals))
        )
        await lifespan.tell("startup")
        with closing(Approvals(approvals.path)) as store:
            store.ask(wanted, time.time())
        assert await asyncio.to_thread(came.wait, 20)
        await lifespan.tell("shutdown")
        await lifespan.task

    run(main())
    assert told == [webhook.url]


def test_policies_are_watched_from_start_to_end(
    policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched: asyncio.Queue[str] = asyncio.Queue()

    async def watch(installs: Mapping[PolicySource, object]) -> None:
        watched.put_nowait(" ".join(source.path.name for source in installs))
        try:
            await asyncio.Event().wait()
        finally:
            watched.put_nowait("end")

    async def main() -> None:
        monkeypatch.setattr("gateway.app.watch", watch)
        lifespan = Lifespan(create_app(settings(policy, "one", "two")))
        await lifespan.tell("startup")
        async with asyncio.timeout(10):
            assert await watched.get() == policy.name
            assert watched.empty()
            await lifespan.tell("shutdown")
            assert await watched.get() == "end"
        await lifespan.task

    run(main())


def test_an_application_that_cannot_start_says_so(
    policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: object) -> None:
        raise RuntimeError("no")

    async def main() -> None:
        monkeypatch.setattr(Gateway, "start", fail)
        lifespan = Lifespan(create_app(settings(policy, "one")))
        assert (await lifespan.tell("startup")) == {
            "type": "lifespan.startup.failed",
            "message": "no",
        }
        await lifespan.task

    run(main())


def test_other_protocols_are_refused(policy: Path) -> None:
    async def main() -> None:
        sent: list[Any] = []

        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            return {"type": "websocket.connect"}

        await create_app(settings(policy, "one"))({"type": "websocket"}, receive, send)
        assert sent == [{"type": "websocket.close"}]

    run(main())
