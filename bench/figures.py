"""Draws `growth.svg`: how the cost of a call grows, relative to its smallest size."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def draw(growth: dict[str, dict[str, Any]], path: Path) -> None:
    """One panel for each thing that grows.

    Args:
        growth: curves, as `bench.growth.curves` gives them.
        path: of the SVG file.
    """
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.fonttype"] = "none"
    mpl.rcParams["svg.hashsalt"] = "interlock"  # the same curves make the same file
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6), layout="constrained")
    panels = figure.subplots(2, 3).flatten()
    for panel, (title, curves) in zip(panels, growth.items(), strict=False):
        relative = []
        for name, points in curves.items():
            sizes = [size for size, _ in points]
            costs = [cost / points[0][1] for _, cost in points]
            relative += costs
            panel.plot(sizes, costs, marker="o", label=name)
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_ylim(min(0.5, min(relative) / 2), max(10.0, max(relative) * 2))
        panel.set_title(title)
        panel.set_ylabel("cost, smallest = 1")
        panel.grid(visible=True, alpha=0.3)
        panel.legend()
    for panel in panels[len(growth) :]:
        panel.set_visible(False)
    figure.savefig(path, format="svg", metadata={"Date": None})
