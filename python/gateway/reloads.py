"""How the last look at a file went that is read again when it changes.

INVARIANT: a file that cannot be used is told of for as long as it is as it is; what was read before
stays in force.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

What = Literal["policy", "configuration", "certificate", "pins"]


@dataclass(slots=True)
class Reload:
    """One file.

    Attributes:
        error: why it cannot be used as it is now; None when it is the one in force.
        failures: how often it could not be used.
    """

    what: What
    source: str
    error: str | None = None
    failures: int = 0

    def failed(self, error: str) -> None:
        """What it holds now cannot be used."""
        self.error = error
        self.failures += 1

    def succeeded(self) -> None:
        """What it holds is in force."""
        self.error = None
