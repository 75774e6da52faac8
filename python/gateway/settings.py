"""Everything the sidecar is told, parsed and validated before any port opens."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port to listen on; port 0 is any free one."""

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """One MCP server: either `url` or `command` is given."""

    name: str
    policy: Path
    url: str | None = None
    command: tuple[str, ...] | None = None
    env: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    ca_file: Path | None = None
    connect_timeout_s: float = 5.0
    first_byte_timeout_s: float = 60.0
    idle_timeout_s: float = 300.0
    max_children: int = 64
    """Processes of a `command` at once: one for each session, and one for all clients without."""
    session_idle_s: float = 1800.0
    """After this long without a request a session of a `command` ends, and its process with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole sidecar."""

    servers: tuple[ServerSettings, ...]
    listen: Address = Address("127.0.0.1", 8080)
    admin: Address | None = Address("127.0.0.1", 9090)
    state: Path | None = None
    """The limit table's file; None keeps it in memory."""
    slots: int = 16384
    workers: int = 1
    shadow: bool = False
    grace_s: float = 25.0
    max_body_bytes: int = 1 << 20
    max_in_flight: int = 1024
    allowed_hosts: tuple[str, ...] = ()
    """Host values accepted besides the listener's own."""
    allowed_origins: tuple[str, ...] = ()
    """Origins accepted besides loopback ones."""
    allow_anonymous: bool = False
    denials: str = "result"
