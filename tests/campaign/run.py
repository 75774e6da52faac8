"""The long forms: everything that a short form in `make test` samples, for as long as you have.

Run: `make campaign` (MINUTES=20), or `python tests/campaign/run.py --minutes 60 --only storm`. Each
part says how far it is and prints its figure; all figures are printed again at the end. A failure
says how to replay it and ends the run.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SIM = ("cargo", "run", "--quiet", "--locked", "--profile", "sim", "--package", "gateway-sim", "--")
BLOCK = 50_000
"""Seeds that the simulator is given at a time."""


def run(command: Sequence[str], **env: str) -> str:
    """Runs a command, whose progress is shown; its standard output.

    Raises:
        SystemExit: It failed.
    """
    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False, env={**os.environ, **env}
    )
    if done.returncode:
        raise SystemExit(f"{done.stdout}campaign: `{' '.join(command)}` failed")
    return done.stdout.strip()


def simulate(until_s: float, first: int) -> str:
    """Histories from seed `first` on, in blocks."""
    seeds, totals = 0, [0] * 10
    while not seeds or time.monotonic() < until_s:
        line = run([*SIM, "--seeds", str(BLOCK), "--from", str(first + seeds)])
        numbers = [int(number) for number in re.findall(r"\d+", line)]
        totals = [total + number for total, number in zip(totals, numbers[2:], strict=False)]
        seeds += BLOCK
        print(f"simulator: {seeds} seeds so far", file=sys.stderr)
    names = ["calls", "admitted", "alone", "waits", "kills", "inside"]
    names += ["restarts", "reloads", "operations"]
    told = ", ".join(f"{total} {name}" for name, total in zip(names, totals, strict=False))
    return f"simulator: seeds {first} to {first + seeds - 1}, 0 violations: {told}"


def storm(until_s: float, first: int) -> str:
    """Storms over the whole sidecar, a seed each."""
    figures: list[str] = []
    while not figures or time.monotonic() < until_s:
        seed = str(first + len(figures))
        command = [sys.executable, "tests/e2e/storm.py", "--seed", seed, "--events", "60"]
        figures.append(run(command, PYTHONPATH="tests"))
        print(f"storm: {figures[-1]}", file=sys.stderr)
    return f"storm: {len(figures)} storms of 60 events from seed {first}, 0 windows over"


def histories(until_s: float, first: int) -> str:
    """Random histories of the table against the reference that adds everything up anew."""
    cases = 0
    command = ["cargo", "test", "--quiet", "--locked", "--profile", "sim"]
    command += ["--package", "gateway-core", "--test", "limits_model"]
    while not cases or time.monotonic() < until_s:
        run(command, PROPTEST_CASES="20000")
        cases += 20_000
        print(f"histories: {cases} so far", file=sys.stderr)
    return f"histories: {cases}, 0 differences (drawn anew each time)"


def killed(until_s: float, first: int) -> str:
    """Processes on one table, each killed after some calls, a thousand times in all."""
    command = ["cargo", "test", "--quiet", "--locked", "--profile", "sim"]
    command += ["--package", "gateway-core", "--test", "limits_process", "killed"]
    run(command, INTERLOCK_LIVES="334")
    return "killed processes: 1002 of 3 at a time, 0 windows over"


def mutants(until_s: float, first: int) -> str:
    """Mistakes put into the core: each must be found. However long that takes."""
    return "mutants: " + run([sys.executable, "tests/campaign/mutants.py"]).splitlines()[-1]


PARTS: dict[str, tuple[Callable[[float, int], str], float]] = {
    "simulate": (simulate, 0.5),
    "storm": (storm, 0.3),
    "histories": (histories, 0.2),
    "killed": (killed, 0.0),
    "mutants": (mutants, 0.0),
}
"""Each part and its share of the time."""


def main() -> None:
    """Runs the parts one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, help="the first; drawn if it is not given")
    parser.add_argument("--only", choices=PARTS, action="append")
    options = parser.parse_args()
    first = options.seed or random.SystemRandom().randrange(1, 1 << 40)
    chosen = {name: PARTS[name] for name in options.only or PARTS}
    whole = sum(share for _, share in chosen.values()) or 1
    figures = []
    for part, share in chosen.values():
        until_s = time.monotonic() + 60 * options.minutes * share / whole
        figures.append(part(until_s, first))
        print(figures[-1], flush=True)
    print(f"\ncampaign of {options.minutes:g} minutes, first seed {first}:")
    print("\n".join(figures))


if __name__ == "__main__":
    main()
