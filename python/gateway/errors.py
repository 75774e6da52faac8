"""The exceptions that cross rooms.

GatewayError
├── SettingsError   the configuration cannot be used; nothing was opened (exit 64)
├── StartError      a port or a file needed at start is not to be had (exit 69)
└── UpstreamError   a server could not be asked, or did not answer as HTTP and MCP say
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

UpstreamReason = Literal["connect", "tls", "reset", "timeout", "invalid", "busy", "exited"]


class GatewayError(Exception):
    """Base of every exception that the gateway raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a setting: what, and how to mend it.

    Attributes:
        at: JSON pointer to it in the configuration; empty for the whole.
        place: `file:line:column`, where it was read from a file.
    """

    message: str
    help: str | None = None
    code: str = "unusable"
    at: str = ""
    place: str | None = None

    def lines(self) -> list[str]:
        """For people: the line that names it, and its help."""
        error = "error" if self.place is None else f"{self.place}: error[{self.code}]"
        first = f"{error}: {self.message}"
        return [first] + ([f"help: {self.help}"] if self.help is not None else [])


def table_problem(error: OSError) -> Problem:
    """What the core says of a limit table that it cannot open: the problem, and its help."""
    message, _, help = str(error).partition("\nhelp: ")
    return Problem(message, help or None)


class SettingsError(GatewayError):
    """Settings that cannot be used, with every problem found."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = problems


class StartError(GatewayError):
    """Something outside the settings that is needed at start is not to be had.

    Attributes:
        problem: what, and how to mend it.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class UpstreamError(GatewayError):
    """A server could not serve a request.

    Attributes:
        reason: what went wrong, a label with few values.
        sent: whether the server may have seen the request, so that what was charged must stay
            charged.
    """

    def __init__(self, reason: UpstreamReason, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.reason: UpstreamReason = reason
        self.sent = sent
