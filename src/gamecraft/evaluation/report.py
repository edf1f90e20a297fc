"""Writes the report of an evaluation: `report.json`, diagrams, a strip of pictures, and one HTML page with it all."""

import base64
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

from gamecraft.evaluation.learned import missing_metrics
from gamecraft.evaluation.measures import metric_named
from gamecraft.evaluation.motion_estimator import METHOD
from gamecraft.evaluation.pictures import stack_strips
from gamecraft.evaluation.plots import plot_actions, plot_curves
from gamecraft.evaluation.rows import ROWS
from gamecraft.evaluation.run import EvaluationSettings, Job, pictured, video_of
from gamecraft.evaluation.suites import suite_named
from gamecraft.evaluation.summary import MARGIN, summarise
from gamecraft.files import write_atomically

__all__ = ["FORMAT", "write_report"]

FORMAT = 3
"""Of ``report.json``."""

_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem .7rem;text-align:right;border-bottom:1px solid #ddd}
td:first-child,th:first-child{text-align:left}small{color:#777}img{max-width:100%}
figure{display:inline-block;margin:.5rem}video{image-rendering:pixelated;width:500px}"""
_EXTREMES = 3  # best and worst rollouts that are shown


def write_report(settings: EvaluationSettings, results: list[dict[str, Any]]) -> dict[str, Any]:
    """Write all files into ``settings.output``.

    Returns:
        the contents of ``report.json``: settings, machine, versions, what could not be computed, and ``summarise``'s
        numbers.
    """
    folder = Path(settings.output)
    report = {
        "format": FORMAT,
        "settings": asdict(settings),
        **_circumstances(),
        "missing": missing_metrics(settings.videomae, settings.pyiqa),
        **summarise(results),
    }
    with write_atomically(folder / "report.json") as temporary:
        temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    plot_curves(folder / "curves.png", report)
    plot_actions(folder / "actions.png", report)
    shown = pictured(settings)
    stack_strips(folder / "strip.png", [strip for _, strip in shown])
    videos = {
        "One rollout of each signal": [(job, job[1]) for job, _ in shown],
        "Best": _extremes(results, best=True),
        "Worst": _extremes(results, best=False),
    }
    with write_atomically(folder / "report.html") as temporary:
        temporary.write_text(_page(report, folder, videos, settings), encoding="utf-8")
    return report


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
    return [
        (job, f"{job[1]}, start {job[0]}: {metric_named(metric).label} {value:.3g}")
        for value, job in ranked[:_EXTREMES]
    ]


def _page(
    report: dict[str, Any], folder: Path, videos: dict[str, list[tuple[Job, str]]], settings: EvaluationSettings
) -> str:
    name = escape(settings.model or "the embedded model")
    metrics = list(next(iter(report["overall"].values())))
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Evaluation of {name}</title><style>{_STYLE}</style>",
        f"<h1>Evaluation of {name}</h1><p>Suite <b>{settings.suite}</b> ({escape(suite_named(settings.suite).about)}): "
        f"{report['starts']} starts, {len(report['actions'])} signals each, {settings.chunks} chunks; every rollout "
        "follows one chunk of true frames. In brackets: 95 % bootstrap interval over the starts.</p><ul>",
        *(f"<li><b>{row}</b>: {escape(ROWS[row])}</li>" for row in report["overall"]),
        "</ul><h2>All signals</h2>",
        *(_overall_table(report, metric) for metric in metrics),
        *_distance_table(report),
        _image(folder / "curves.png"),
        "<h2>Per signal</h2>",
        *(_action_table(report, metric) for metric in metrics[:2]),
        _image(folder / "actions.png"),
        *_motion_section(report),
        "<h2>Pictures</h2><p>Last true frame, then the last frames of chunks "
        f"{', '.join(map(str, report['chunks']))}; truth above (if any), {next(iter(report['overall']))} below.</p>",
        _image(folder / "strip.png"),
        "<h2>Videos</h2><p>Truth on the left (if any).</p>",
    ]
    for title, jobs in videos.items():
        parts += [f"<h3>{title}</h3>", *(_video(video_of(settings, job), caption) for job, caption in jobs)]
    missing = "".join(f"<li>{escape(line)}</li>" for line in report["missing"])
    circumstances = json.dumps({key: report[key] for key in ("settings", "machine", "versions")})
    parts.append(f"<h2>Not computed</h2><ul>{missing}</ul><p><small>{escape(circumstances)}</small>")
    return "\n".join(parts)


def _overall_table(report: dict[str, Any], metric: str) -> str:
    head = "".join(f"<th>chunk {chunk}" for chunk in report["chunks"])
    rows = []
    for row, metrics in report["overall"].items():
        points = [*metrics[metric], report["rollout"][row][metric]]
        rows.append(f"<tr><td>{row}" + "".join(f"<td>{_interval(point, metric)}" for point in points))
    return f"<table><tr><th>{escape(metric_named(metric).label)}{head}<th>all chunks{''.join(rows)}</table>"


def _interval(point: dict[str, float] | None, metric: str) -> str:
    if point is None:
        return "&ndash;"
    digits = metric_named(metric).digits
    return f"{point['mean']:.{digits}f} <small>[{point['low']:.{digits}f}, {point['high']:.{digits}f}]</small>"


def _action_table(report: dict[str, Any], metric: str) -> str:
    rows = list(report["overall"])
    digits = metric_named(metric).digits
    head = "".join(f"<th>{row}, chunk {chunk}" for row in rows for chunk in report["chunks"])
    body = []
    for name, by_row in report["actions"].items():
        points = [point for row in rows for point in by_row[row][metric]]
        cells = ("&ndash;" if point is None else f"{point['mean']:.{digits}f}" for point in points)
        body.append(f"<tr><td>{escape(name)}" + "".join(f"<td>{cell}" for cell in cells))
    label = escape(metric_named(metric).label)
    return f"<table style='font-size:80%'><tr><th>{label}{head}{''.join(body)}</table>"


def _distance_table(report: dict[str, Any]) -> list[str]:
    return [
        f"<table><tr><th>{escape(name)}"
        + "".join(f"<tr><td>{row}<td>{x:.1f}" for row, x in by_row.items())
        + "</table>"
        for name, by_row in report["distances"].items()
    ]


def _motion_section(report: dict[str, Any]) -> list[str]:
    if not report["motion_error"]:
        return []
    rows = []
    for row, errors in report["motion_error"].items():
        metres = "".join(f"<td>{errors[key]:.3f} m" for key in ("right", "down", "forward"))
        angles = "".join(f"<td>{57.29578 * errors[key]:.2f}&deg;" for key in ("yaw", "pitch"))
        rows.append(f"<tr><td>{row}{metres}{angles}")
    return [
        "<h2>Motion seen in the frames, against the true one</h2><p>Median absolute difference over a chunk. In the "
        f"row <b>truth</b> it is the error of the estimator itself ({METHOD}).</p>",
        f"<table><tr><th><th>right<th>down<th>forward<th>yaw<th>pitch{''.join(rows)}</table>",
        *(_verdict(row, ratios) for row, ratios in report["estimator"].items()),
    ]


def _verdict(row: str, ratios: dict[str, float]) -> str:
    listed = ", ".join(f"{_ratio_name(key)} {value:.1f}" for key, value in ratios.items())
    judged = "at least" if min(ratios.values()) >= MARGIN else "<b>not everywhere</b>"
    return (
        f"<p>The errors judged are {judged} five times as large as the estimator's own on <b>{row}</b>, on the "
        f"average of the chunks in which the camera moves that way ({listed}). "
        "Below that, a model's motion error is partly the estimator's.</p>"
    )


def _ratio_name(key: str) -> str:
    return escape(metric_named(key).label.partition(" [")[0])


def _image(path: Path) -> str:
    return f"<img alt='{path.stem}' src='data:image/png;base64,{_base64(path)}'>"


def _video(path: Path, caption: str) -> str:
    video = f"<video controls loop muted src='data:video/mp4;base64,{_base64(path)}'></video>"
    return f"<figure>{video}<figcaption>{escape(caption)}</figcaption></figure>"


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")
