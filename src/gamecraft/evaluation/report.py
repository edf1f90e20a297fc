"""Writes the report of an evaluation: `report.json`, diagrams, a strip of pictures, and one HTML page with it all."""

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gamecraft.evaluation.learned import missing_metrics
from gamecraft.evaluation.measures import metric_named
from gamecraft.evaluation.motion_estimator import METHOD
from gamecraft.evaluation.page import report_page
from gamecraft.evaluation.pictures import stack_strips
from gamecraft.evaluation.plots import plot_actions, plot_curves
from gamecraft.evaluation.run import EvaluationSettings, Job, pictured, video_of
from gamecraft.evaluation.summary import summarise
from gamecraft.files import write_atomically

__all__ = ["FORMAT", "write_report"]

FORMAT = 3
"""Of ``report.json``."""

_EXTREMES = 3  # best and worst rollouts that are shown


def write_report(settings: EvaluationSettings, results: list[dict[str, Any]]) -> dict[str, Any]:
    """Write all files into ``settings.output``.

    Returns:
        the contents of ``report.json``: settings, machine, versions, what could not be computed, and ``summarise``'s
        numbers.
    """
    folder = Path(settings.output)
    summary = summarise(results)
    report = {
        "format": FORMAT,
        "settings": asdict(settings),
        **_circumstances(),
        "missing": missing_metrics(next(iter(summary["overall"].values())), summary["distances"]),
        **summary,
    }
    with write_atomically(folder / "report.json") as temporary:
        temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    plot_curves(folder / "curves.png", report)
    plot_actions(folder / "actions.png", report)
    shown = pictured(settings)
    stack_strips(folder / "strip.png", [strip for _, strip in shown])
    videos = {
        "One rollout of each signal": [(job, _caption(job)) for job, _ in shown],
        "Best": _extremes(results, best=True),
        "Worst": _extremes(results, best=False),
    }
    page = report_page(
        report,
        folder,
        [(strip, _caption(job)) for job, strip in shown],
        {title: [(video_of(settings, job), caption) for job, caption in jobs] for title, jobs in videos.items()},
    )
    with write_atomically(folder / "report.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return report


def _caption(job: Job) -> str:
    return f"{job[1]}, start {job[0]}"


def _circumstances() -> dict[str, Any]:
    import diffusers
    import torch

    import gamecraft

    return {
        "machine": f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads",
        "versions": {
            "gamecraft": getattr(gamecraft, "__version__", "unknown"),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "diffusers": diffusers.__version__,
            "motion estimator": METHOD,
        },
    }


def _extremes(results: Sequence[dict[str, Any]], *, best: bool) -> list[tuple[Job, str]]:
    """The first row's best or worst rollouts by mean PSNR, or by its first metric that there is."""
    row, scores = next(iter(results[0]["rows"].items()))
    metric = "psnr" if "psnr" in scores["metrics"] else next(iter(scores["metrics"]))
    ranked = []
    for result in results:
        values = [value for value in result["rows"][row]["metrics"][metric] if value is not None]
        if values:
            ranked.append((sum(values) / len(values), (result["start"], result["action"])))
    higher = metric_named(metric).better != "lower"
    ranked.sort(reverse=best == higher)
    return [(job, f"{_caption(job)}: {metric_named(metric).label} {value:.3g}") for value, job in ranked[:_EXTREMES]]
