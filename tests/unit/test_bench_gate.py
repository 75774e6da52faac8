"""bench/gate.py: what is too dear, and that nothing is let through for lack of a count."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bench import gate

RECORDED = {"allowance": 0.2, "instructions": {"decide-allowed": 1_000}}
COUNTER = Path(__file__).parents[2] / "rust/log/examples/count.rs"


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (1_000, "ok"),
        (1_200, "ok"),
        (1_201, "too dear"),
        (800, "ok"),
        (799, "cheaper: record it"),
    ],
)
def test_a_fifth_more_is_too_dear(found: int, verdict: str) -> None:
    (count,) = gate.compare({"decide-allowed": found}, RECORDED)
    assert count.verdict == verdict
    assert str(count).endswith(verdict)


def test_a_case_that_is_not_on_record_is_an_error() -> None:
    with pytest.raises(KeyError):
        gate.compare({"decide-other": 1}, RECORDED)


def test_what_callgrind_counted_is_read() -> None:
    assert (
        gate.instructions("==1== Events : Ir\n==1== Collected : 36456353\n==1== \n") == 36_456_353
    )
    with pytest.raises(ValueError, match="nothing"):
        gate.instructions("==1== valgrind: the program crashed")


def test_what_is_on_record_is_what_the_program_counts() -> None:
    recorded = json.loads(gate.FIGURES.read_text(encoding="utf-8"))
    cases = re.findall(r'^ +"([a-z-]+)" => ', COUNTER.read_text(encoding="utf-8"), re.M)
    assert cases
    assert sorted(cases) == sorted(recorded["instructions"])
    assert 0 < recorded["allowance"] <= 0.2


@pytest.mark.parametrize("arguments", [[], ["--required"]])
def test_without_valgrind_it_says_that_nothing_was_counted(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert gate.main(arguments) == len(arguments)
    assert "SKIPPED" in capsys.readouterr().err
