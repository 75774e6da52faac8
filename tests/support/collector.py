"""An OTLP collector: takes spans over HTTP in protobuf, as any real one does."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from support.serving import Quiet, serving

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Span:
    """One span as it came."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    error: bool
    took_ns: int
    attributes: dict[str, Any]
    service: str


@dataclass
class Collector:
    """What has come so far."""

    url: str = ""
    spans: list[Span] = field(default_factory=list)
    go_on: threading.Event = field(default_factory=threading.Event)
    """Cleared by a test that wants a collector that does not answer."""
    asked: threading.Event = field(default_factory=threading.Event)

    def take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            about = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [_span(span, about["service.name"]) for span in scope.spans]


def _span(span: Any, service: str) -> Span:
    values = {pair.key: pair.value for pair in span.attributes}
    return Span(
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        kind=span.kind,
        error=span.status.code == 2,
        took_ns=span.end_time_unix_nano - span.start_time_unix_nano,
        attributes={k: getattr(v, str(v.WhichOneof("value"))) for k, v in values.items()},
        service=service,
    )


@contextmanager
def collector() -> Iterator[Collector]:
    """Serve on a free loopback port until the block ends."""
    state = Collector()
    state.go_on.set()

    class Handler(Quiet):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            assert self.headers["content-type"] == "application/x-protobuf"
            body = self.body()
            state.asked.set()
            state.go_on.wait(30)
            state.take(body)
            self.answer(b"", "application/x-protobuf")

    with serving(Handler) as port:
        state.url = f"http://127.0.0.1:{port}"
        try:
            yield state
        finally:
            state.go_on.set()
