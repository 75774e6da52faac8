"""Who asks: from the credentials of a request to a grant, and to the core's cached `Caller`.

INVARIANT: whatever goes wrong while a credential is read means that nobody was identified; no
header other than the credential says who asks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Protocol

from gateway._core import Caller
from gateway.mcp import revision_name

ANONYMOUS = "default"
"""The grant of one-server mode."""

MAX_CALLERS = 4096
"""Callers kept for reuse; making one anew costs about a microsecond."""


class Identity(Protocol):
    """Tells who sent a request."""

    def identify(self, headers: Mapping[bytes, bytes]) -> str | None:
        """The grant's name, or None if the request must be refused as unauthenticated."""


class AnonymousIdentity:
    """Everyone is the same grant; credentials are not looked at, and not passed on either."""

    def __init__(self, grant: str = ANONYMOUS) -> None:
        self._grant = grant

    def identify(self, headers: Mapping[bytes, bytes]) -> str | None:
        """The one grant."""
        return self._grant


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
