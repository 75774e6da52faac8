"""A figure beside what it should be."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Goal:
    """One figure and its bound.

    Attributes:
        title: what was measured, for people.
        figure: what was found, in `unit`.
        bound: the most, or with `least` the least, that the figure may be.
        unit: of both; nothing for a ratio or a count.
    """

    title: str
    figure: float
    bound: float
    unit: str = ""
    least: bool = False

    @property
    def holds(self) -> bool:
        """Whether the figure is within the bound."""
        return self.figure >= self.bound if self.least else self.figure <= self.bound

    @property
    def limit(self) -> str:
        """The bound, in words."""
        return f"{'at least' if self.least else 'at most'} {told(self.bound)}{self._unit}"

    @property
    def found(self) -> str:
        """The figure, in words."""
        return told(self.figure) + self._unit

    @property
    def _unit(self) -> str:
        return f" {self.unit}" if self.unit else ""

    def __str__(self) -> str:
        verdict = "holds " if self.holds else "MISSES"
        return f"{verdict}  {self.title}: {self.found} ({self.limit})"


def told(number: float) -> str:
    """A number as short as it says enough."""
    if not math.isfinite(number):
        return "without end"
    if number == round(number) or abs(number) >= 100:
        return f"{number:,.0f}"
    return f"{number:.2f}" if abs(number) < 10 else f"{number:.1f}"
