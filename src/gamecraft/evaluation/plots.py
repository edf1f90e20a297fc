"""The report's diagrams: every metric over chunks, and per action."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from gamecraft.evaluation.measures import metric_named
from gamecraft.files import write_atomically

__all__ = ["plot_actions", "plot_curves"]

_PERFECT = ("psnr", "ssim", "sharpness")  # of the truth, by construction


def plot_curves(file: Path, summary: dict[str, Any]) -> None:
    """PNG: every metric over the chunks with its 95 % interval over starts, one line per row."""
    from matplotlib.figure import Figure  # not pyplot: no global state, no display

    metrics = list(next(iter(summary["curves"].values())))
    lines = math.ceil(len(metrics) / 2)
    figure = Figure(figsize=(11, 3.4 * lines), layout="constrained")
    for axes, metric in zip(figure.subplots(lines, 2, squeeze=False).flat, metrics, strict=False):
        for index, (row, points) in enumerate((row, by[metric]) for row, by in summary["curves"].items()):
            if row == "truth" and metric in _PERFECT:
                continue
            shown = [(chunk, point) for chunk, point in enumerate(points, start=1) if point is not None]
            chunks = [chunk for chunk, _ in shown]
            low, mean, high = ([point[key] for _, point in shown] for key in ("low", "mean", "high"))
            axes.plot(chunks, mean, marker="o", markersize=3, color=f"C{index}", label=row)
            axes.fill_between(chunks, low, high, color=f"C{index}", alpha=0.15)
        axes.set(xlabel="chunk", ylabel=metric_named(metric).label)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    _save(figure, file)


def plot_actions(file: Path, summary: dict[str, Any]) -> None:
    """PNG: the first two metrics per action, mean of the marked chunks, for the rows that are played."""
    from matplotlib.figure import Figure

    metrics = list(next(iter(summary["curves"].values())))[:2]
    figure = Figure(figsize=(11, 3.4 * len(metrics)), layout="constrained")
    names = list(summary["actions"])
    rows = [row for row in summary["overall"] if row not in ("idle", "warp", "soft")]
    for axes, metric in zip(figure.subplots(len(metrics), 1, squeeze=False).flat, metrics, strict=True):
        shown = [row for row in rows if row != "truth" or metric not in _PERFECT]
        for index, row in enumerate(shown):
            means = [_mean(summary["actions"][name][row][metric]) for name in names]
            place = np.arange(len(names)) + (index - (len(shown) - 1) / 2) * 0.8 / len(shown)
            axes.bar(place, means, width=0.8 / len(shown), label=row, color=f"C{rows.index(row)}")
        axes.set_xticks(np.arange(len(names)), names, rotation=30 if len(names) > 10 else 0)
        axes.set(ylabel=metric_named(metric).label)
        axes.grid(axis="y", alpha=0.3)
        axes.legend(fontsize="small")
    _save(figure, file)


def _mean(points: list[dict[str, float] | None]) -> float:
    values = [point["mean"] for point in points if point is not None]
    return float(np.mean(values)) if values else math.nan


def _save(figure: Any, file: Path) -> None:
    with write_atomically(file) as temporary:
        figure.savefig(temporary, format="png", dpi=100)
