"""Fails when a decision has become a fifth dearer, counted in instructions: `python -m bench.gate`.

Instructions are the same from run to run and from machine to machine, where times are not.
`rust/log/examples/count.rs` does each thing a given number of times under valgrind; two numbers of
times subtracted leave out what it takes to start. The figures it may not exceed are in
`bench/gate.json`, which `--update` writes anew, for a change that is worth its price.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
FIGURES = Path(__file__).with_name("gate.json")
FEW, MANY = 1_000, 3_000
"""How often each thing is done."""


@dataclass(frozen=True)
class Count:
    """Instructions of one case: what they were found to be, and what is on record."""

    case: str
    found: int
    recorded: int
    allowance: float

    @property
    def change(self) -> float:
        """0.1 for a tenth more than is on record."""
        return self.found / self.recorded - 1

    @property
    def verdict(self) -> str:
        """In a word."""
        if self.change > self.allowance:
            return "too dear"
        return "cheaper: record it" if self.change < -self.allowance else "ok"

    def __str__(self) -> str:
        return (
            f"{self.case:21} {self.found:7,} instructions, {self.change:+6.1%} of"
            f" {self.recorded:7,}: {self.verdict}"
        )


def main(arguments: list[str] | None = None) -> int:
    """0 if nothing is too dear, or there is no valgrind; 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m bench.gate", description=__doc__)
    parser.add_argument("--update", action="store_true", help="record what is found, and pass")
    parser.add_argument("--required", action="store_true", help="fail if valgrind is not there")
    options = parser.parse_args(arguments)
    if shutil.which("valgrind") is None:
        print("gate: SKIPPED, nothing was counted: install the package valgrind", file=sys.stderr)
        return int(options.required)
    recorded = json.loads(FIGURES.read_text(encoding="utf-8"))
    program = build()
    found = {case: count(program, case) for case in recorded["instructions"]}
    if options.update:
        recorded["instructions"] = found
        FIGURES.write_text(json.dumps(recorded, indent=2) + "\n", encoding="utf-8")
    counts = compare(found, recorded)
    for each in counts:
        print(each)
    return int(any(each.verdict == "too dear" for each in counts))


def compare(found: dict[str, int], recorded: dict[str, object]) -> list[Count]:
    """What was found beside what is on record.

    Args:
        recorded: `allowance`, and `instructions` by case, as in `bench/gate.json`.

    Raises:
        KeyError: a case is not on record.
    """
    figures, allowance = recorded["instructions"], recorded["allowance"]
    assert isinstance(figures, dict)
    assert isinstance(allowance, float)
    return [Count(case, each, figures[case], allowance) for case, each in found.items()]


def build() -> Path:
    """The program that is counted, built as the extension is."""
    command = ["cargo", "build", "--release", "--locked", "--quiet"]
    command += ["--package", "gateway-log", "--example", "count"]
    subprocess.run(command, cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return target / "release" / "examples" / "count"


def count(program: Path, case: str) -> int:
    """Instructions of one time, over those of starting."""
    few, many = (collected(program, case, times) for times in (FEW, MANY))
    return round((many - few) / (MANY - FEW))


def collected(program: Path, case: str, times: int) -> int:
    """Instructions of a whole run of the program."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    command += [str(program), case, str(times)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"`{case}` could not be counted:\n{done.stderr}")
    return instructions(done.stderr)


def instructions(said: str) -> int:
    """The total in what callgrind said.

    Raises:
        ValueError: it said none.
    """
    found = re.search(r"Collected : (\d+)", said)
    if found is None:
        raise ValueError(f"callgrind counted nothing: {said!r}")
    return int(found[1])


if __name__ == "__main__":
    sys.exit(main())
