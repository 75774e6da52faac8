"""The composition root: settings in, ASGI callables out.

INVARIANT: everything a request needs exists before `start` returns, and every route has a policy in
force from then on. Nothing outside this module knows both a door and a server.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from gateway._core import Gate, LimitTable, PolicyError
from gateway.decision_log import close_log, open_log, open_tracing
from gateway.downstream.http import HttpDoor
from gateway.downstream.port import Port
from gateway.downstream.visit import Service
from gateway.errors import Problem, SettingsError
from gateway.identity import GrantIdentity
from gateway.policies import watch
from gateway.reloads import Reload
from gateway.routes import Route, Routes
from gateway.settings import Settings, changed_for_good
from gateway.tls import Tls
from gateway.upstream.http import HttpUpstream

if TYPE_CHECKING:
    from gateway._core import DecisionLog, _Way
    from gateway.approvals.desk import Desk
    from gateway.asgi import ASGIApp, Receive, Scope, Send
    from gateway.config.source import ConfigSource
    from gateway.settings import ServerSettings
    from gateway.tracing import Tracing

_log = logging.getLogger("interlock.app")

PREFIX = b"/mcp"
_TAKEN_OVER = ("grants", "anonymous", "authorization_servers", "public_url")
"""What of the settings is replaced while clients are served, but for the servers'."""
LONGEST_WAIT_S = 3600.0
"""After which the clock is looked at again for the end of a credential."""


class Upstream(Protocol):
    """A server, however it is reached."""

    async def start(self) -> None: ...
    def drain(self) -> None: ...
    async def aclose(self, grace_s: float) -> None: ...
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class Gateway:
    """Everything of one process: the data port's application and what operators see.

    Args:
        settings: validated.
        table: counts, sessions and tasks; shared with other workers if there are any.
        log: where decisions are recorded; whoever opened it closes it.
        tracing: made with that log; likewise.

    Raises:
        StartError: the store of approvals cannot be used.
        SettingsError: a server cannot be used as it is described.
        OSError: a policy or a certificate cannot be read.
        PolicyError: a policy is not valid.

    Attributes:
        tls: what the listener agrees to with clients; None serves in the clear.
        deliveries: how often a webhook was told of an approval, by what came of it; empty where
            another process tells it.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        table: LimitTable,
        source: ConfigSource | None = None,
        log: DecisionLog | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.table = table
        self.log = log
        self.tracing = tracing
        self.deliveries: Mapping[str, int] = {}
        self._settings = settings
        self._source = source
        self.desk = desk_of(settings)
        spans = None if tracing is None else tracing.spans
        self._routes = Routes(settings, table, log, self.desk, spans)
        self._upstreams = {server.name: _upstream(server) for server in settings.servers}
        self._paths: dict[bytes, Service] = {}
        for name, place in self._routes.places.items():
            upstream = self._upstreams[name]
            lender = upstream if isinstance(upstream, HttpUpstream) else None
            service = Service(name, upstream, place.points, place.ids, place.traffic, lender)
            path = PREFIX + b"/" + name.encode()
            self._paths |= {path: service, path + b"/": service}
            if len(self._upstreams) == 1:
                self._paths |= {PREFIX: service, PREFIX + b"/": service}
        self.tls = None if settings.tls is None else Tls(settings.tls)
        self._identity = GrantIdentity(settings)
        self._identity.learned = self._learn
        self._door = HttpDoor(settings, self._paths, self._identity, log=log)
        self._port: Port | None = None
        self._watch: asyncio.Task[None] | None = None
        self._next_end: asyncio.TimerHandle | None = None
        self._not_ready = ["starting"]
        self._reload = None if source is None else Reload("configuration", str(source.path))
        self._late: list[str] = []

    @property
    def settings(self) -> Settings:
        """What is in force."""
        return self._settings

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
        gate = Gate(
            hosts=self._door.hosts(address[1]),
            routes=self._ways(),
            tokens=self._identity.tokens,
            learns=self._identity.learns,
            max_body_bytes=self._settings.max_body_bytes,
        )
        self._port = Port(self._door, gate, self._services(), address)
        return self._port

    def _ways(self) -> list[_Way]:
        """What the fast path may serve, by path and grant."""
        ways: list[_Way] = []
        anonymous = self._settings.anonymous
        routes = {(route.server, route.grant): route for route in self._routes}
        for path, service in self._paths.items():
            lender = service.lender
            if lender is None:
                continue
            for grant in service.points:
                route = routes[service.name, grant]
                server = (service.name, lender.head, lender.own_names)
                ways.append((path, route.engine, grant, *server, route.tag, grant == anonymous))
        return ways

    def _services(self) -> dict[int, Service]:
        """By the tags of the routes."""
        services = {service.name: service for service in self._paths.values()}
        return {route.tag: services[route.server] for route in self._routes}

    @property
    def admin_view(self) -> Gateway:
        """What operators may see (`gateway.operate.view.GatewayView`)."""
        return self

    def ready(self) -> list[str]:
        """Why it is not ready to serve; empty when it is."""
        trouble = self.log.trouble if self.log is not None and self.log.required else None
        if trouble is None:
            return self._not_ready
        return [*self._not_ready, f"the decision log is not to be had: {trouble}"]

    def reloads(self) -> Sequence[Reload]:
        """How the last look at each file went that is read again when it changes."""
        tls = None if self.tls is None else self.tls.reload
        return [one for one in (self._reload, tls) if one is not None] + self._routes.reloads()

    def awaits_restart(self) -> Sequence[str]:
        """What is otherwise in the configuration than in force, and stays so until a restart."""
        return self._late

    def routes(self) -> Sequence[Route]:
        """Every grant on every server."""
        return list(self._routes)

    async def start(self) -> None:
        """Begin to serve."""
        for upstream in self._upstreams.values():
            await upstream.start()
        if self.desk is not None:
            self.desk.start()
        self._not_ready = []
        self._await_end()

    def watch_files(self) -> None:
        """Begin to watch the configuration and the policies: once the ports are open, since nobody
        waits for it."""
        if self._source is not None:
            self._routes.watched[self._source] = lambda _: self._reload_settings()
        self._watch = asyncio.create_task(watch(self._routes.watched))

    def drain(self) -> None:
        """Finish what runs, and refuse what comes from now on."""
        self._door.load.draining = True
        self._not_ready = ["draining"]
        if self.desk is not None:
            self.desk.drain()
        for upstream in self._upstreams.values():
            upstream.drain()

    def reload(self) -> None:
        """Look at the configuration and at every policy file now."""
        if self._source is not None:
            self._reload_settings()
        self._routes.reload()

    def _reload_settings(self) -> None:
        """Take over what can be changed while clients are served; the rest is told, and stays."""
        assert self._source is not None
        assert self._reload is not None
        try:
            found = self._source.load()
            self._routes.install(found)
        except (SettingsError, OSError, PolicyError) as error:
            problems = error.problems if isinstance(error, SettingsError) else []
            said = [problem.lines()[0] for problem in problems] or [str(error)]
            for problem in said:
                _log.error("configuration not reloaded: %s", problem)
            self._reload.failed("; ".join(said))
            return
        self._reload.succeeded()
        self._late = changed_for_good(self._source.at_start or found, found)
        if self.tls is not None and self.tls.trusts_former and "tls" not in self._late:
            self._late.append("tls.client_ca")
        if self._late:
            _log.warning("takes effect at the next start only: %s", ", ".join(self._late))
        self._take_over(found)
        _log.info("configuration `%s` reloaded", self._source.path)

    def _take_over(self, found: Settings) -> None:
        kept = replace(self._settings, **{name: getattr(found, name) for name in _TAKEN_OVER})
        self._settings = kept
        self._door.renew(kept)
        for server in found.servers:
            upstream = self._upstreams.get(server.name)
            if isinstance(upstream, HttpUpstream):
                upstream.send_headers(server.headers)
        if self.tls is not None:
            self.tls.renew()
        self._identity.install(kept)
        if self._port is not None:
            self._port.serve(self._services())
            self._port.gate.install(
                routes=self._ways(), tokens=self._identity.tokens, learns=self._identity.learns
            )
        self._cut_strangers()
        self._await_end()

    def _learn(self, token: bytes, grant: str, until: float) -> None:
        """Spare the fast path the next request with a token that was verified."""
        if self._port is not None:
            self._port.gate.learn(token, grant, until=until)
        self._await_end()

    def _cut_strangers(self) -> None:
        """End what is still open for credentials that are none any more."""
        self._door.cut_strangers()
        if self._port is not None:
            self._port.cut_strangers(self._identity)

    def _await_end(self) -> None:
        """Be there when the next credential ends."""
        if self._next_end is not None:
            self._next_end.cancel()
            self._next_end = None
        wait_s = self._identity.ends_in()
        if wait_s is not None:
            loop = asyncio.get_running_loop()
            self._next_end = loop.call_later(min(wait_s, LONGEST_WAIT_S), self._look_at_ends)

    def _look_at_ends(self) -> None:
        self._cut_strangers()
        self._await_end()

    async def aclose(self, grace_s: float | None = None) -> None:
        """End everything that `start` and `watch_files` began.

        Args:
            grace_s: seconds that what still runs upstream gets; as the settings say if None, 0 once
                the listener has drained.
        """
        grace_s = self._settings.grace_s if grace_s is None else grace_s
        self._not_ready = ["stopped"]
        if self._next_end is not None:
            self._next_end.cancel()
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        closing = (upstream.aclose(grace_s) for upstream in self._upstreams.values())
        await asyncio.gather(*closing)
        if self.desk is not None:
            await self.desk.aclose()


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
        StartError: the decision log or the store of approvals cannot be opened.
        OSError: a policy, or the state file, cannot be read.
        PolicyError: a policy is not valid.
    """
    path = str(settings.state) if settings.state is not None else None
    table = LimitTable(settings.slots, path=path)
    log = open_log(settings.log)
    tracing = open_tracing(settings, log)
    return App(Gateway(settings, table=table, log=log, tracing=tracing))


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
    gateway.watch_files()
    with telling_of_approvals(gateway.settings) as gateway.deliveries:
        await receive()
        gateway.drain()
        await gateway.aclose()
    close_log(gateway.log)
    if gateway.tracing is not None:
        await asyncio.to_thread(gateway.tracing.close)
    await send({"type": "lifespan.shutdown.complete"})


def telling_of_approvals(settings: Settings) -> AbstractContextManager[Mapping[str, int]]:
    """Tell the webhook's receiver what waits for a person, for as long as this lasts; it gives how
    often that was, by what came of it."""
    if settings.approvals is None or settings.approvals.webhook is None:
        return nullcontext({})
    from gateway.approvals.webhook import telling

    return telling(settings.approvals)


def desk_of(settings: Settings) -> Desk | None:
    """Where people are asked for approvals; None where they are not.

    Raises:
        StartError: the store cannot be used.
    """
    if settings.approvals is None:
        return None
    # A database, only where there are approvals.
    from gateway.approvals.desk import MAX_HELD, Desk

    # Calls that are held must leave room for others.
    return Desk(settings.approvals, most_held=min(MAX_HELD, settings.max_in_flight // 2))


def _upstream(server: ServerSettings) -> Upstream:
    if server.url is not None:
        return HttpUpstream(server)
    if server.command is None:
        raise SettingsError([Problem(f"server `{server.name}` has neither a url nor a command")])
    from gateway.upstream.stdio import StdioUpstream  # only where a child is to be started

    return StdioUpstream(server)
