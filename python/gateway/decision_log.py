"""The decision log: opened as the settings say, told of what has no message, and closed.

What has a message tells the log itself, in the core (`Engine(log=...)`).

INVARIANT: a request that asks for something is told of once.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from gateway._core import DecisionLog, build_info
from gateway.errors import Problem, StartError

if TYPE_CHECKING:
    from gateway.settings import LogSettings, Settings
    from gateway.tracing import Tracing

CLOSE_S = 2.0
"""What the writer gets for what still waits at the end. A pod's sidecar has no more."""


def open_log(settings: LogSettings, *, worker: int | None = None) -> DecisionLog | None:
    """The log, or None if there is to be none.

    Args:
        worker: the number of this process, where several serve agents.

    Raises:
        StartError: it cannot be opened, or what is there does not end like a log.
    """
    if settings.path == "none":
        return None
    about = [("version", str(build_info()["version"])), ("pid", str(os.getpid()))]
    try:
        return DecisionLog(
            settings.path,
            on_overflow=settings.on_overflow,
            include_args=list(settings.include_args),
            buffer_bytes=settings.buffer_bytes,
            rotate_bytes=settings.rotate_bytes,
            rotate_s=settings.rotate_s,
            keep=settings.keep,
            worker=worker,
            about=about,
        )
    except OSError as error:
        why = error.strerror or str(error)
        raise StartError(
            Problem(
                f"the decision log `{settings.path}` cannot be opened: {why.lower()}",
                "name a file in a folder that can be written, `-`, or `none`; one that does not "
                "end like a log is to be moved away, and `interlock log verify` says what is wrong",
            )
        ) from error


def open_tracing(
    settings: Settings, log: DecisionLog | None, transport: Literal["tcp", "pipe"] = "tcp"
) -> Tracing | None:
    """What exports spans of the decisions that this log records, or None if there is to be none.

    Raises:
        StartError: the OpenTelemetry SDK cannot be had, or not with these `OTEL_` variables.
    """
    # The SDK's own switch; without spans, nobody's place in a trace is to be taken either.
    if not settings.otel or os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    try:
        from gateway.tracing import Tracing

        return Tracing(log, transport)
    except (ImportError, ValueError) as error:
        problem = Problem(f"spans cannot be exported: {error}", "look at the `OTEL_` variables")
        raise StartError(problem) from error


def close_log(log: DecisionLog | None) -> int:
    """Write what waits, and end the log; how many records could not be written."""
    return 0 if log is None else log.close(CLOSE_S)
