"""The report's diagrams: every metric over chunks, and per signal."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from gamecraft.evaluation.measures import metric_named
from gamecraft.files import write_atomically

__all__ = ["plot_actions", "plot_curves"]

# Perfect by construction, and not shown: it would only stretch the scale.
_PERFECT = {
    "psnr": ("truth",),
    "ssim": ("truth",),
    "sharpness": ("truth",),
    "revisit": ("truth", "freeze", "warp"),
}
_COLOURS = {
    "model": "#1f6fd6",
    "idle": "#999999",
    "memoryless": "#9467bd",
    "freeze": "#e8871e",
    "warp": "#c23b3b",
    "vae": "#3a9d4e",
    "soft": "#8c6d5a",
    "truth": "#222222",
}
_SIGNALS_OF = ("model", "memoryless", "freeze", "vae", "soft", "truth")
_WIDTH, _HEIGHT = 11, 2.9  # inches, of the page and of one diagram


def plot_curves(file: Path, summary: dict[str, Any]) -> None:
    """PNG: every metric over the chunks with its 95 % interval over starts, one line per row.

    Those that are one number per rollout are left out, unless there are no others.
    """
    from matplotlib.figure import Figure  # not pyplot: no global state, no display
    from matplotlib.ticker import MaxNLocator

    curves = next(iter(summary["curves"].values()))
    changing = [metric for metric, points in curves.items() if sum(point is not None for point in points) > 1]
    metrics = changing or list(curves)
    lines = math.ceil(len(metrics) / 2)
    figure = Figure(figsize=(_WIDTH, _HEIGHT * lines), layout="constrained")
    places = list(figure.subplots(lines, 2, squeeze=False).flat)
    for axes, metric in zip(places, metrics, strict=False):
        for row, by_metric in summary["curves"].items():
            if row not in _PERFECT.get(metric, ()):
                _draw_curve(axes, row, by_metric.get(metric, []))
        axes.set_title(metric_named(metric).label, fontsize="medium", loc="left")
        axes.set_xlabel("chunk", fontsize="small")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _tidy(axes)
    for axes in places[len(metrics) :]:
        axes.set_axis_off()
    _legend(figure, list(summary["curves"]))
    _save(figure, file)


def plot_actions(file: Path, summary: dict[str, Any]) -> None:
    """PNG: the first two metrics per signal, mean of the marked chunks."""
    from matplotlib.figure import Figure

    metrics = list(next(iter(summary["curves"].values())))[:2]
    figure = Figure(figsize=(_WIDTH, _HEIGHT * len(metrics)), layout="constrained")
    names = list(summary["actions"])
    rows = [row for row in summary["overall"] if row in _SIGNALS_OF]
    for axes, metric in zip(figure.subplots(len(metrics), 1, squeeze=False).flat, metrics, strict=True):
        shown = [row for row in rows if row not in _PERFECT.get(metric, ())]
        for index, row in enumerate(shown):
            means = [_mean(summary["actions"][name][row].get(metric, [])) for name in names]
            place = np.arange(len(names)) + (index - (len(shown) - 1) / 2) * 0.8 / len(shown)
            axes.bar(place, means, width=0.8 / len(shown), color=_COLOURS[row])
        axes.set_xticks(np.arange(len(names)), names, rotation=30 if len(names) > 10 else 0)
        axes.set_title(metric_named(metric).label, fontsize="medium", loc="left")
        _tidy(axes)
    _legend(figure, rows)
    _save(figure, file)


def _draw_curve(axes: Any, row: str, points: list[dict[str, float] | None]) -> None:
    shown = [(chunk, point) for chunk, point in enumerate(points, start=1) if point is not None]
    chunks = [chunk for chunk, _ in shown]
    low, mean, high = ([point[key] for _, point in shown] for key in ("low", "mean", "high"))
    width = 2.2 if row == "model" else 1.2
    axes.plot(chunks, mean, marker="o", markersize=1.8 * width, linewidth=width, color=_COLOURS[row])
    axes.fill_between(chunks, low, high, color=_COLOURS[row], alpha=0.12, linewidth=0)


def _tidy(axes: Any) -> None:
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize="small")


def _legend(figure: Any, rows: list[str]) -> None:
    """One for all diagrams, above them."""
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=_COLOURS[row], linewidth=4) for row in rows]
    figure.legend(lines, rows, loc="outside upper left", ncols=len(rows), frameon=False)


def _mean(points: list[dict[str, float] | None]) -> float:
    values = [point["mean"] for point in points if point is not None]
    return float(np.mean(values)) if values else math.nan


def _save(figure: Any, file: Path) -> None:
    with write_atomically(file) as temporary:
        figure.savefig(temporary, format="png", dpi=100)
