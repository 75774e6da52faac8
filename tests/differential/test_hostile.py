"""Hostile messages are refused with their code, odd but lawful ones pass, on both sides."""

from __future__ import annotations

import pytest

from differential.sides import Core, Model, Side
from hostile import Sample, samples

SAMPLES = samples()


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
@pytest.mark.parametrize("side", [Model, Core])
def test_sample(sample: Sample, side: type[Side]) -> None:
    seen = side(sample.policy).decide({}, sample.body, sample.headers)
    assert seen["code"] == sample.code, sample.body[:300]
    assert seen["allowed"] is (sample.code == "allowed")


def test_the_corpus_is_as_large_as_it_should_be() -> None:
    lawful = [sample for sample in SAMPLES if sample.code == "allowed"]
    assert len(SAMPLES) - len(lawful) >= 600
    assert len(lawful) >= 100


def test_names_are_unique() -> None:
    names = [sample.name for sample in SAMPLES]
    assert sorted(names) == sorted(set(names))
