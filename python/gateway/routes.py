"""Every grant on every server: its policy, its engine, and what operators may see of it.

INVARIANT: a route that is there has a policy in force; and new settings change all routes or, if
one of their policies cannot be used, none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from gateway._core import Engine
from gateway.enforcement import EnforcementPoint, Traffic
from gateway.identity import Callers
from gateway.pinning import LockSource
from gateway.policies import PolicySource, PolicyStatus
from gateway.reloads import Reload
from gateway.sessions import Sessions

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway._core import DecisionLog, LimitTable, Pins, PolicySet, Spans
    from gateway.approvals.desk import Desk
    from gateway.policies import Watched
    from gateway.settings import Settings


class Route:
    """One grant on one server.

    Attributes:
        tag: a number that no other grant or server ever has in this process.
        tells: whether it is the one of its server's routes that tells the server's own figures.
    """

    def __init__(
        self,
        place: ServerPlace,
        grant: str,
        source: PolicySource,
        engine: Engine,
        tag: int,
        log: DecisionLog | None,
        desk: Desk | None,
    ) -> None:
        self.server = place.name
        self.grant = grant
        self.source = source
        self.engine = engine
        self.tag = tag
        self.tells = False
        self.point = EnforcementPoint(engine, log, desk)
        self._log = log
        self.caller = Callers(1).get(grant, self.server)
        self._place = place

    def install(self, policies: PolicySet) -> None:
        """Let this policy decide from now on."""
        self.engine.install(policies)
        if self._log is not None:
            who = [("server", self.server), ("grant", self.grant)]
            self._log.event("reload", [*who, ("policy", policies.digest)])

    def policy(self) -> PolicyStatus:
        """What is in force, and how the last reload went."""
        return self.source.status()

    @property
    def in_flight(self) -> int:
        """Requests that are being served now."""
        return self._place.traffic.in_flight if self.tells else 0

    @property
    def sessions(self) -> int:
        """Sessions opened and not ended, as far as this process knows."""
        return self._place.ids.live if self.tells else 0

    @property
    def unpinned(self) -> int:
        """Entries of lists so far that were not as they are pinned."""
        return self._place.pins.strange if self.tells and self._place.pins is not None else 0

    @property
    def upstream_errors(self) -> Mapping[str, int]:
        """Faults of the server so far, by reason."""
        return self._place.traffic.errors if self.tells else {}


class ServerPlace:
    """What all grants on one server share.

    Attributes:
        points: by grant; those of the settings in force.
        pins: the definitions of its tools that were read, if they are pinned.
    """

    def __init__(self, name: str, table: LimitTable) -> None:
        self.name = name
        self.traffic = Traffic()
        self.ids = Sessions(table, name)
        self.points: dict[str, EnforcementPoint] = {}
        self.pins: Pins | None = None


class Routes:
    """The routes of the settings in force.

    Attributes:
        places: by server.
        watched: what is to be looked at for a new policy, and what is to be done with one.

    Raises:
        OSError: a policy cannot be read.
        PolicyError: a policy is not valid.
        SettingsError: a lock cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        table: LimitTable,
        log: DecisionLog | None = None,
        desk: Desk | None = None,
        spans: Spans | None = None,
    ) -> None:
        self._log = log
        self._desk = desk
        self._spans = spans
        self.places = {server.name: ServerPlace(server.name, table) for server in settings.servers}
        self.watched: dict[Watched, Callable[[Any], object]] = {}
        self._table = table
        self._settings = settings
        self._routes: dict[tuple[str, str], Route] = {}
        self._sources: dict[Path, PolicySource] = {}
        self._tags: dict[tuple[str, str], int] = {}
        self._locks: list[LockSource] = []
        for server in settings.servers:
            if (lock := LockSource.of(server)) is not None:
                place = self.places[server.name]
                place.pins = lock.pins
                self.watched[lock] = partial(self._pin, place)
                self._locks.append(lock)
        self.install(settings)

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes.values())

    def install(self, settings: Settings) -> None:
        """Have the routes that these settings ask for; those that stay keep what they counted.

        Raises:
            OSError, PolicyError: as the constructor; nothing was changed.
        """
        wanted = {
            (server.name, grant.name): policy
            for server in settings.servers
            if server.name in self.places
            for grant in settings.grants
            if (policy := grant.policy(server)) is not None
        }
        sources = {path: self._source(path) for path in dict.fromkeys(wanted.values())}
        routes = {}
        for (server, grant), path in wanted.items():
            route = self._routes.get((server, grant))
            if route is None:
                route = self._new(self.places[server], grant, sources[path])
            elif route.source is not sources[path]:
                route.source = sources[path]
                route.install(route.source.policies)
            routes[server, grant] = route
        self._routes, self._sources = routes, sources
        self._publish()

    def reload(self) -> None:
        """Look at every policy file; the last good policy stays if it is not one."""
        for source in self._sources.values():
            policies = source.reload()
            if policies is not None:
                self._adopt(source, policies)

    def reloads(self) -> list[Reload]:
        """How the last look at each policy and each lock went."""
        found = [lock.reload for lock in self._locks]
        for source in self._sources.values():
            status = source.status()
            failures = status.reloads["failure"]
            found.append(Reload("policy", status.source, status.last_error, failures))
        return found

    def _source(self, path: Path) -> PolicySource:
        """The policy file, read if it is a new one."""
        source = self._sources.get(path)
        if source is None:
            source = PolicySource(path)
            source.load()
        return source

    def _new(self, place: ServerPlace, grant: str, source: PolicySource) -> Route:
        settings = self._settings
        engine = Engine(
            source.policies,
            self._table,
            shadow=settings.shadow,
            max_body_bytes=settings.max_body_bytes,
            denials=cast('Literal["result", "protocol"]', settings.denials),
            log=self._log,
            approvals=self._desk is not None,
            spans=self._spans,
        )
        engine.pin(place.pins)
        tag = self._tags.setdefault((place.name, grant), len(self._tags))
        return Route(place, grant, source, engine, tag, self._log, self._desk)

    def _publish(self) -> None:
        """Let everyone who holds a mapping of ours see the routes of now."""
        for name, place in self.places.items():
            its = [route for (server, _), route in self._routes.items() if server == name]
            gone = place.points.keys() - {route.grant for route in its}
            for grant in gone:
                del place.points[grant]
            for index, route in enumerate(its):
                place.points[route.grant] = route.point
                route.tells = index == 0
        mine = set(self._sources.values())
        for watched in [one for one in self.watched if isinstance(one, PolicySource)]:
            if watched not in mine:
                del self.watched[watched]
        for source in mine:
            self.watched[source] = partial(self._adopt, source)

    def _pin(self, place: ServerPlace, pins: Pins) -> None:
        place.pins = pins
        for (server, _), route in self._routes.items():
            if server == place.name:
                route.engine.pin(pins)

    def _adopt(self, source: PolicySource, policies: PolicySet) -> None:
        for route in self._routes.values():
            if route.source is source:
                route.install(policies)
