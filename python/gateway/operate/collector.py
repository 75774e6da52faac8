"""The metrics for who embeds the gateway and has a Prometheus client of their own.

    REGISTRY.register(InterlockCollector(app.view))

This is the only module that imports `prometheus_client`, which the sidecar itself does without.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from gateway.operate.metrics import families

if TYPE_CHECKING:
    from gateway.operate.view import GatewayView


class InterlockCollector(Collector):
    """Reads the counts when somebody scrapes; keeps nothing.

    The figures of the process itself are left to the client's own `ProcessCollector`.
    """

    def __init__(self, view: GatewayView) -> None:
        self._view = view

    def describe(self) -> list[Metric]:
        """Nothing: the registry need not ask for a scrape to learn the names."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The families as they are now."""
        for family in families(self._view):
            name = family.name.removesuffix("_total") if family.kind == "counter" else family.name
            metric = Metric(name, family.help, family.kind)
            for suffix, labels, value in family.samples:
                metric.add_sample(family.name + suffix, dict(labels), value)
            yield metric
