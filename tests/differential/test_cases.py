"""Every data case, decided by the executable specification and by the engine."""

from __future__ import annotations

from typing import Any

import pytest

from casefile import Case, Step, load_all
from differential.sides import Core, Model, Side

CASES = load_all()
NUMERIC = ("limit", "remaining")


def check(case: Case, step: Step, number: int, seen: dict[str, Any]) -> None:
    for key, wanted in step.expect.items():
        found = seen[key]
        if key in NUMERIC and wanted is not None and found is not None:
            wanted, found = float(wanted), float(found)
        if key == "shadow":
            wanted, found = [tuple(each) for each in wanted], list(found)
        assert found == wanted, f"{case.name}, step {number}: {key} of {seen}"


def walk(case: Case, side: Side) -> None:
    """Do every step, compare what the case names."""
    for number, step in enumerate(case.steps):
        if step.install is not None:
            side.install(step.install)
        elif step.settle is not None:
            side.settle(step.settle, step.outcome, step.at_ns)
        else:
            assert step.body is not None
            seen = side.decide(step.caller, step.body, step.headers, step.at_ns, step.label)
            check(case, step, number, seen)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.file}: {case.name}")
@pytest.mark.parametrize("side", [Model, Core])
def test_case(case: Case, side: type[Side]) -> None:
    walk(case, side(case.policy))


def test_names_are_unique() -> None:
    names = [(case.file, case.name) for case in CASES]
    assert len(names) == len(set(names))


def test_every_step_that_decides_expects_something() -> None:
    for case in CASES:
        assert all(step.expect for step in case.steps if step.body is not None), case.name
