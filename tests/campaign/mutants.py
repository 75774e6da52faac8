"""Breaks the core on purpose and sees that the simulator finds each break.

Every mutant is one line of the limit table put wrong, in a copy of the sources. A mutant that
survives is a hole in the simulator's oracle, and the run fails. The first seed that finds a mutant
is printed, with what it found.

Run: `python tests/campaign/mutants.py` (needs cargo; a minute or two).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIMIT = "rust/core/src/limit"
SEEDS = 20_000


@dataclass(frozen=True)
class Mutant:
    """One line put wrong."""

    name: str
    file: str
    old: str
    new: str


MUTANTS = (
    Mutant(
        "a past sub-window is summed but not sealed",
        f"{LIMIT}/window.rs",
        "        cell.compare_exchange(bits, sealed, Ordering::AcqRel, Ordering::Acquire)\n"
        "            .ok()?;\n",
        "        let _ = sealed;\n",
    ),
    Mutant(
        "an evictor does not wait for the calls it overlaps",
        f"{LIMIT}/table.rs",
        "self.pins_have_moved() && self.take_marked",
        "self.take_marked",
    ),
    Mutant(
        "a call that fails half way keeps what it took",
        f"{LIMIT}/reserve.rs",
        "                _ => self.give_back(&held, now),\n            }\n        }\n    }\n\n"
        "    /// Settles",
        "                _ => {}\n            }\n        }\n    }\n\n    /// Settles",
    ),
    Mutant(
        "a give-back does not look which window it lowers",
        f"{LIMIT}/window.rs",
        "bits == 0 || word.epoch != epoch || word.count < cost",
        "bits == 0 || word.count < cost",
    ),
    Mutant(
        "the clock floor is not kept",
        f"{LIMIT}/table.rs",
        "Some(Nanos(seen).max(now))",
        "Some(now)",
    ),
    Mutant(
        "the shortest of several waits is told",
        "rust/core/src/refused.rs",
        "try_fold(0_u64, |most, (_, reading, _)| {\n        Some(most.max(reading.wait_ns?))",
        "try_fold(u64::MAX, |most, (_, reading, _)| {\n        Some(most.min(reading.wait_ns?))",
    ),
    Mutant(
        "a dead process's running calls count for ever",
        f"{LIMIT}/reserve.rs",
        ".fold(false, |any, seat| self.retire_if_dead(seat) | any)",
        ".fold(false, |any, _| any)",
    ),
    Mutant(
        "a bucket takes back all of a call, however long ago it was",
        f"{LIMIT}/bucket.rs",
        "debt_ns.saturating_sub(latest().since(stamp)).min(tat)",
        "debt_ns.saturating_sub(0 * latest().since(stamp)).min(tat)",
    ),
)


def build(tree: Path, target: Path) -> Path:
    """Builds the simulator of a tree; where it lies."""
    command = ["cargo", "build", "--quiet", "--locked", "--profile", "sim", "-p", "gateway-sim"]
    subprocess.run(command, cwd=tree, check=True, env={**os.environ, "CARGO_TARGET_DIR": target})
    return target / "sim" / "interlock-sim"


def main() -> int:
    """Tries every mutant; the number of those that were not found."""
    survivors = []
    with tempfile.TemporaryDirectory() as folder:
        tree, target = Path(folder) / "tree", Path(folder) / "target"
        ignored = shutil.ignore_patterns("target")
        shutil.copytree(ROOT / "rust", tree / "rust", ignore=ignored)
        for name in ("Cargo.toml", "Cargo.lock", "clippy.toml"):
            shutil.copy(ROOT / name, tree / name)
        target = Path(os.environ.get("CARGO_TARGET_DIR", target)) / "mutants"
        for mutant in MUTANTS:
            path = tree / mutant.file
            whole = path.read_text()
            if whole.count(mutant.old) != 1:
                raise SystemExit(f"{mutant.file} has no single `{mutant.old}`; mend the mutant")
            path.write_text(whole.replace(mutant.old, mutant.new))
            binary = build(tree, target)
            path.write_text(whole)
            run = subprocess.run(
                [binary, "--seeds", str(SEEDS)], capture_output=True, text=True, check=False
            )
            found = [line for line in run.stderr.splitlines() if ": seed " in line]
            print(f"{mutant.name}: {found[0][:150] if found else 'NOT FOUND'}", flush=True)
            if not found:
                survivors.append(mutant.name)
    print(
        f"{len(MUTANTS)} mutants, {len(MUTANTS) - len(survivors)} found by {SEEDS} seeds or fewer"
    )
    return len(survivors)


if __name__ == "__main__":
    sys.exit(main())
