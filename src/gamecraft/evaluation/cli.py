"""Measure a model against rendered ground truth in worlds it has never seen."""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gamecraft.evaluation.suites import SUITES

__all__ = ["add_arguments", "run"]

_MODELS = (
    "model folder; truth, freeze or warp (baselines); videos:FOLDER (made elsewhere); MODULE:NAME (your own class); "
    "default: the embedded model"
)
_POSES = (
    "further camera paths for RPE and ATE, beside the built-in estimator's: colmap; MODULE:FUNCTION (frames and lens "
    "to poses and confidence); a folder of files ROW/CASE.tum, .json or .txt, such as model/start000-w.tum"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `gamecraft evaluate`."""
    suites = "; ".join(f"{suite.name}: {suite.about}" for suite in SUITES.values())
    parser.add_argument("--suite", default="quick", choices=list(SUITES), help=f"{suites}. Default: %(default)s")
    parser.add_argument("--model", metavar="MODEL", help=_MODELS)
    parser.add_argument("--output", default="outputs/evaluation", metavar="FOLDER", help="default: %(default)s")
    parser.add_argument("--starts", type=int, metavar="N", help="start images; default: the suite's")
    parser.add_argument("--chunks", type=int, metavar="N", help="chunks per rollout; default: the suite's")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the worlds; default: %(default)s")
    parser.add_argument("--data", metavar="FOLDER", help="clip dataset (suite play) or pictures, instead of worlds")
    parser.add_argument("--steps", type=int, metavar="N", help="denoising steps; default: the model's")
    parser.add_argument("--guidance", type=float, metavar="G", help="guidance scale; default: the model's")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="default: %(default)s")
    parser.add_argument("--poses", nargs="+", default=[], metavar="SOURCE", help=_POSES)
    parser.add_argument("--i3d", metavar="FILE", help="weights of an I3D (i3d_pretrained_400.pt), for the FVD")
    parser.add_argument("--videomae", metavar="FOLDER", help="weights of a VideoMAE encoder, for an FVD of its own")
    parser.add_argument("--lpips", metavar="FOLDER", help="alexnet*.pth and alex.pth, for LPIPS")
    parser.add_argument("--aesthetic", metavar="FOLDER", help="CLIP with LAION's linear head, for the aesthetic score")
    parser.add_argument("--pyiqa", nargs="+", default=[], metavar="NAME", help="metrics of pyiqa, such as lpips musiq")
    parser.add_argument("--export", type=Path, metavar="FOLDER", help="only write the starts, for another system")


def run(args: argparse.Namespace) -> int:
    """Evaluate; results of an interrupted run are used. Returns the exit code."""
    from rich.console import Console

    from gamecraft.evaluation.report import write_report
    from gamecraft.evaluation.run import EvaluationSettings, evaluate
    from gamecraft.evaluation.summary import MARGIN

    names = (
        "suite",
        "model",
        "output",
        "starts",
        "chunks",
        "seed",
        "data",
        "steps",
        "guidance",
        "processes",
        "i3d",
        "videomae",
        "lpips",
        "aesthetic",
    )
    settings = EvaluationSettings(
        **{name: getattr(args, name) for name in names}, poses=tuple(args.poses), pyiqa=tuple(args.pyiqa)
    )
    if args.export is not None:
        from gamecraft.evaluation.export import export_starts

        with _progress("starts") as show:
            export_starts(settings, args.export, on_progress=show)
        print(f"{args.export}: make a video CASE.mp4 for every CASE.json, then evaluate --model videos:FOLDER")
        return 0
    try:
        with _progress(f"suite {settings.suite}") as show:
            results = evaluate(settings, show)
    except KeyboardInterrupt:
        print(f"stopped; the same command goes on with what is in {settings.output}", file=sys.stderr)
        return 130
    report = write_report(settings, results)
    console = Console()
    for table in _tables(report):
        console.print(table)
    for line in report["missing"]:
        print(f"not computed: {line}")
    for row, ratios in report["estimator"].items():
        if min(ratios.values()) < MARGIN:
            print(
                f"the motion estimator's error on {row} is more than a fifth of some errors it judges; see the report"
            )
    print(f"{settings.output}/report.html")
    return 0


@contextmanager
def _progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar with the time left, from the first report of progress on: not before the model has been found."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(*columns, speed_estimate_period=600)
    task = progress.add_task(title, total=None)

    def show(done: int, total: int) -> None:
        progress.start()
        progress.update(task, completed=done, total=total)

    try:
        yield show
    finally:
        if progress.live.is_started:
            progress.stop()


def _tables(report: dict[str, Any]) -> list[Any]:
    """The numbers of all signals, and the suite's first metric per signal."""
    from rich.table import Table

    from gamecraft.evaluation.measures import metric_named

    title = f"{report['settings']['suite']}: {report['starts']} starts, {len(report['actions'])} signals"
    overall = Table(title=f"{title}; ± half of the 95 % interval")
    for column in ("", "", *(f"chunk {chunk}" for chunk in report["chunks"])):
        overall.add_column(column, justify="right" if column else "left")
    metrics = list(next(iter(report["overall"].values())))
    for metric in metrics:
        label = metric_named(metric).label
        for row, by_metric in report["overall"].items():
            overall.add_row(label, row, *(_cell(point) for point in by_metric[metric]))
            label = ""
        overall.add_section()
    rows = list(report["overall"])
    by_signal = Table(title=f"{metric_named(metrics[0]).label}, mean of these chunks")
    for column in ("", *rows):
        by_signal.add_column(column, justify="right" if column else "left")
    for name, by_row in report["actions"].items():
        points = [[point["mean"] for point in by_row[row][metrics[0]] if point is not None] for row in rows]
        by_signal.add_row(name, *(f"{sum(means) / len(means):.3g}" if means else "–" for means in points))
    return [overall, by_signal]


def _cell(point: dict[str, float] | None) -> str:
    return "–" if point is None else f"{point['mean']:.3g} ± {(point['high'] - point['low']) / 2:.2g}"
