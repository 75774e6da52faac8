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
from gateway.pattern import matches
from gateway.tls import PEER

if TYPE_CHECKING:
    from gateway.asgi import Scope
    from gateway.settings import JwtSettings, Settings
    from gateway.signed import Verifier
    from gateway.tls import Peer

MAX_SIGNED = 4096
"""Verified tokens that are remembered; what is open for one that is forgotten ends when the
settings change."""
MAX_CALLERS = 4096
"""Callers kept for reuse; making one anew costs about a microsecond."""


@dataclass(frozen=True, slots=True)
class Known:
    """Whose a request is, and by what that is known.

    Attributes:
        token: the SHA-256 of the token that says so; None for a request without.
        peer: the client's certificate, if it is that which says so.
    """

    grant: str
    token: bytes | None = None
    peer: Peer | None = None


class Identity(Protocol):
    """Tells who sent a request."""

    async def identify(self, fields: Mapping[bytes, bytes], scope: Scope) -> Known | None:
        """Whose it is, or None if it must be refused as unauthenticated."""

    def holds(self, known: Known) -> bool:
        """Whether the same request would still be known as the same grant's."""

    @property
    def certifies(self) -> bool:
        """Whether a certificate may name a grant."""

    def certified(self, peer: Peer) -> str | None:
        """The grant that a client's certificate names."""


class GrantIdentity:
    """The grants of the settings in force, known by their tokens.

    Where no grant has credentials, those of a request are not looked at: everyone is the anonymous
    grant. Where one has, a request that brings some must bring good ones.

    Args:
        clock: seconds since 1970 UTC.

    Attributes:
        learned: called with a token's SHA-256, the grant, and until when that may be believed, each
            time a signed token was verified.
    """

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.time) -> None:
        self.learned: Callable[[bytes, str, float], object] = lambda *_: None
        self._clock = clock
        self._signed: dict[bytes, _Signed] = {}
        self._verifier: Verifier | None = None
        self._jwts: dict[str, JwtSettings] = {}
        self.install(settings)

    def install(self, settings: Settings) -> None:
        """Go by these settings from now on."""
        self._anonymous = settings.anonymous
        self._tokens = {
            token.sha256: (grant.name, token.until)
            for grant in settings.grants
            for token in grant.tokens
        }
        self._certificates = [
            (grant.name, grant.certificate)
            for grant in settings.grants
            if grant.certificate is not None
        ]
        jwts = {grant.name: grant.jwt for grant in settings.grants if grant.jwt is not None}
        if jwts == self._jwts:
            return
        # What was verified for a grant that is described as before is still the grant's.
        self._signed = {
            token: signed
            for token, signed in self._signed.items()
            if signed.grant in jwts and jwts[signed.grant] == self._jwts.get(signed.grant)
        }
        self._jwts = jwts
        self._verifier = None
        if jwts:
            from gateway.signed import Verifier  # takes its time, and its memory

            self._verifier = Verifier(settings.grants, clock=self._clock)

    @property
    def learns(self) -> bool:
        """Whether tokens may come to be known."""
        return self._verifier is not None

    @property
    def tokens(self) -> list[tuple[bytes, str, float | None]]:
        """Each token's SHA-256, the grant that it stands for, and until when; for those that were
        verified, until when that may be believed."""
        known = [(token, grant, until) for token, (grant, until) in self._tokens.items()]
        return known + [(token, one.grant, one.fresh) for token, one in self._signed.items()]

    def ends_in(self) -> float | None:
        """Seconds until the next token ends; None if none does."""
        now = self._clock()
        ends = [until for _, until in self._tokens.values() if until is not None]
        ends += [one.until for one in self._signed.values()]
        left = [until - now for until in ends if until > now]
        return min(left) if left else None

    async def identify(self, fields: Mapping[bytes, bytes], scope: Scope) -> Known | None:
        """Whose token it is, or the anonymous grant's if there is none."""
        value = fields.get(b"authorization")
        if value is None or not (self._tokens or self._verifier):
            peer: Peer | None = scope.get("extensions", {}).get(PEER)
            if peer is not None and self._certificates:
                certified = self.certified(peer)
                return None if certified is None else Known(certified, peer=peer)
            return None if self._anonymous is None else Known(self._anonymous)
        token = fingerprint(value)
        if token is None:
            return None
        grant = self._grant(token)
        signed = self._signed.get(token)
        if grant is None and signed is not None and self._clock() < signed.fresh:
            grant = signed.grant
        if grant is None and self._verifier is not None:
            grant = await self._verify(token, value[len(b"Bearer ") :], self._verifier)
        return None if grant is None else Known(grant, token)

    def holds(self, known: Known) -> bool:
        """Whether the same request would still be known as the same grant's."""
        if known.peer is not None:
            return known.grant == self.certified(known.peer)
        if known.token is None:
            return known.grant == self._anonymous
        signed = self._signed.get(known.token)
        if signed is not None and signed.grant == known.grant:
            return self._clock() < signed.until
        return known.grant == self._grant(known.token)

    @property
    def certifies(self) -> bool:
        """Whether a certificate may name a grant."""
        return bool(self._certificates)

    def certified(self, peer: Peer) -> str | None:
        """The grant that a client's certificate names; None if that is none, or several."""
        named = [
            name
            for name, one in self._certificates
            if (one.subject is not None and one.subject == peer.subject)
            or (one.spiffe and peer.spiffe is not None and matches(one.spiffe, peer.spiffe))
        ]
        return named[0] if len(named) == 1 else None

    def _grant(self, token: bytes) -> str | None:
        # The time that a look-up takes tells of digests, which nobody can choose, and of no token.
        grant, until = self._tokens.get(token, (None, None))
        return grant if until is None or self._clock() < until else None

    async def _verify(self, token: bytes, text: bytes, verifier: Verifier) -> str | None:
        """Whose signed token it is, remembered for those that follow."""
        from gateway.signed import FRESH_S, Unfit

        try:
            found = await verifier.verify(text.decode("ascii"))
        except Unfit:
            self._signed.pop(token, None)
            return None
        if verifier is not self._verifier:
            return None  # the settings changed meanwhile; the next request is judged by them
        now = self._clock()
        self._make_room(now)
        fresh = min(now + FRESH_S, found.until)
        self._signed[token] = _Signed(found.grant, fresh, found.until)
        self.learned(token, found.grant, fresh)
        return found.grant

    def _make_room(self, now: float) -> None:
        if len(self._signed) >= MAX_SIGNED:
            self._signed = {token: one for token, one in self._signed.items() if now < one.until}
        while len(self._signed) >= MAX_SIGNED:
            del self._signed[next(iter(self._signed))]


@dataclass(frozen=True, slots=True)
class _Signed:
    """A token that was verified.

    Attributes:
        fresh: until when that may be believed without looking again.
        until: when it ends.
    """

    grant: str
    fresh: float
    until: float


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
