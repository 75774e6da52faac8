"""What operators may see of a running gateway.

`GatewayView` is what the composition root offers; the admin port and the metrics read nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from gateway._core import Caller

Histogram = tuple[list[int], int, int]
"""Counts of power-of-two buckets of nanoseconds (bucket `i` holds what took less than `2**(i+1)`,
the last all that took longer), their sum in nanoseconds, and how many there were."""
Phase = Literal["decide", "request", "upstream"]
Usage = dict[str, str | int | float | None]


class PolicyView(Protocol):
    """What is in force on one route; `gateway.policies.PolicyStatus` is one."""

    @property
    def name(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def loaded_at(self) -> float: ...
    @property
    def last_error(self) -> str | None: ...
    @property
    def reloads(self) -> Mapping[str, int]: ...


class EngineView(Protocol):
    """The counts that an engine keeps; `gateway._core.Engine` is one."""

    def counters(self) -> list[tuple[str, str, str, int]]: ...
    def decision_lines(self, caller: Caller) -> bytes: ...
    def shadow_counters(self) -> list[tuple[str, int]]: ...
    def histogram(self, phase: Phase) -> Histogram: ...
    def usage(self, caller: Caller) -> list[Usage]: ...
    def usage_lines(self, caller: Caller) -> bytes: ...
    def usage_ratios(self, caller: Caller) -> list[tuple[str, float]]: ...


class RouteView(Protocol):
    """One grant on one server."""

    @property
    def server(self) -> str: ...
    @property
    def grant(self) -> str: ...
    @property
    def engine(self) -> EngineView: ...
    @property
    def caller(self) -> Caller:
        """The grant on the server, without a session."""

    def policy(self) -> PolicyView: ...
    @property
    def in_flight(self) -> int:
        """Requests that wait for the server now."""

    @property
    def sessions(self) -> int:
        """Sessions opened and not yet ended, as far as this process knows."""

    @property
    def unpinned(self) -> int:
        """Entries of lists so far that were not as they are pinned."""

    @property
    def upstream_errors(self) -> Mapping[str, int]:
        """Failures of the server so far, by `UpstreamError.reason`."""


class ReloadView(Protocol):
    """How the last look at a file went; `gateway.reloads.Reload` is one."""

    @property
    def what(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def error(self) -> str | None: ...
    @property
    def failures(self) -> int: ...


class TableView(Protocol):
    @property
    def slots(self) -> int: ...
    @property
    def used(self) -> int: ...


class LogView(Protocol):
    """The decision log; `gateway._core.DecisionLog` is one."""

    def stats(self) -> Mapping[str, int]: ...


class DeskView(Protocol):
    """Where people are asked for approvals; `gateway.approvals.desk.Desk` is one."""

    @property
    def pending(self) -> int:
        """Requests that wait, in the store that all processes share."""

    @property
    def outcomes(self) -> Mapping[str, int]:
        """What became of requests in this process."""


class TracingView(Protocol):
    """Spans; `gateway.tracing.Tracing` is one."""

    @property
    def made(self) -> int: ...
    @property
    def exported(self) -> int: ...


class GatewayView(Protocol):
    """What the composition root lets operators see."""

    @property
    def table(self) -> TableView: ...
    @property
    def log(self) -> LogView | None: ...
    @property
    def desk(self) -> DeskView | None: ...
    @property
    def tracing(self) -> TracingView | None: ...
    @property
    def deliveries(self) -> Mapping[str, int]:
        """How often a webhook was told of an approval by this process, by what came of it."""

    def ready(self) -> list[str]:
        """Why it is not ready to serve; empty when it is."""

    def reloads(self) -> Sequence[ReloadView]:
        """How the last look at each file went that is read again when it changes."""

    def awaits_restart(self) -> Sequence[str]:
        """What of the configuration stays as it was until a restart."""

    def routes(self) -> Sequence[RouteView]: ...
