"""What the core is told of a sampler is what the sampler does."""

from __future__ import annotations

import random

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import Decision

from gateway.tracing import _parent, bounds

ALL = 1 << 64


@pytest.mark.parametrize(
    ("name", "argument", "expected"),
    [
        ("", "", (ALL, ALL, 0)),
        ("always_on", "", (ALL, ALL, ALL)),
        ("always_off", "", (0, 0, 0)),
        ("parentbased_always_off", "", (0, ALL, 0)),
        ("traceidratio", "0.25", (ALL // 4, ALL // 4, ALL // 4)),
        ("parentbased_traceidratio", "0.25", (ALL // 4, ALL, 0)),
        ("parentbased_traceidratio", "0", (0, ALL, 0)),
    ],
)
def test_the_bound_is_where_the_sampler_has_it(
    name: str, argument: str, expected: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    if name:
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", name)
        monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", argument)
    sampler = TracerProvider(shutdown_on_exit=False).sampler
    found = bounds(sampler)
    assert found == expected
    drawn = random.Random(1)
    for parent, bound in zip((None, True, False), found, strict=True):
        for _ in range(200):
            trace_id = drawn.getrandbits(128) or 1
            context = _parent(trace_id, None if parent is None else 1, sampled=parent)
            decision = sampler.should_sample(context, trace_id, "").decision
            recorded = decision is Decision.RECORD_AND_SAMPLE
            assert recorded == (trace_id % ALL < bound)
