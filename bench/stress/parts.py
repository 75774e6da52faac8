"""All that Interlock is put under.

INVARIANT: each part has a `TITLE`, measures, and says by itself which goals its result meets.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from bench.stress import memory, neighbour, overload, slow, upstream, worst

if TYPE_CHECKING:
    from bench.load.path import Cores
    from bench.stress.goals import Goal
    from bench.stress.rig import Pace, Result


class Part(Protocol):
    """One of the modules here."""

    TITLE: str

    def measure(self, pace: Pace, cores: Cores, /) -> Result:
        """Everything that was found, as it is stored."""

    def goals(self, found: Result, /) -> Iterator[Goal]:
        """Which goals a result meets."""


PARTS: dict[str, Part] = {
    "p2": overload,
    "p3": neighbour,
    "p4": slow,
    "p5": upstream,
    "p6": worst,
    "memory": memory,
}
