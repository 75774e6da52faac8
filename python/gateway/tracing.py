"""Spans for OpenTelemetry: what the core keeps of decided messages, exported by the official SDK.

Loaded only where tracing is switched on. Nothing here runs on the event loop: a thread fetches what
waits and makes spans of it, and the SDK's own thread sends them.

INVARIANT: no call waits for a span. What cannot be exported is lost, which is counted, and neither
the core's queue nor the SDK's grows beyond its bound.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal, TypedDict, cast

import orjson
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision

from gateway._core import Spans, build_info

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.sampling import Sampler

    from gateway._core import DecisionLog

ROOM = 8192
"""Spans that may wait for the thread that fetches them."""
FETCH_S = 0.25
"""How often it looks; sooner when half of the room is used."""
CLOSE_S = 2.0
"""What the collector gets for what still waits at the end. A pod's sidecar has no more."""
PROBE_SPAN_ID = 1
_LIMIT = 1 << 64

_log = logging.getLogger("interlock.tracing")


class SpanRow(TypedDict):
    """How one message went, for the span that stands for it."""

    trace_id: int
    span_id: int
    parent_id: int | None
    parent_sampled: bool
    started_ns: int
    """Nanoseconds since 1970 UTC."""
    ended_ns: int
    grant: str
    server: str
    session: str | None
    """Digits of its digest."""
    method: str
    tool: str | None
    request_id: str | None
    """As it was spelt."""
    allowed: bool
    code: str
    rule: str | None
    counter: str | None
    remaining: str | None
    shadow: int
    policy: str
    status: int | None
    fault: str | None


class Tracing:
    """Tracing that is switched on: its spans, and the threads that export them.

    Args:
        log: what records decisions besides.
        transport: how clients reach us, in the words of the semantic conventions.

    Attributes:
        spans: for the engines.
        exported: how many a collector has taken.
    """

    def __init__(self, log: DecisionLog | None, transport: Literal["tcp", "pipe"]) -> None:
        self._transport = transport
        self._ids = _Ids()
        self._exporter = _Counting(OTLPSpanExporter())
        self._provider = TracerProvider(
            resource=Resource.create(
                {"service.name": os.environ.get("OTEL_SERVICE_NAME") or "interlock"}
            ),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("interlock", str(build_info()["version"]))
        root, sampled, unsampled = bounds(self._provider.sampler)
        self.spans = Spans(log, most=ROOM, root=root, sampled=sampled, unsampled=unsampled)
        self._fetching = threading.Thread(target=self._fetch, name="spans", daemon=True)
        self._fetching.start()

    @property
    def made(self) -> int:
        """Spans so far; those that are not `exported` wait, or are lost."""
        return self.spans.made

    @property
    def exported(self) -> int:
        """How many a collector has taken."""
        return self._exporter.exported

    def close(self) -> None:
        """Export what waits, as far as that can be done in `CLOSE_S`."""
        self.spans.close()
        closing = threading.Thread(target=self._close, name="spans-end", daemon=True)
        closing.start()
        closing.join(CLOSE_S)
        lost = self.made - self.exported
        if lost:
            _log.warning("%d spans were not exported", lost)

    def _close(self) -> None:
        self._fetching.join()
        self._provider.shutdown()

    def _fetch(self) -> None:
        while (rows := self.spans.take(FETCH_S)) is not None:
            for row in rows:
                try:
                    self._tell(cast("SpanRow", row))
                except Exception:
                    _log.exception("a span could not be made")

    def _tell(self, row: SpanRow) -> None:
        """Have the SDK make this one span, and end it."""
        self._ids.trace_id, self._ids.span_id = row["trace_id"], row["span_id"]
        fault = row["fault"] or (None if row["allowed"] else row["code"])
        span = self._tracer.start_span(
            " ".join(filter(None, (row["method"], row["tool"]))),
            context=_parent(row["trace_id"], row["parent_id"], sampled=row["parent_sampled"]),
            kind=trace.SpanKind.SERVER,
            attributes=dict(attributes(row, self._transport)),
            start_time=row["started_ns"],
        )
        if fault is not None:
            span.set_status(trace.Status(trace.StatusCode.ERROR, fault))
        span.end(row["ended_ns"])


def attributes(row: SpanRow, transport: str) -> Iterator[tuple[str, str | int]]:
    """What a span says: by the semantic conventions for MCP where they have a name for it."""
    found: dict[str, str | int | None] = {
        "mcp.method.name": row["method"],
        "gen_ai.operation.name": None if row["tool"] is None else "execute_tool",
        "gen_ai.tool.name": row["tool"],
        "jsonrpc.request.id": _request_id(row["request_id"]),
        "network.transport": transport,
        "error.type": row["fault"] or (None if row["allowed"] else row["code"]),
        "interlock.effect": "allow" if row["allowed"] else "deny",
        "interlock.code": row["code"],
        "interlock.grant": row["grant"],
        "interlock.server": row["server"],
        "interlock.session": row["session"],
        "interlock.rule": row["rule"],
        "interlock.counter": row["counter"],
        "interlock.remaining": row["remaining"],
        "interlock.policy": row["policy"],
        "interlock.shadow": row["shadow"] or None,
        "interlock.upstream_status": row["status"],
    }
    return ((name, value) for name, value in found.items() if value is not None)


def bounds(sampler: Sampler) -> tuple[int, int, int]:
    """Where a sampler's bound lies: it records a trace if the last 64 bits of its id are below.

    The core has to say upstream, while it decides, whether a trace is recorded. The samplers that
    `OTEL_TRACES_SAMPLER` names look at nothing but the parent and these bits.

    Returns:
        Without a parent, with one that is recorded, with one that is not; each from 0 to 2**64.
    """
    asked = (None, True, False)

    def recorded(parent: bool | None, last: int) -> bool:
        trace_id = 1 << 127 | last
        context = _parent(trace_id, PROBE_SPAN_ID if parent is not None else None, sampled=parent)
        found = sampler.should_sample(context, trace_id, "").decision
        return found is Decision.RECORD_AND_SAMPLE

    first, second, third = (_bound(parent, recorded) for parent in asked)
    return first, second, third


def _bound(parent: bool | None, recorded: Callable[[bool | None, int], bool]) -> int:
    low, high = 0, _LIMIT
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if recorded(parent, middle) else (low, middle)
    return low


def _parent(trace_id: int, span_id: int | None, *, sampled: bool | None) -> Context:
    """The context of a span with this parent; one of none if there is no parent."""
    if span_id is None:
        return Context()
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if sampled else trace.TraceFlags.DEFAULT)
    parent = trace.SpanContext(trace_id, span_id, is_remote=True, trace_flags=flags)
    return trace.set_span_in_context(trace.NonRecordingSpan(parent), Context())


def _request_id(spelt: str | None) -> str | None:
    """A message's id as text; as it was spelt if it was cut."""
    if spelt is None:
        return None
    try:
        return str(orjson.loads(spelt))
    except orjson.JSONDecodeError:
        return spelt


class _Ids(IdGenerator):
    """Says the ids that the core gave a span; one thread asks."""

    trace_id = 0
    span_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        return self.span_id


class _Counting(SpanExporter):
    """An exporter that counts what was taken."""

    def __init__(self, exporter: SpanExporter) -> None:
        self.exported = 0
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self.exported += len(spans)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._exporter.force_flush(timeout_millis)
