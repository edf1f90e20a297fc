"""The report of an evaluation as one HTML page that needs nothing beside it: pictures and videos are inside."""

import base64
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from gamecraft.evaluation.measures import metric_named
from gamecraft.evaluation.motion_estimator import METHOD
from gamecraft.evaluation.rows import ROWS
from gamecraft.evaluation.suites import suite_named
from gamecraft.evaluation.summary import MARGIN

__all__ = ["report_page"]

Report = dict[str, Any]
Shown = Sequence[tuple[Path, str]]
"""Files with their captions."""

_STYLE = """
:root{color-scheme:light;--line:#e3e3e3;--dim:#767676;--mark:#eef5ff}
body{font:15px/1.5 system-ui,sans-serif;max-width:1180px;margin:2rem auto;padding:0 1.2rem;color:#1b1b1b}
h1{font-size:1.7rem;margin-bottom:.2rem}h2{margin-top:2.6rem;border-bottom:2px solid var(--line);padding-bottom:.2rem}
.wide{overflow-x:auto}table{border-collapse:collapse;margin:.8rem 0;font-variant-numeric:tabular-nums}
td,th{padding:.28rem .8rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th{font-weight:600;vertical-align:bottom}
td:first-child,th:first-child{text-align:left;white-space:normal;max-width:17rem}
tr.model td{background:var(--mark);font-weight:600}small{color:var(--dim);font-weight:400}
table.short td{padding:.28rem .5rem}table.short td:nth-child(2){background:var(--mark);font-weight:600}
table.short small{display:block;font-size:.78em}summary{cursor:pointer;font-weight:600;margin:.8rem 0}
img{max-width:100%}img.strip{display:block;image-rendering:pixelated}
dl{display:grid;grid-template-columns:auto 1fr;gap:0 1rem}
dt{font-weight:600}dd{margin:0}figure{margin:.6rem 0}figcaption{color:var(--dim);font-size:.9em}
.videos{display:grid;grid-template-columns:repeat(auto-fill,minmax(340px,1fr));gap:.4rem 1rem}
video{image-rendering:pixelated;width:100%}pre{background:#f6f6f6;padding:1rem;overflow-x:auto;font-size:.85em}
"""
_BETTER = {"higher": " ↑", "lower": " ↓", "truth": " (as the truth)"}


def report_page(report: Report, folder: Path, strips: Shown, videos: Mapping[str, Shown]) -> str:
    """The page.

    Args:
        report: the contents of ``report.json``. folder: with the diagrams.
        strips: a picture of truth and model for each signal. videos: title -> videos with captions.
    """
    settings = report["settings"]
    name = escape(settings["model"] or "the embedded model")
    metrics = list(dict.fromkeys(metric for by_metric in report["overall"].values() for metric in by_metric))
    first = next(iter(report["overall"]))
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Evaluation of {name}</title><style>{_STYLE}</style>",
        f"<h1>Evaluation of {name}</h1><p>Suite <b>{settings['suite']}</b>, "
        f"{escape(suite_named(settings['suite']).about)}. {_count(report['starts'], 'start')}, "
        f"{_count(len(report['actions']), 'signal')} each, {_count(settings['chunks'], 'chunk')}; every rollout "
        "follows one chunk of true frames. In brackets: 95 % bootstrap interval over the starts.</p><dl>",
        *(f"<dt>{row}<dd>{escape(ROWS[row])}" for row in report["overall"]),
        "</dl><h2>In short</h2><p>Means over whole rollouts. ↑ higher is better, ↓ lower is.</p>",
        _short_table(report, metrics),
        *_distance_tables(report),
        "<h2>Over time</h2>",
        _image(folder / "curves.png"),
        "<details><summary>All numbers, chunk by chunk</summary>",
        *(_chunks_table(report, metric) for metric in metrics),
        "</details>",
        *_signal_section(report, folder, metrics),
        *_motion_section(report),
        f"<h2>Pictures</h2><p>Last true frame, then the last frames of chunks {', '.join(map(str, report['chunks']))}; "
        f"truth above (if any), {first} below.</p>",
        *(_figure(_image(path, "strip"), caption) for path, caption in strips),
        f"<h2>Videos</h2><p>Truth on the left (if any), {first} on the right.</p>",
    ]
    for title, shown in videos.items():
        parts += [f"<h3>{title}</h3><div class=videos>", *(_video(*entry) for entry in shown), "</div>"]
    missing = "".join(f"<li>{escape(line)}" for line in report["missing"])
    circumstances = json.dumps({key: report[key] for key in ("settings", "machine", "versions")}, indent=1)
    parts.append(f"<h2>Not computed</h2><ul>{missing}</ul><h2>How this was made</h2><pre>{escape(circumstances)}</pre>")
    return "\n".join(parts)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _signal_section(report: Report, folder: Path, metrics: Sequence[str]) -> list[str]:
    if len(report["actions"]) == 1:
        return []
    tables = (_signal_table(report, metric) for metric in metrics[:2])
    return ["<h2>Per signal</h2>", _image(folder / "actions.png"), *tables]


def _short_table(report: Report, metrics: Sequence[str]) -> str:
    """All metrics at a glance: one line each, a column per row."""
    lines = [
        [_heading(metric), *(_interval(by_metric.get(metric), metric) for by_metric in report["rollout"].values())]
        for metric in metrics
    ]
    return _table(["", *report["rollout"]], lines, kind="short")


def _chunks_table(report: Report, metric: str) -> str:
    lines = []
    for row, by_metric in report["overall"].items():
        points = by_metric.get(metric, [])
        if any(point is not None for point in points):
            lines.append([row, *(_interval(point, metric) for point in points)])
    return _table([_heading(metric), *(f"chunk {chunk}" for chunk in report["chunks"])], lines)


def _signal_table(report: Report, metric: str) -> str:
    """The first row chunk by chunk; of the others the mean of the marked chunks."""
    first, *others = report["overall"]
    head = [_heading(metric), *(f"{first}<br><small>chunk {chunk}</small>" for chunk in report["chunks"])]
    head += [f"{row}<br><small>mean</small>" for row in others]
    lines = []
    for name, by_row in report["actions"].items():
        means = [_mean(by_row[row].get(metric, [])) for row in others]
        lines.append([escape(name), *(_number(_mean([point]), metric) for point in by_row[first].get(metric, []))])
        lines[-1] += [_number(mean, metric) for mean in means]
    return _table(head, lines)


def _distance_tables(report: Report) -> Iterable[str]:
    return (
        _table([escape(name), "distance"], [[row, f"{value:.1f}"] for row, value in by_row.items()])
        for name, by_row in report["distances"].items()
    )


def _motion_section(report: Report) -> list[str]:
    if not report["motion_error"]:
        return []
    lines = []
    for row, errors in report["motion_error"].items():
        metres = [f"{errors[key]:.3f} m" for key in ("right", "down", "forward")]
        lines.append([row, *metres, *(f"{math.degrees(errors[key]):.2f}°" for key in ("yaw", "pitch"))])
    return [
        "<h2>Motion seen in the frames, against the true one</h2><p>Median absolute difference over a chunk. In the "
        f"row <b>truth</b> it is the error of the estimator itself ({METHOD}), in <b>soft</b> its error on the truth "
        "blurred until it is as soft as the model: nearer than that no model as soft as this one can come.</p>",
        _table(["", "right", "down", "forward", "yaw", "pitch"], lines),
        *(_verdict(row, ratios) for row, ratios in report["estimator"].items()),
    ]


def _verdict(row: str, ratios: Mapping[str, float]) -> str:
    names = {key: metric_named(key).label.partition(" [")[0] for key in ratios}
    listed = ", ".join(f"{escape(names[key])} {value:.1f}" for key, value in ratios.items())
    judged = "at least" if min(ratios.values()) >= MARGIN else "<b>not everywhere</b>"
    return (
        f"<p>The errors judged are {judged} five times as large as the estimator's own on <b>{row}</b>, on the "
        f"average of the chunks in which the camera moves that way ({listed}). "
        "Below that, a model's motion error is partly the estimator's.</p>"
    )


def _table(head: Sequence[str], lines: Sequence[Sequence[str]], kind: str = "") -> str:
    body = "".join(
        f"<tr{' class=model' if cells[0] == 'model' else ''}>" + "".join(f"<td>{cell}" for cell in cells)
        for cells in lines
    )
    top = "".join(f"<th>{cell}" for cell in head)
    return f"<div class=wide><table class='{kind}'><tr>{top}{body}</table></div>"


def _heading(metric: str) -> str:
    known = metric_named(metric)
    return escape(known.label) + _BETTER.get(known.better, "")


def _interval(point: Mapping[str, float] | None, metric: str) -> str:
    if point is None:
        return "–"
    digits = metric_named(metric).digits
    interval = f" <small>[{point['low']:.{digits}f}, {point['high']:.{digits}f}]</small>"
    return f"{point['mean']:.{digits}f}{interval if point['low'] < point['high'] else ''}"


def _mean(points: Sequence[Mapping[str, float] | None]) -> float:
    values = [point["mean"] for point in points if point is not None]
    return sum(values) / len(values) if values else math.nan


def _number(value: float, metric: str) -> str:
    return "–" if math.isnan(value) else f"{value:.{metric_named(metric).digits}f}"


def _image(path: Path, kind: str = "diagram") -> str:
    return f"<img class={kind} alt='{escape(path.stem)}' src='data:image/png;base64,{_base64(path)}'>"


def _video(path: Path, caption: str) -> str:
    video = f"<video controls loop muted playsinline src='data:video/mp4;base64,{_base64(path)}'></video>"
    return _figure(video, caption)


def _figure(content: str, caption: str) -> str:
    return f"<figure>{content}<figcaption>{escape(caption)}</figcaption></figure>"


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")
