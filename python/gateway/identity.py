"""Who asks: from the credentials of a request to a grant, and to the core's cached `Caller`.

INVARIANT: whatever goes wrong while a credential is read means that nobody was identified; no
header other than the credential says who asks.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from gateway._core import Caller, fingerprint
from gateway.mcp import revision_name

if TYPE_CHECKING:
    from gateway.asgi import Scope
    from gateway.settings import Settings

MAX_CALLERS = 4096
"""Callers kept for reuse; making one anew costs about a microsecond."""


@dataclass(frozen=True, slots=True)
class Known:
    """Whose a request is, and by what that is known.

    Attributes:
        token: the SHA-256 of the token that says so; None for a request without.
    """

    grant: str
    token: bytes | None = None


class Identity(Protocol):
    """Tells who sent a request."""

    async def identify(self, fields: Mapping[bytes, bytes], scope: Scope) -> Known | None:
        """Whose it is, or None if it must be refused as unauthenticated."""

    def holds(self, known: Known) -> bool:
        """Whether the same request would still be known as the same grant's."""


class GrantIdentity:
    """The grants of the settings in force, known by their tokens.

    Where no grant has credentials, those of a request are not looked at: everyone is the anonymous
    grant. Where one has, a request that brings some must bring good ones.

    Args:
        clock: seconds since 1970 UTC.
    """

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.install(settings)

    def install(self, settings: Settings) -> None:
        """Go by these settings from now on."""
        self._anonymous = settings.anonymous
        self._tokens = {
            token.sha256: (grant.name, token.until)
            for grant in settings.grants
            for token in grant.tokens
        }

    @property
    def tokens(self) -> list[tuple[bytes, str, float | None]]:
        """Each token's SHA-256, the grant that it stands for, and until when."""
        return [(token, grant, until) for token, (grant, until) in self._tokens.items()]

    def ends_in(self) -> float | None:
        """Seconds until the next token ends; None if none does."""
        now = self._clock()
        ends = [until for _, until in self._tokens.values() if until is not None and until > now]
        return min(ends) - now if ends else None

    async def identify(self, fields: Mapping[bytes, bytes], scope: Scope) -> Known | None:
        """Whose token it is, or the anonymous grant's if there is none."""
        value = fields.get(b"authorization")
        if value is None or not self._tokens:
            return None if self._anonymous is None else Known(self._anonymous)
        token = fingerprint(value)
        grant = None if token is None else self._grant(token)
        return None if grant is None else Known(grant, token)

    def holds(self, known: Known) -> bool:
        """Whether the same request would still be known as the same grant's."""
        if known.token is None:
            return known.grant == self._anonymous
        return known.grant == self._grant(known.token)

    def _grant(self, token: bytes) -> str | None:
        # The time that a look-up takes tells of digests, which nobody can choose, and of no token.
        grant, until = self._tokens.get(token, (None, None))
        return grant if until is None or self._clock() < until else None


class Callers:
    """Callers by grant, server, session and revision, the least used ones forgotten first."""

    def __init__(self, size: int = MAX_CALLERS) -> None:
        self._size = size
        self._known: OrderedDict[tuple[str, str, str | None, int], Caller] = OrderedDict()

    def get(self, grant: str, server: str, session: str | None = None, revision: int = 0) -> Caller:
        """The caller, made on first use.

        Args:
            revision: as `mcp.revision_number` has it; 0 where it is not known.
        """
        key = (grant, server, session, revision)
        caller = self._known.get(key)
        if caller is not None:
            self._known.move_to_end(key)
            return caller
        caller = Caller(grant, server=server, session=session, revision=revision_name(revision))
        self._known[key] = caller
        if len(self._known) > self._size:
            self._known.popitem(last=False)
        return caller
