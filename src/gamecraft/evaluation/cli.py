"""`gamecraft evaluate`: measure a model against rendered ground truth in worlds it has never seen."""

import argparse
import sys
from typing import Any

from gamecraft.evaluation.suites import SUITES

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Any) -> None:
    """Add the `evaluate` command to argparse's subparsers."""
    parser = subparsers.add_parser("evaluate", help="measure a model against ground truth", description=__doc__)
    parser.add_argument("--suite", default="quick", choices=list(SUITES), help="default: %(default)s")
    parser.add_argument(
        "--model",
        metavar="FOLDER",
        help="model folder, or truth or freeze to check the suite; default: the embedded one",
    )
    parser.add_argument("--output", default="outputs/evaluation", metavar="FOLDER", help="default: %(default)s")
    parser.add_argument("--starts", type=int, metavar="N", help="worlds to start in; default: the suite's")
    parser.add_argument("--chunks", type=int, default=8, metavar="N", help="chunks per rollout; default: %(default)s")
    parser.add_argument("--steps", type=int, metavar="N", help="denoising steps; default: the model's")
    parser.add_argument("--guidance", type=float, metavar="G", help="guidance scale; default: the model's")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="default: %(default)s")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate; results of an interrupted run are used. Returns the exit code."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from gamecraft.evaluation.report import write_report
    from gamecraft.evaluation.run import EvaluationSettings, evaluate

    settings = EvaluationSettings(
        suite=args.suite,
        model=args.model,
        output=args.output,
        starts=args.starts,
        chunks=args.chunks,
        steps=args.steps,
        guidance=args.guidance,
        processes=args.processes,
    )
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(*columns, speed_estimate_period=600)
    task = progress.add_task(f"suite {settings.suite}", total=None)

    def show(done: int, total: int) -> None:
        progress.start()  # not before the model has been found
        progress.update(task, completed=done, total=total)

    try:
        results = evaluate(settings, show)
    except KeyboardInterrupt:
        print(f"stopped; the same command goes on with what is in {settings.output}", file=sys.stderr)
        return 130
    finally:
        if progress.live.is_started:
            progress.stop()
    report = write_report(settings, results)
    console = Console()
    for table in _tables(report):
        console.print(table)
    print(f"{settings.output}/report.html")
    return 0


def _tables(report: dict[str, Any]) -> list[Any]:
    """The numbers of all actions, and action accuracy per action."""
    from rich.table import Table

    from gamecraft.evaluation.scoring import METRICS

    title = f"{report['settings']['suite']}: {report['starts']} worlds, {len(report['actions'])} actions"
    overall = Table(title=f"{title}; ± half of the 95 % interval")
    accuracy = Table(title="action accuracy, mean of these chunks")
    for column in ("", "", *(f"chunk {chunk}" for chunk in report["chunks"])):
        overall.add_column(column, justify="right" if column else "left")
    for metric, label in METRICS.items():
        for row, metrics in report["overall"].items():
            cells = [f"{p['mean']:.3g} ± {(p['high'] - p['low']) / 2:.2g}" for p in metrics[metric]]
            overall.add_row(label, row, *cells)
            label = ""  # noqa: PLW2901 - named once per group
        overall.add_section()
    rows = list(report["overall"])
    for column in ("", *rows):
        accuracy.add_column(column, justify="right" if column else "left")
    for name, by_row in report["actions"].items():
        means = [sum(p["mean"] for p in by_row[row]["follows"]) / len(report["chunks"]) for row in rows]
        accuracy.add_row(name, *(f"{100 * mean:.0f} %" for mean in means))
    return [overall, accuracy]
