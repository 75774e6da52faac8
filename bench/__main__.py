"""Runs the benchmarks and stores what they found: `python -m bench`.

A result is one JSON file in `bench/results/`, named after the day and the commit. Parts that are
run later at the same commit on the same day are put into the same file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench import figures, growth, machine, report, scaling
from bench.load import latency, path
from bench.load.peers import Missing
from bench.load.processes import allow_many_files

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results"
QUICK = ROOT / ".cache" / "bench" / "quick.json"


@dataclass(frozen=True)
class Pace:
    """How much of everything is done.

    Attributes:
        rounds: of each scenario, and of each rate.
        seconds: of a round.
        point_s: seconds of a point in the curves of growth.
        scenarios: of the path.
        most: the largest size in the curves of growth.
        micro: arguments for pytest.
    """

    rounds: int
    seconds: int
    point_s: float
    scenarios: tuple[str, ...]
    most: int
    micro: tuple[str, ...] = ()


FULL = Pace(rounds=7, seconds=4, point_s=1, scenarios=tuple(path.SCENARIOS), most=1_000_000)
BRIEF = Pace(
    rounds=2,
    seconds=1,
    point_s=0.25,
    scenarios=("allowed", "refused", "stream"),
    most=1_000,
    micro=("-k", "allowed or who"),
)


def main() -> int:
    """0, or 1 if something is missing."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a look in two minutes, not stored")
    parser.add_argument(
        "--only", action="append", choices=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}"
    )
    parser.add_argument("--rounds", type=int, help="rounds of a scenario (7)")
    parser.add_argument("--seconds", type=int, help="seconds of a round (4)")
    parser.add_argument("--proxy-cpu", type=int, default=0, help="core of the proxy (%(default)s)")
    parser.add_argument(
        "--load-cpu", type=int, default=1, help="core of load and server (%(default)s)"
    )
    options = parser.parse_args()
    allow_many_files()
    cores = path.Cores(options.proxy_cpu, options.load_cpu)
    given = {name: getattr(options, name) for name in ("rounds", "seconds")}
    pace = replace(
        BRIEF if options.quick else FULL, **{k: v for k, v in given.items() if v is not None}
    )
    about = machine.describe()
    file = QUICK if options.quick else RESULTS / name(about)
    result = {**(read(file) if not options.quick else {}), **about}
    try:
        for part in options.only or PARTS:
            say(f"{part} …")
            result[part] = PARTS[part](pace, cores)
            write(file, result)
    except Missing as error:
        say(f"error: {error}")
        return 1
    if options.quick:
        print(report.page(result))
    else:
        if "growth" in result:
            figures.draw(result["growth"], RESULTS / "growth.svg")
        report.write()
    say(f"stored in {file.relative_to(ROOT)}")
    return 0


def name(about: dict[str, Any]) -> str:
    """The file name of a result."""
    changed = "-changed" if about["changed"] else ""
    return f"{about['date'][:10]}-{about['commit'][:7]}{changed}.json"


def read(file: Path) -> dict[str, Any]:
    """What was stored at this commit before."""
    found: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.exists() else {}
    return found


def write(file: Path, result: dict[str, Any]) -> None:
    """Stores a result."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def say(what: str) -> None:
    """Tells whoever waits."""
    print(what, file=sys.stderr, flush=True)


def micro(pace: Pace, _cores: path.Cores) -> list[dict[str, Any]]:
    """What pytest-benchmark finds of a decision, in microseconds."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        file = Path(folder) / "micro.json"
        command = [sys.executable, "-m", "pytest", "bench", "--benchmark-enable", "--quiet"]
        command += ["--benchmark-columns=min,median", f"--benchmark-json={file}", *pace.micro]
        subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)
        found = json.loads(file.read_text(encoding="utf-8"))
    return [
        {
            "group": each["group"],
            "name": each["name"].removeprefix("test_"),
            "min_us": each["stats"]["min"] * 1e6,
            "median_us": each["stats"]["median"] * 1e6,
            "iqr_us": each["stats"]["iqr"] * 1e6,
            "rounds": each["stats"]["rounds"],
        }
        for each in found["benchmarks"]
    ]


def paths(pace: Pace, cores: path.Cores) -> dict[str, Any]:
    """Every scenario of the path."""
    found = {}
    for scenario in pace.scenarios:
        say(f"  {scenario}")
        found[scenario] = path.measure(
            path.SCENARIOS[scenario], cores, rounds=pace.rounds, seconds=pace.seconds
        )
    return found


def latencies(pace: Pace, cores: path.Cores) -> dict[str, Any]:
    """Every rate of the open loop."""
    return latency.measure(cores, rounds=pace.rounds, seconds=pace.seconds)


def growths(pace: Pace, cores: path.Cores) -> dict[str, Any]:
    """Every curve."""
    return growth.curves(cores, seconds=pace.point_s, most=pace.most)


def scalings(pace: Pace, cores: path.Cores) -> dict[str, Any]:
    """What a second worker adds."""
    return scaling.measure(cores, rounds=pace.rounds, seconds=pace.seconds)


PARTS: dict[str, Callable[[Pace, path.Cores], Any]] = {
    "micro": micro,
    "path": paths,
    "latency": latencies,
    "scaling": scalings,
    "growth": growths,
}

if __name__ == "__main__":
    sys.exit(main())
