"""One request, and the server it is for, as the steps of the door hand them on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.downstream.body import BodyBounds
from gateway.downstream.relay import RelayBounds
from gateway.mcp import PROTOCOL_VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.asgi import ASGIApp, Receive, Scope
    from gateway.downstream.respond import Responder
    from gateway.enforcement import EnforcementPoint, Traffic
    from gateway.sessions import Sessions


@dataclass(slots=True)
class Service:
    """One server as the door knows it."""

    name: str
    upstream: ASGIApp
    points: Mapping[str, EnforcementPoint]
    """By grant."""
    sessions: Sessions
    traffic: Traffic


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the door lets one client take up."""

    body: BodyBounds = field(default_factory=BodyBounds)
    relay: RelayBounds = field(default_factory=RelayBounds)
    linger_s: float = 300.0
    """How long a call goes on whose client of a revision with sessions has left."""


@dataclass(slots=True)
class Visit:
    """One request, admitted and identified."""

    scope: Scope
    receive: Receive
    respond: Responder
    fields: Mapping[bytes, bytes]
    service: Service
    grant: str

    @property
    def version(self) -> bytes | None:
        """What the version header says."""
        return self.fields.get(PROTOCOL_VERSION)
