"""Breaks the core on purpose and sees that each break is found.

Every mutant is one line of the limit table put wrong, in a copy of the sources. The simulator has
to find those of the algorithm, and loom's models those of the memory's ordering, which a simulator
on one processor cannot see. A mutant that survives is a hole in what is to find it, and the run
fails. The first seed, or model, that finds a mutant is printed.

Run: `python tests/campaign/mutants.py [simulator|loom]` (needs cargo; some minutes).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
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
    Mutant(
        "a word of a newer window is taken for an old one",
        f"{LIMIT}/window.rs",
        "        word.epoch + word.sealed as u64",
        "        word.epoch * word.sealed as u64",
    ),
)

ORDERINGS = (
    Mutant(
        "no fence between a pin and the look at a slot, nor between a count and the others'",
        "rust/core/src/sync.rs",
        "    } else {\n        fence(Ordering::SeqCst);\n    }\n",
        "    } else {\n        fence(Ordering::Acquire);\n    }\n",
    ),
    Mutant(
        "a slot's id is published before the slot is filled",
        f"{LIMIT}/table.rs",
        "slot.id.store(key.id, Ordering::Release);",
        "slot.id.store(key.id, Ordering::Relaxed);",
    ),
    Mutant(
        "a pin is freed before what was done under it is seen",
        f"{LIMIT}/pins.rs",
        ".store(self.sequence.wrapping_add(1), Ordering::Release);",
        ".store(self.sequence.wrapping_add(1), Ordering::Relaxed);",
    ),
)
"""What only loom can see."""


def build(tree: Path, target: Path) -> Path:
    """Builds the simulator of a tree; where it lies."""
    command = ["cargo", "build", "--quiet", "--locked", "--profile", "sim", "-p", "gateway-sim"]
    subprocess.run(command, cwd=tree, check=True, env={**os.environ, "CARGO_TARGET_DIR": target})
    return target / "sim" / "interlock-sim"


def by_simulator(tree: Path, target: Path) -> str | None:
    """What the simulator says of a tree that it finds broken."""
    binary = build(tree, target)
    run = subprocess.run(
        [binary, "--seeds", str(SEEDS)], capture_output=True, text=True, check=False
    )
    found = [line for line in run.stderr.splitlines() if ": seed " in line]
    return found[0][:150] if found else None


def by_loom(tree: Path, target: Path) -> str | None:
    """The models that fail of a tree that loom finds broken."""
    command = ["cargo", "test", "--quiet", "--release", "--locked", "--package", "gateway-core"]
    env = {"RUSTFLAGS": "--cfg loom", "CARGO_PROFILE_RELEASE_LTO": "off"}
    run = subprocess.run(
        [*command, "--lib", "loom"],
        cwd=tree,
        env={**os.environ, **env, "CARGO_TARGET_DIR": str(target / "loom")},
        capture_output=True,
        text=True,
        check=False,
    )
    if "error: could not compile" in run.stderr:
        raise SystemExit(run.stderr)
    failed = {line.strip() for line in run.stdout.splitlines() if line.startswith("    limit::")}
    return ", ".join(sorted(failed)) or None


FINDERS: dict[str, tuple[tuple[Mutant, ...], Callable[[Path, Path], str | None]]] = {
    "simulator": (MUTANTS, by_simulator),
    "loom": (ORDERINGS, by_loom),
}


def main() -> int:
    """Tries every mutant; the number of those that were not found."""
    survivors = tried = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "mutants"
        shutil.copytree(ROOT / "rust", tree / "rust", ignore=shutil.ignore_patterns("target"))
        for name in ("Cargo.toml", "Cargo.lock", "clippy.toml"):
            shutil.copy(ROOT / name, tree / name)
        for finder in sys.argv[1:] or FINDERS:
            mutants, find = FINDERS[finder]
            for mutant in mutants:
                path = tree / mutant.file
                whole = path.read_text()
                if whole.count(mutant.old) != 1:
                    raise SystemExit(f"{mutant.file} has no single `{mutant.old}`; mend the mutant")
                path.write_text(whole.replace(mutant.old, mutant.new))
                found = find(tree, target)
                path.write_text(whole)
                print(f"{mutant.name}: {found or 'NOT FOUND'}", flush=True)
                tried += 1
                survivors += found is None
    print(f"{tried} mutants, {tried - survivors} found")
    return survivors


if __name__ == "__main__":
    sys.exit(main())
