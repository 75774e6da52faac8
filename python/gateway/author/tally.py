"""What one rule makes of many calls: how many, when, and whose."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.author.calls import moment, most

if TYPE_CHECKING:
    from gateway.author.calllog import Logged


@dataclass
class Tally:
    """The calls that a rule refused, would refuse, or no longer refuses.

    Attributes:
        rule: RFC 6901 pointer to it.
        code: what it refuses them with.
        at_ns: when each of the calls was made, nanoseconds since 1970 UTC.
    """

    rule: str
    code: str
    at_ns: array[int] = field(default_factory=lambda: array("q"))
    grants: Counter[str] = field(default_factory=Counter)
    tools: Counter[str] = field(default_factory=Counter)

    def add(self, call: Logged) -> None:
        """Count one more."""
        self.at_ns.append(call.at_ns)
        self.grants[call.grant] += 1
        self.tools[call.tool or call.method] += 1

    def lines(self, count: str) -> Iterator[str]:
        """For people.

        Args:
            count: how many calls it is about, in words.
        """
        yield f"  {self.rule or '(no rule)'}  {self.code}"
        yield f"    {count}, first {moment(min(self.at_ns))}, last {moment(max(self.at_ns))}"
        yield f"    grants {most(self.grants)}; tools {most(self.tools)}"

    def data(self) -> dict[str, Any]:
        """For programs."""
        return {
            "rule": self.rule,
            "code": self.code,
            "calls": len(self.at_ns),
            "first_ns": min(self.at_ns),
            "last_ns": max(self.at_ns),
            "grants": dict(self.grants),
            "tools": dict(self.tools),
        }
