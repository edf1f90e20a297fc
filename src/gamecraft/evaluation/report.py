"""Writes the report of an evaluation: `report.json`, diagrams, a strip of pictures, and one HTML page with it all."""

import base64
import json
import platform
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

from gamecraft.evaluation.pictures import stack_strips
from gamecraft.evaluation.plots import plot_actions, plot_curves
from gamecraft.evaluation.run import EvaluationSettings, pictured
from gamecraft.evaluation.scoring import METRICS, ROWS
from gamecraft.evaluation.summary import summarise
from gamecraft.files import write_atomically

__all__ = ["write_report"]

_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem .7rem;text-align:right;border-bottom:1px solid #ddd}
td:first-child,th:first-child{text-align:left}small{color:#777}img{max-width:100%}
video{image-rendering:pixelated;width:520px;margin:.2rem}"""


def write_report(settings: EvaluationSettings, results: list[dict[str, Any]]) -> dict[str, Any]:
    """Write all files into ``settings.output``.

    Returns:
        the contents of ``report.json``: settings, machine, versions and ``summarise``'s numbers.
    """
    folder = Path(settings.output)
    report = {"settings": asdict(settings), **_circumstances(), **summarise(results)}
    with write_atomically(folder / "report.json") as temporary:
        temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    plot_curves(folder / "curves.png", report)
    plot_actions(folder / "actions.png", report)
    shown = pictured(settings)
    stack_strips(folder / "strip.png", [strip for _, strip in shown])
    with write_atomically(folder / "report.html") as temporary:
        temporary.write_text(_page(report, folder, shown), encoding="utf-8")
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
        },
    }


def _page(report: dict[str, Any], folder: Path, shown: list[tuple[tuple[int, str], Path]]) -> str:
    settings = report["settings"]
    name = escape(settings["model"] or "the embedded model")
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Evaluation of {name}</title><style>{_STYLE}</style>",
        f"<h1>Evaluation of {name}</h1><p>Suite <b>{settings['suite']}</b>: {report['starts']} held-out worlds, "
        f"{len(report['actions'])} actions each, {settings['chunks']} chunks; every rollout starts from one chunk of "
        "true frames. In brackets: 95 % bootstrap interval over the worlds.</p><ul>",
        *(f"<li><b>{row}</b>: {escape(ROWS[row])}</li>" for row in report["overall"]),
        "</ul><h2>All actions</h2>",
        *(_overall_table(report, metric) for metric in METRICS),
        _image(folder / "curves.png"),
        "<h2>Action accuracy per action</h2>",
        _action_table(report),
        _image(folder / "actions.png"),
        "<h2>Motion seen in the frames, against the true one</h2>",
        "<p>Median absolute difference over a chunk. In the row <b>truth</b> it is the estimator's own error.</p>",
        _motion_table(report),
        "<h2>Pictures</h2><p>Last true frame, then the last frames of chunks "
        f"{', '.join(map(str, report['chunks']))}; truth above, {next(iter(report['overall']))} below.</p>",
        _image(folder / "strip.png"),
        "<h2>Videos</h2><p>Truth on the left.</p>",
        *(_video(path.with_suffix(".mp4"), action) for (_, action), path in shown),
        f"<p><small>{escape(json.dumps({key: report[key] for key in ('settings', 'machine', 'versions')}))}</small>",
    ]  # fmt: skip
    return "\n".join(parts)


def _overall_table(report: dict[str, Any], metric: str) -> str:
    head = "".join(f"<th>chunk {chunk}" for chunk in report["chunks"])
    rows = [
        f"<tr><td>{row}" + "".join(f"<td>{_interval(point, metric)}" for point in metrics[metric])
        for row, metrics in report["overall"].items()
    ]
    return f"<table><tr><th>{METRICS[metric]}{head}{''.join(rows)}</table>"


def _interval(point: dict[str, float], metric: str) -> str:
    digits = 2 if metric == "psnr" else 3
    return f"{point['mean']:.{digits}f} <small>[{point['low']:.{digits}f}, {point['high']:.{digits}f}]</small>"


def _action_table(report: dict[str, Any]) -> str:
    rows = list(report["overall"])
    head = "".join(f"<th>{row}, chunk {chunk}" for row in rows for chunk in report["chunks"])
    body = [
        f"<tr><td>{name}" + "".join(f"<td>{100 * p['mean']:.0f} %" for row in rows for p in by_row[row]["follows"])
        for name, by_row in report["actions"].items()
    ]
    return f"<table style='font-size:80%'><tr><th>{head}{''.join(body)}</table>"


def _motion_table(report: dict[str, Any]) -> str:
    rows = []
    for row, errors in report["motion_error"].items():
        metres = "".join(f"<td>{errors[key]:.3f} m" for key in ("right", "down", "forward"))
        angles = "".join(f"<td>{57.29578 * errors[key]:.2f}&deg;" for key in ("yaw", "pitch"))
        rows.append(f"<tr><td>{row}{metres}{angles}")
    return f"<table><tr><th><th>right<th>down<th>forward<th>yaw<th>pitch{''.join(rows)}</table>"


def _image(path: Path) -> str:
    return f"<img alt='{path.stem}' src='data:image/png;base64,{_base64(path)}'>"


def _video(path: Path, caption: str) -> str:
    video = f"<video controls loop muted src='data:video/mp4;base64,{_base64(path)}'></video>"
    return f"<figure>{video}<figcaption>{escape(caption)}</figcaption></figure>"


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")
