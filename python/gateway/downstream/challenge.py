"""What a client without good credentials is told: how to get some.

`WWW-Authenticate` as RFC 6750 and RFC 9728 have it, and the metadata of the protected resource that
it points to, at its well-known place (RFC 9728, section 3; MCP, "Authorization").

INVARIANT: nothing is said here that depends on a grant or on a token, but whether there was one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from gateway.asgi import Scope
    from gateway.denial import Answer
    from gateway.settings import Settings

WELL_KNOWN = b"/.well-known/oauth-protected-resource"


class Challenge:
    """The same for every server behind one listener.

    Args:
        paths: where servers are served.
    """

    def __init__(self, settings: Settings, paths: Collection[bytes]) -> None:
        self._servers = list(settings.authorization_servers)
        self._public = settings.public_url.rstrip("/") if settings.public_url else None
        self._paths = frozenset(paths)

    def words(self, path: bytes, fields: Mapping[bytes, bytes], scope: Scope) -> bytes:
        """The value of `WWW-Authenticate` for a request to this path."""
        said = []
        if b"authorization" in fields:
            said.append('error="invalid_token"')
        if self._servers:
            place = WELL_KNOWN.decode() + path.decode("latin-1").rstrip("/")
            said.append(f'resource_metadata="{self._base(fields, scope)}{place}"')
        return ("Bearer " + ", ".join(said)).rstrip().encode("latin-1")

    def metadata(self, path: bytes, fields: Mapping[bytes, bytes], scope: Scope) -> Answer | None:
        """The metadata that a path asks for; None where there is none."""
        resource = path.removeprefix(WELL_KNOWN)
        if not self._servers or resource == path:
            return None
        if not resource and b"/mcp" in self._paths:
            resource = b"/mcp"
        if resource not in self._paths:
            return None
        told = {
            "resource": self._base(fields, scope) + resource.decode("latin-1"),
            "authorization_servers": self._servers,
            "bearer_methods_supported": ["header"],
        }
        return 200, [(b"content-type", b"application/json")], orjson.dumps(told)

    def _base(self, fields: Mapping[bytes, bytes], scope: Scope) -> str:
        """Where the client sees this listener: as it is told, or else as the request has it."""
        if self._public is not None:
            return self._public
        return f"{scope.get('scheme', 'http')}://{fields[b'host'].decode('latin-1')}"
