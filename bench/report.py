"""Writes `bench/results/REPORT.md`, and the figures in two pages, from the newest stored results.

INVARIANT: a figure that is told stands in a stored result; `python -m bench.report` makes all of
them anew, and a test compares.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from bench.stress.parts import PARTS as stress
from bench.summary import REFERENCE, Latency, Line, Scaling, latencies, lines, scalings

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results"
README = ROOT / "README.md"
OPERATIONS = ROOT / "docs" / "operations.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
Named = TypeVar("Named", Line, Latency)
PARTS = ("micro", "path", "latency", "growth")


def newest(folder: Path = RESULTS) -> dict[str, Any] | None:
    """The last result that has all parts but `stress`; None if there is none."""
    return _last(folder, lambda result: all(part in result for part in PARTS))


def newest_stress(folder: Path = RESULTS) -> dict[str, Any] | None:
    """The last result that has all parts of `stress`; None if there is none."""
    return _last(folder, lambda result: all(part in result.get("stress", {}) for part in stress))


def _last(folder: Path, whole: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
    results = [json.loads(file.read_text(encoding="utf-8")) for file in folder.glob("*.json")]
    return max(filter(whole, results), key=lambda each: str(each["date"]), default=None)


def write() -> None:
    """Writes all pages; those are left without figures whose result is not there."""
    result, pressed = newest(), newest_stress()
    if result is not None:
        (RESULTS / "REPORT.md").write_text(page(result), encoding="utf-8")
    _put(README, readme(result) if result is not None else "")
    _put(OPERATIONS, pressure(pressed) if pressed is not None else "")


def _put(file: Path, told: str) -> None:
    file.write_text(with_figures(file.read_text(encoding="utf-8"), told), encoding="utf-8")


def with_figures(text: str, told: str) -> str:
    """A page with what stands between its marks replaced.

    Raises:
        ValueError: the page has no marks.
    """
    pattern = re.compile(f"{re.escape(BEGIN)}\n.*?{re.escape(END)}", re.S)
    if not pattern.search(text):
        raise ValueError(f"no `{BEGIN}` and `{END}` in the page")
    return pattern.sub(lambda _: f"{BEGIN}\n{told}{END}", text)


def readme(result: dict[str, Any]) -> str:
    """The few figures that README.md tells."""
    path = result["path"]
    allowed, refused = (of(lines(path[name]), "interlock") for name in ("allowed", "refused"))
    alone = of(latencies(result["latency"]["loads"][0]), "interlock")
    decide = next(each for each in result["micro"] if each["name"] == "allowed[100]")
    head = ["allowed call, per core", "refused call, per core", "added latency, p50", "a decision"]
    row = [
        f"{allowed.core_ratio:.2f} of nginx's",
        f"{refused.core_ratio:.2f} of nginx's",
        # Less than none is noise.
        f"{alone.added_p50_us:.0f} µs" if alone.added_p50_us > 0 else "too little to tell",
        f"{decide['min_us']:.2f} µs",
    ]
    return (
        f"{table(head, [row])}\nMeasured on {result['date'][:10]} at `{result['commit'][:7]}`,"
        " beside nginx that proxies the same calls:\n[all figures](bench/results/REPORT.md).\n"
    )


def pressure(result: dict[str, Any]) -> str:
    """The goals of `bench.stress`, as docs/operations.md tells them."""
    text = ""
    for name, part in stress.items():
        rows = [
            [each.title, each.found, each.limit if each.holds else f"{each.limit}: **missed**"]
            for each in part.goals(result["stress"][name])
        ]
        text += table([part.TITLE, "is", "should be"], rows) + "\n"
    return (
        f"{text}Measured on {result['date'][:10]} at `{result['commit'][:7]}`, load average at the"
        f" start {result['load_average']:.1f}.\n"
    )


def page(result: dict[str, Any]) -> str:
    """All there is to tell of a result."""
    sections = [_about(result)]
    sections += [_path(result["path"])] if "path" in result else []
    sections += [_latency(result["latency"])] if "latency" in result else []
    sections += [_scaling(result["scaling"])] if "scaling" in result else []
    sections += [_micro(result["micro"])] if "micro" in result else []
    sections += [_growth(result["growth"])] if "growth" in result else []
    return "\n".join(sections)


def _about(result: dict[str, Any]) -> str:
    machine, versions = result["machine"], result["versions"]
    numbers = ", ".join(f"{name} {number}" for name, number in versions.items() if number)
    changed = ", with changes that were not committed" if result["changed"] else ""
    return (
        "# Results\n\n"
        "Written by `python -m bench.report`. [Method, noise, what is missing](../README.md).\n\n"
        f"- {result['date']}, commit `{result['commit'][:12]}`{changed}\n"
        f"- {machine['cpu']}, {machine['cores']} cores, {machine['memory_bytes'] / 1e9:.0f} GB,"
        f" Linux {machine['kernel']}; load average at the start {result['load_average']:.1f}\n"
        f"- {numbers}\n"
    )


def _path(path: dict[str, Any]) -> str:
    text = "## The path\n\nMedians of rounds; ratios are to nginx in the same round.\n"
    for scenario in path.values():
        found = lines(scenario)
        counted = any(each.instructions is not None for each in found)
        head = ["proxy", "per s", "of nginx's", "CPU µs", "per core, of nginx's", "p99 ms", "MB"]
        head += ["k-instr."] * counted
        rows = [_row(each) + [_thousands(each.instructions)] * counted for each in found]
        text += f"\n### {scenario['title']}\n\n{table(head, rows)}"
        failed = [f"{each.failed} of `{each.name}`" for each in found if each.failed]
        text += f"\nNot answered with 200: {', '.join(failed)}.\n" if failed else ""
        missing = [f"`{name}` ({why})" for name, why in scenario["missing"].items()]
        text += f"\nNot measured: {', '.join(missing)}.\n" if missing else ""
    ready = min(each["proxies"]["interlock"]["ready_s"] for each in path.values())
    return text + f"\nInterlock accepted its first connection {ready:.2f} s after its start.\n"


def _row(line: Line) -> list[str]:
    least, most = line.core_spread
    return [
        line.name,
        f"{line.rate:,.0f}",
        f"{line.rate_ratio:.2f}",
        f"{line.cpu_us:.1f}",
        f"{line.core_ratio:.2f} ({least:.2f}–{most:.2f})",  # noqa: RUF001 - a range
        f"{line.p99_us / 1e3:.1f}",
        f"{line.resident_bytes / 1e6:.0f}",
    ]


def _thousands(count: float | None) -> str:
    return "" if count is None else f"{count / 1e3:.0f}"


def _latency(latency: dict[str, Any]) -> str:
    text = (
        "## Latency\n\nOpen loop: each latency counts from the instant its request was due."
        " Microseconds, medians of rounds.\n"
    )
    head = ["proxy", "p50", "p99", "p99.9", f"p50 over {REFERENCE}", f"p99 over {REFERENCE}"]
    for load in latency["loads"]:
        rows = [
            [each.name]
            + (
                [
                    *(f"{value:,.0f}" for value in (each.p50_us, each.p99_us, each.p99_9_us)),
                    *(f"{value:+,.0f}" for value in (each.added_p50_us, each.added_p99_us)),
                ]
                if each.keeps_up
                else ["falls behind", "", "", "", ""]
            )
            for each in latencies(load)
        ]
        text += f"\n### {load['title']}: {load['rate']:,.0f} a second\n\n{table(head, rows)}"
    return text


def _scaling(scaling: dict[str, Any]) -> str:
    text = "## A second worker\n\n"
    if "skipped" in scaling:
        return f"{text}Not measured: {scaling['skipped']}.\n"
    text += (
        f"Each worker has {scaling['share']:.0%} of a core, each of another one, in periods of"
        f" {scaling['period_us'] / 1e3:.0f} ms; the load keeps {scaling['connections']} connections"
        " a worker busy.\nMedians of rounds; ratios are to one worker in the same round.\n\n"
    )
    head = ["", "per s", "of one worker's", "CPU µs", "calls by worker", "share used up in"]
    found = scalings(scaling["found"])
    text += table(head, [_scaled(each) for each in found])
    failed = [f"{each.failed} with {each.name}" for each in found if each.failed]
    return text + (f"\nNot answered with 200: {', '.join(failed)}.\n" if failed else "")


def _scaled(each: Scaling) -> list[str]:
    least, most = each.spread
    parts = "not known" if each.by_worker is None else _range(each.by_worker)
    return [
        each.name,
        f"{each.rate:,.0f}",
        f"{each.gain:.2f} ({least:.2f}–{most:.2f})",  # noqa: RUF001 - a range
        f"{each.cpu_us:.1f}",
        parts,
        f"{each.used_up:.0%} of periods",
    ]


def _range(bounds: tuple[float, float]) -> str:
    least, most = bounds
    return f"{least:.0%}–{most:.0%}" if most < 1 else "all"  # noqa: RUF001 - a range


def _micro(micro: list[dict[str, Any]]) -> str:
    text = "## A decision, called from Python\n\nMicroseconds.\n"
    for group in dict.fromkeys(each["group"] for each in micro):
        members = [each for each in micro if each["group"] == group]
        least = min(each["min_us"] for each in members)
        rows = [
            [
                f"`{each['name']}`",
                f"{each['min_us']:,.2f}",
                f"{each['median_us']:,.2f}",
                f"{each['min_us'] / least:.2f}",
            ]
            for each in members
        ]
        text += f"\n### {group}\n\n" + table(["", "least", "median", "of the least"], rows)
    return text


def _growth(growth: dict[str, dict[str, Any]]) -> str:
    text = "## Growth\n\nMicroseconds. ![curves](growth.svg)\n"
    for title, curves in growth.items():
        sizes = [f"{size:,}" for size, _ in next(iter(curves.values()))]
        rows = [[name, *(f"{cost:.2f}" for _, cost in curve)] for name, curve in curves.items()]
        text += f"\n### By {title}\n\n" + table(["cost of", *sizes], rows)
    return text


def of(found: list[Named], name: str) -> Named:
    """The figures of one proxy."""
    return next(each for each in found if each.name == name)


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    every = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in every)


def main() -> int:
    """Writes both pages."""
    argparse.ArgumentParser(prog="python -m bench.report", description=__doc__).parse_args()
    write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
