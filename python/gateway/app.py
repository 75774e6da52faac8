"""The composition root: settings in, ASGI callables out.

INVARIANT: everything a request needs exists before `start` returns, and every route has a policy in
force from then on. Nothing outside this module knows both a door and a server.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, Protocol, cast

from gateway._core import Engine, Gate, LimitTable
from gateway.downstream.http import HttpDoor
from gateway.downstream.visit import Service
from gateway.downstream.wire import Port
from gateway.enforcement import EnforcementPoint, Traffic
from gateway.errors import Problem, SettingsError
from gateway.identity import ANONYMOUS, AnonymousIdentity, Callers
from gateway.policies import PolicySource, PolicyStatus, watch
from gateway.sessions import Sessions
from gateway.upstream.http import HttpUpstream

if TYPE_CHECKING:
    from gateway.asgi import ASGIApp, Receive, Scope, Send
    from gateway.settings import ServerSettings, Settings

_log = logging.getLogger("interlock.app")

PREFIX = b"/mcp"


class Upstream(Protocol):
    """A server, however it is reached."""

    async def start(self) -> None: ...
    def drain(self) -> None: ...
    async def aclose(self, grace_s: float) -> None: ...
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class Route:
    """One grant on one server: its policy, its engine, and what operators may see of it."""

    def __init__(
        self, settings: Settings, server: ServerSettings, grant: str, table: LimitTable
    ) -> None:
        self.server = server.name
        self.grant = grant
        self.source = PolicySource(server.policy)
        self.engine = Engine(
            self.source.load(),
            table,
            shadow=settings.shadow,
            max_body_bytes=settings.max_body_bytes,
            denials=cast('Literal["result", "protocol"]', settings.denials),
        )
        self.point = EnforcementPoint(self.engine)
        self.traffic = Traffic()
        self.ids = Sessions(table, server.name)
        self.caller = Callers(1).get(grant, server.name)

    def policy(self) -> PolicyStatus:
        """What is in force, and how the last reload went."""
        return self.source.status()

    @property
    def in_flight(self) -> int:
        """Requests that are being served now."""
        return self.traffic.in_flight

    @property
    def sessions(self) -> int:
        """Sessions opened and not ended, as far as this process knows."""
        return self.ids.live

    @property
    def upstream_errors(self) -> Mapping[str, int]:
        """Faults of the server so far, by reason."""
        return self.traffic.errors

    def reload(self) -> None:
        """Look at the policy file again; the last good policy stays if it is not one."""
        policies = self.source.reload()
        if policies is not None:
            self.engine.install(policies)


class Gateway:
    """Everything of one process: the data port's application and what operators see.

    Args:
        settings: validated.
        table: counts, sessions and tasks; shared with other workers if there are any.

    Raises:
        SettingsError: a server cannot be used as it is described.
        OSError: a policy cannot be read.
        PolicyError: a policy is not valid.
    """

    def __init__(self, settings: Settings, *, table: LimitTable) -> None:
        self.table = table
        self._settings = settings
        self._routes = [Route(settings, server, ANONYMOUS, table) for server in settings.servers]
        self._upstreams = [_upstream(server) for server in settings.servers]
        paths: dict[bytes, Service] = {}
        for route, upstream in zip(self._routes, self._upstreams, strict=True):
            lender = upstream if isinstance(upstream, HttpUpstream) else None
            service = Service(
                route.server, upstream, {route.grant: route.point}, route.ids, route.traffic, lender
            )
            path = PREFIX + b"/" + route.server.encode()
            paths |= {path: service, path + b"/": service}
            if len(self._routes) == 1:
                paths |= {PREFIX: service, PREFIX + b"/": service}
        self._paths = paths
        self._door = HttpDoor(settings, paths, AnonymousIdentity(ANONYMOUS))
        self._watch: asyncio.Task[None] | None = None
        self._not_ready = ["starting"]

    @property
    def data(self) -> ASGIApp:
        """The data port's application; its lifespan is the gateway's owner's matter."""
        return self._door

    def fast_path(self, address: tuple[str, int]) -> Port | None:
        """What serves plain HTTP/1.1 on the data port without ASGI; None if that is not wanted.

        Args:
            address: what was bound.
        """
        if not self._settings.fast_path:
            return None
        services, routes = [], []
        for path, service in self._paths.items():
            lender = service.lender
            if lender is not None:
                engine = service.points[ANONYMOUS].engine
                server = (service.name, lender.head, lender.own_names)
                routes.append((path, engine, ANONYMOUS, *server))
                services.append(service)
        gate = Gate(
            hosts=self._door.hosts(address[1]),
            routes=routes,
            max_body_bytes=self._settings.max_body_bytes,
        )
        return Port(self._door, gate, services, address)

    @property
    def admin_view(self) -> Gateway:
        """What operators may see (`gateway.operate.view.GatewayView`)."""
        return self

    def ready(self) -> list[str]:
        """Why it is not ready to serve; empty when it is."""
        return self._not_ready

    def routes(self) -> Sequence[Route]:
        """Every grant on every server."""
        return self._routes

    async def start(self) -> None:
        """Begin to serve."""
        for upstream in self._upstreams:
            await upstream.start()
        self._not_ready = []

    def watch_policies(self) -> None:
        """Begin to watch the policy files: once the ports are open, since nobody waits for it."""
        installs = {route.source: route.engine.install for route in self._routes}
        self._watch = asyncio.create_task(watch(installs))

    def drain(self) -> None:
        """Finish what runs, and refuse what comes from now on."""
        self._door.draining = True
        self._not_ready = ["draining"]
        for upstream in self._upstreams:
            upstream.drain()

    def reload_policies(self) -> None:
        """Look at every policy file now."""
        for route in self._routes:
            route.reload()

    async def aclose(self, grace_s: float | None = None) -> None:
        """End everything that `start` and `watch_policies` began.

        Args:
            grace_s: seconds that what still runs upstream gets; as the settings say if None, 0 once
                the listener has drained.
        """
        grace_s = self._settings.grace_s if grace_s is None else grace_s
        self._not_ready = ["stopped"]
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        closing = (upstream.aclose(grace_s) for upstream in self._upstreams)
        await asyncio.gather(*closing)


class App:
    """The sidecar as an ASGI application with a lifespan.

    Attributes:
        view: what operators may see, for `gateway.operate.collector.InterlockCollector`.
    """

    def __init__(self, gateway: Gateway) -> None:
        self.view = gateway.admin_view
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(self._gateway, receive, send)
        elif scope["type"] == "http":
            await self._gateway.data(scope, receive, send)
        else:
            await send({"type": "websocket.close"})


def create_app(settings: Settings) -> App:
    """The sidecar as an ASGI application with a lifespan, for any ASGI server.

    Raises:
        SettingsError: the settings cannot be used.
        OSError: a policy, or the state file, cannot be read.
        PolicyError: a policy is not valid.
    """
    path = str(settings.state) if settings.state is not None else None
    return App(Gateway(settings, table=LimitTable(settings.slots, path=path)))


async def _live(gateway: Gateway, receive: Receive, send: Send) -> None:
    """Speak the lifespan protocol."""
    await receive()
    try:
        await gateway.start()
    except Exception as error:
        _log.exception("the gateway cannot start")
        with suppress(Exception):
            await gateway.aclose()
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        return
    await send({"type": "lifespan.startup.complete"})
    gateway.watch_policies()
    await receive()
    gateway.drain()
    await gateway.aclose()
    await send({"type": "lifespan.shutdown.complete"})


def _upstream(server: ServerSettings) -> Upstream:
    if server.url is not None:
        return HttpUpstream(server)
    if server.command is None:
        raise SettingsError([Problem(f"server `{server.name}` has neither a url nor a command")])
    from gateway.upstream.stdio import StdioUpstream  # only where a child is to be started

    return StdioUpstream(server)
