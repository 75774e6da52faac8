"""Runs what Interlock must bear and says which goals it met: `python -m bench.stress`.

The result goes into the same file of `bench/results/` as what `python -m bench` finds at the same
commit on the same day.
"""

from __future__ import annotations

import argparse
import sys
import time

from bench import machine, report
from bench.__main__ import QUICK, RESULTS, name, read, say, write
from bench.load.peers import Missing
from bench.stress.parts import PARTS
from bench.stress.rig import Pace, placed

FULL = Pace(rounds=2, seconds=2.5, calls=1_000_000, crowd=1_000)
BRIEF = Pace(rounds=1, seconds=2, calls=50_000, crowd=200)


def main() -> int:
    """0, or 1 if something is missing; a goal that is missed is only told."""
    parser = argparse.ArgumentParser(prog="python -m bench.stress", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a look in minutes, not stored")
    parser.add_argument(
        "--only",
        action="append",
        choices=PARTS,
        metavar="PART",
        help="; ".join(f"{key}: {part.TITLE.lower()}" for key, part in PARTS.items()),
    )
    options, cores = placed(parser)
    about = machine.describe()
    file = QUICK.with_name("stress.json") if options.quick else RESULTS / name(about)
    result = {**(read(file) if not options.quick else {}), **about}
    found = result.setdefault("stress", {})
    try:
        for key in options.only or PARTS:
            part, begun = PARTS[key], time.monotonic()
            found[key] = part.measure(BRIEF if options.quick else FULL, cores)
            write(file, result)
            print(f"{key}: {part.TITLE} ({time.monotonic() - begun:.0f} s)")
            for goal in part.goals(found[key]):
                print(f"  {goal}", flush=True)
    except Missing as error:
        say(f"error: {error}")
        return 1
    if not options.quick:
        report.write()
    say(f"stored in {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
