"""The report of a curation: `report.json`, and one HTML page with the funnel, examples, motions and time."""

from __future__ import annotations

import base64
import io
import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from gamecraft.contact_sheet import Cell, contact_sheet
from gamecraft.curation.outcomes import KEPT, Outcome, funnel, outcomes
from gamecraft.curation.samples import sample_clip
from gamecraft.curation.settings import CurationSettings
from gamecraft.curation.sources import Recording
from gamecraft.curation.store import Store
from gamecraft.dataset import ClipDataset
from gamecraft.errors import InputError
from gamecraft.files import write_atomically
from gamecraft.plots import plot_paths

__all__ = ["write_report"]

_EXAMPLES = 6
_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem .7rem;text-align:right;border-bottom:1px solid #ddd}
td:first-child,th:first-child{text-align:left}img{max-width:100%}small{color:#777}"""


def write_report(output: Path, settings: CurationSettings, recordings: Sequence[Recording]) -> dict[str, Any]:
    """Write both files into ``output/curation``; returns the contents of ``report.json``."""
    store = Store(output / "curation")
    found = outcomes(store, [recording.name for recording in recordings])
    report = _numbers(store, settings, recordings, found)
    with write_atomically(store.folder / "report.json") as temporary:
        temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    with write_atomically(store.folder / "report.html") as temporary:
        temporary.write_text(_page(report, output, settings, recordings, found), encoding="utf-8")
    return report


def _numbers(
    store: Store, settings: CurationSettings, recordings: Sequence[Recording], found: Sequence[Outcome]
) -> dict[str, Any]:
    balance = store.read("balance", "all") or {}
    scenes = [store.read("scenes", recording.name) or {} for recording in recordings]
    seconds = sum(scene.get("frames", 0) for scene in scenes) / settings.measure.fps
    return {
        "recordings": [{"name": recording.name, "path": str(recording.path)} for recording in recordings],
        "left_out": _left_out(store),
        "seconds": round(seconds, 1),
        "cuts": sum(len(scene.get("cuts", [])) for scene in scenes),
        "clips": len(found),
        "kept": sum(outcome.reason == KEPT for outcome in found),
        "funnel": [{"stage": s, "clips": clips, "rejected": dict(reasons)} for s, clips, reasons in funnel(found)],
        "processor_seconds": {name: _spent(store, name) for name in asdict(settings) if (store.folder / name).is_dir()},
        "motion": {"before": balance.get("before", {}), "after": balance.get("after", {})},
        "settings": asdict(settings),
    }


def _left_out(store: Store) -> list[list[str]]:
    """Recordings that could not be read, were too short, or are there twice: [reason, detail] of each."""
    results = [store.read("sources", path.stem) or {} for path in sorted((store.folder / "sources").glob("*.json"))]
    found: list[list[str]] = []
    first: dict[str, str] = {}
    for result in results:
        if result.get("rejected"):
            found.append(result["rejected"])
        elif (other := first.setdefault(result["sha256"], result["path"])) != result["path"]:
            found.append(["same content", f"{result['path']} is {other} again"])
    return found


def _spent(store: Store, stage: str) -> float:
    """Processor seconds that went into the results of a stage."""
    files = (store.folder / stage).rglob("*.json")
    spent = (store.read(stage, str(path.relative_to(store.folder / stage).with_suffix(""))) or {} for path in files)
    return round(sum(float(result.get("seconds", 0.0)) for result in spent), 1)


def _page(
    report: dict[str, Any],
    output: Path,
    settings: CurationSettings,
    recordings: Sequence[Recording],
    found: Sequence[Outcome],
) -> str:
    reasons = sorted({outcome.reason for outcome in found} - {KEPT})
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Curation</title><style>{_STYLE}</style>",
        f"<h1>Curation</h1><p>{len(recordings)} recordings, {report['seconds'] / 60:.1f} minutes, "
        f"{report['cuts']} cuts, {report['clips']} clips of {settings.split.frames} frames; "
        f"{report['kept']} are in the dataset.</p>",
        _table(("left out", "why"), report["left_out"]) if report["left_out"] else "",
        "<h2>Funnel</h2>",
        _table(
            ("stage", "clips", "rejected"),
            [(row["stage"], row["clips"], _list(row["rejected"])) for row in report["funnel"]],
        ),
        "<h2>Time</h2><p>Processor seconds, also of units that this run did not have to do again.</p>",
        _time_table(report),
        "<h2>Motion from first to last frame</h2>",
        _image(_motion_plot(report["motion"])) if report["motion"]["before"] else "",
        "<h2>Kept</h2>",
        *_kept(output),
        *(_examples(reason, [o for o in found if o.reason == reason], settings, recordings) for reason in reasons),
    ]  # fmt: skip
    return "\n".join(parts)


def _table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}" for cell in row) for row in rows)
    return f"<table><tr>{''.join(f'<th>{escape(name)}' for name in head)}{body}</table>"


def _list(reasons: dict[str, int]) -> str:
    return ", ".join(f"{reason}: {count}" for reason, count in reasons.items())


def _time_table(report: dict[str, Any]) -> str:
    head = ("stage", "seconds", "times faster than the recording")
    stages = report["processor_seconds"]
    times = [*stages.items(), ("all", sum(stages.values()))]
    rows = [(name, f"{spent:.1f}", f"{report['seconds'] / spent:.1f}" if spent else "") for name, spent in times]
    return _table(head, rows)


def _examples(
    reason: str, rejected: Sequence[Outcome], settings: CurationSettings, recordings: Sequence[Recording]
) -> str:
    """Middle frames of some clips, and the details of why."""
    paths = {recording.name: recording.path for recording in recordings}
    some = rejected[:: max(1, len(rejected) // _EXAMPLES)][:_EXAMPLES]
    cells = []
    for outcome in some:
        try:
            place = outcome.first + settings.split.frames // 2
            frame = sample_clip(paths[outcome.recording], settings.measure.fps, place, 1, 1, 320)[0]
        except InputError:  # the recording has gone since
            continue
        cells.append(Cell(frame=frame, caption=f"{outcome.first}: {outcome.detail}"))
    details = "".join(f"<li>{escape(outcome.clip)}: {escape(outcome.detail)}" for outcome in some)
    shapes = {cell.frame.shape for cell in cells}
    sheets = [_sheet([cell for cell in cells if cell.frame.shape == shape]) for shape in sorted(shapes)]
    head = f"<h2>Rejected: {escape(reason)}</h2><p>{len(rejected)} clips</p>"
    return f"{head}{''.join(sheets)}<ul><small>{details}</small></ul>"


def _kept(output: Path) -> list[str]:
    """A contact sheet and the paths of some clips of the dataset."""
    try:
        dataset = ClipDataset(output)
    except InputError:
        return ["<p>Nothing.</p>"]
    numbers = sorted({round(number) for number in np.linspace(0, len(dataset) - 1, min(2 * _EXAMPLES, len(dataset)))})
    clips = [dataset[number] for number in numbers]
    cells = [Cell(frame=clip.frames()[clip.num_frames // 2], caption=clip.caption_short) for clip in clips]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "paths.png"
        plot_paths({f"clip {n}": clip.poses for n, clip in list(zip(numbers, clips, strict=True))[:_EXAMPLES]}, file)
        plot = file.read_bytes()
    return [_sheet(cells), _image(plot)]


def _motion_plot(motion: dict[str, dict[str, int]]) -> bytes:
    from matplotlib.figure import Figure

    names = sorted({*motion["before"], *motion["after"]})
    figure = Figure(figsize=(9, 0.6 + 0.28 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    for shift, when in ((0.2, "before"), (-0.2, "after")):
        places = [place - shift for place in range(len(names))]
        axes.barh(places, [motion[when].get(name, 0) for name in names], height=0.38, label=f"{when} balancing")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("clips")
    axes.legend()
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=90)
    return data.getvalue()


def _sheet(cells: Sequence[Cell]) -> str:
    data = io.BytesIO()
    contact_sheet(cells, columns=4).save(data, "PNG")
    return _image(data.getvalue())


def _image(png: bytes) -> str:
    return f"<img src='data:image/png;base64,{base64.b64encode(png).decode('ascii')}'>"
