"""A metric family: samples of one name, and their text in Prometheus' format, version 0.0.4."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Sample(NamedTuple):
    """One figure: what its name has more than its family's, its labels, and the number."""

    suffix: str
    labels: Mapping[str, str]
    value: float


class Family(NamedTuple):
    """Samples of one name.

    Attributes:
        name: with `_total` where it is a counter.
        lines: the text of the samples, a piece for each route, where the core words it.
    """

    name: str
    kind: str
    help: str
    samples: Iterable[Sample]
    lines: Iterable[bytes] | None = None


def text(family: Family) -> bytes:
    """A family's lines, from its samples."""
    name = family.name
    lines = [
        f"{name}{sample.suffix}{{{_worded(sample.labels)}}} {sample.value}\n"
        if sample.labels
        else f"{name}{sample.suffix} {sample.value}\n"
        for sample in family.samples
    ]
    return head(family) + "".join(lines).encode()


def head(family: Family) -> bytes:
    """The two lines before a family's samples."""
    name = family.name
    return f"# HELP {name} {family.help}\n# TYPE {name} {family.kind}\n".encode()


def _worded(labels: Mapping[str, str]) -> str:
    return ",".join(f'{label}="{_escaped(value)}"' for label, value in labels.items())


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
