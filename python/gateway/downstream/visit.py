"""One request, and the server it is for, as the steps of the door hand them on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from gateway.downstream.body import BodyBounds
from gateway.downstream.relay import RelayBounds
from gateway.mcp import PROTOCOL_VERSION

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from gateway.asgi import ASGIApp, Receive, Scope, Send
    from gateway.downstream.respond import Responder
    from gateway.enforcement import EnforcementPoint, Traffic
    from gateway.sessions import Sessions


class Borrower(Protocol):
    """Who speaks HTTP on a borrowed connection."""

    def answered(self, data: bytes) -> None: ...
    def ended(self) -> None: ...


class Loan(Protocol):
    """A server's connection, lent for one exchange."""

    def write(self, data: bytes) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...


class Lender(Protocol):
    """A server that lends its connections to the fast path; `HttpUpstream` is one."""

    first_byte_timeout_s: float
    idle_timeout_s: float

    @property
    def head(self) -> bytes: ...
    @property
    def own_names(self) -> Sequence[bytes]: ...
    def borrow(self, borrower: Borrower) -> Loan | None: ...
    async def open(self, borrower: Borrower) -> Loan: ...
    def take_back(self, loan: Any) -> None: ...
    def discard(self, loan: Any) -> None: ...
    def reread(self, loan: Any, raw: bytes) -> Callable[[Send], Awaitable[None]]: ...


@dataclass(slots=True)
class Service:
    """One server as the door knows it."""

    name: str
    upstream: ASGIApp
    points: Mapping[str, EnforcementPoint]
    """By grant."""
    sessions: Sessions
    traffic: Traffic
    lender: Lender | None = None
    """The same server for the fast path, where it has one."""


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
