"""The report's diagrams: quality over chunks, and action accuracy per action."""

from pathlib import Path
from typing import Any

import numpy as np

from gamecraft.evaluation.scoring import METRICS
from gamecraft.files import write_atomically

__all__ = ["plot_actions", "plot_curves"]


def plot_curves(file: Path, summary: dict[str, Any]) -> None:
    """PNG: every metric over the chunks with its 95 % interval over starts, one line per row."""
    from matplotlib.figure import Figure  # not pyplot: no global state, no display

    figure = Figure(figsize=(11, 7), layout="constrained")
    for axes, (metric, label) in zip(figure.subplots(2, 2).flat, METRICS.items(), strict=True):
        for index, (row, metrics) in enumerate(summary["curves"].items()):
            if row == "truth" and metric != "follows":
                continue  # equal to the truth by construction
            points = metrics[metric]
            chunks = np.arange(1, len(points) + 1)
            low, mean, high = ([point[key] for point in points] for key in ("low", "mean", "high"))
            axes.plot(chunks, mean, marker="o", markersize=3, color=f"C{index}", label=row)
            axes.fill_between(chunks, low, high, color=f"C{index}", alpha=0.15)
        axes.set(xlabel="chunk", ylabel=label)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    _save(figure, file)


def plot_actions(file: Path, summary: dict[str, Any]) -> None:
    """PNG: action accuracy and PSNR of the marked chunks per action, for the rows that are played."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), layout="constrained")
    names = list(summary["actions"])
    rows = [row for row in ("model", "freeze", "vae", "truth") if row in summary["overall"]]
    for axes, metric in zip(figure.subplots(2, 1), ("follows", "psnr"), strict=True):
        shown = [row for row in rows if metric == "follows" or row != "truth"]
        for index, row in enumerate(shown):
            means = [np.mean([p["mean"] for p in summary["actions"][name][row][metric]]) for name in names]
            place = np.arange(len(names)) + (index - (len(shown) - 1) / 2) * 0.8 / len(shown)
            axes.bar(place, means, width=0.8 / len(shown), label=row, color=f"C{rows.index(row)}")
        axes.set_xticks(np.arange(len(names)), names)
        axes.set(ylabel=f"{METRICS[metric]}, mean of chunks {', '.join(map(str, summary['chunks']))}")
        axes.grid(axis="y", alpha=0.3)
        axes.legend(fontsize="small")
    _save(figure, file)


def _save(figure: Any, file: Path) -> None:
    with write_atomically(file) as temporary:
        figure.savefig(temporary, format="png", dpi=100)
