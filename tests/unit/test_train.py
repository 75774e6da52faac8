"""What a release build learns from, on the extension that there is."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from gateway._core import DecisionLog, Engine, LimitTable, PolicySet

TRAIN = Path(__file__).parents[2] / "rust" / "train.py"


@pytest.fixture
def train() -> ModuleType:
    spec = importlib.util.spec_from_file_location("train", TRAIN)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_does_what_a_gateway_does(train: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    engines: list[Engine] = []

    def noted(policies: PolicySet, table: LimitTable, *, log: DecisionLog | None) -> Engine:
        engines.append(Engine(policies, table, log=log))
        return engines[-1]

    monkeypatch.setattr(train, "Engine", noted)
    monkeypatch.setattr(train, "ROUNDS", 20)
    train.main()
    without, logged = ([row[2:] for row in engine.counters()] for engine in engines)
    assert without == logged
    codes = Counter[str]()
    for code, count in without:
        codes[code] += count
    assert set(codes) == {
        "allowed",
        "default-deny",
        "limit-exceeded",
        "requirement-unmet",
        "tool-denied",
    }
    assert codes["allowed"] > 0.7 * codes.total()
    # Each message once by the slow door, and by the fast path once for each kind of client.
    assert codes.total() == 20 * (1 + len(train.HEADS)) * len(train.messages())
