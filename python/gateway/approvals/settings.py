"""What is said of approvals: where they are kept, how long they hold, and who is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

PENDING_S = 3600.0
APPROVED_S = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSettings:
    """Whoever is told that a call waits for a person."""

    url: str
    secret: bytes = field(repr=False)
    """The key that signs what is sent."""
    ca_file: Path | None = None
    """Certificates that may vouch for the receiver."""
    include_arguments: bool = False
    """Whether the call's arguments are sent as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalSettings:
    """The store of approvals, and how long things hold in it."""

    path: Path
    """The store's file."""
    pending_s: float = PENDING_S
    """How long a request waits for a person, in seconds."""
    approved_s: float = APPROVED_S
    """How long what a person said holds, in seconds."""
    wait_s: float = 0.0
    """How long a call is held for the decision before it is refused, in seconds."""
    webhook: WebhookSettings | None = None
