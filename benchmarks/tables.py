"""Writes the tables of documents from reports of `gamecraft evaluate`, so that no number is copied by hand.

    for suite in quick revisit control long paper; do
        gamecraft evaluate --suite $suite --processes 2 --output outputs/benchmark/$suite
    done
    python benchmarks/tables.py docs/benchmark.md docs/embedded-model.md --reports outputs/benchmark

A document says what belongs where; whatever stands between the two comments is replaced:

    <!-- table: quick rows psnr@1/6 follows rpe_translation -->
    <!-- /table -->

The words are the report's folder, what the table is about, and its columns:

    about              one sentence: the command, how many starts, signals and chunks, on what
    rows COLUMN...     a line per row of the report (model, freeze, ...); columns are metrics: over whole rollouts with
                       their interval, or @ the chunks named, of those that the report marks
    chunks METRIC...   a line per metric and row, a column per marked chunk
    signals COLUMN...  a line per signal; columns are ROW:METRIC, the mean of the marked chunks, or @ the chunks named
    errors             the motion errors judged over the estimator's own, see the report

A table whose report is missing is left as it is, and said so.
"""

import argparse
import math
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gamecraft.errors import GameCraftError, InputError
from gamecraft.evaluation.comparison import read_report
from gamecraft.evaluation.measures import metric_named
from gamecraft.files import write_atomically

Report = dict[str, Any]
Point = dict[str, float] | None

_TABLE = re.compile(r"(<!-- table: (?P<words>[^\n]*?) -->\n).*?(?=<!-- /table -->)", re.DOTALL)


def fill(text: str, reports: Path) -> tuple[str, list[str]]:
    """A document with its tables written anew, and the names of reports that are missing.

    Raises:
        InputError: a table asks for what the report has not.
    """
    absent: list[str] = []

    def replaced(match: re.Match[str]) -> str:
        name, *words = match["words"].split()
        if not (reports / name / "report.json").exists():
            absent.append(name)
            return match[0]
        if not words or words[0] not in _KINDS:
            given = words[0] if words else "nothing"
            raise InputError(f"a table of {name} is about {given}; expected {', '.join(_KINDS)}")
        lines = _KINDS[words[0]](read_report(reports / name), words[1:])
        return match[1] + "\n".join(lines) + "\n"

    return _TABLE.sub(replaced, text), absent


def about(report: Report, columns: Sequence[str]) -> list[str]:
    """One sentence."""
    settings = report["settings"]
    options = [f"--{key} {settings[key]}" for key in ("seed", "data", "steps", "guidance") if settings[key]]
    if settings["model"]:
        options.insert(0, f"--model {settings['model']}")
    command = " ".join(["gamecraft evaluate --suite", settings["suite"], *options])
    size = f"{report['starts']} starts × {len(report['actions'])} signals × {settings['chunks']} chunks"
    seen = f"motion seen by {report['versions']['motion estimator']}"
    return [f"`{command}`: {size}, {seen}, torch {report['versions']['torch']}."]


def rows(report: Report, columns: Sequence[str]) -> list[str]:
    """A line per row of the report."""
    wanted = [_column(report, column) for column in columns]
    body = []
    for row in report["overall"]:
        cells = []
        for metric, marks in wanted:
            points = report["overall"][row].get(metric)
            whole = report["rollout"][row].get(metric)
            cells.append(_at(report, points, marks) if marks else _interval(whole))
        body.append([f"**{row}**" if row == "model" else row, *cells])
    return _table(["", *(_label(metric, marks) for metric, marks in wanted)], body)


def chunks(report: Report, columns: Sequence[str]) -> list[str]:
    """A line per metric and row."""
    body = []
    for metric in (_key(report, column) for column in columns):
        for row, metrics in report["overall"].items():
            if any(point is not None for point in metrics.get(metric, [])):
                label = f"{_label(metric, [])}: {f'**{row}**' if row == 'model' else row}"
                body.append([label, *(_interval(point) for point in metrics[metric])])
    return _table(["", *(f"chunk {chunk}" for chunk in report["chunks"])], body)


def signals(report: Report, columns: Sequence[str]) -> list[str]:
    """A line per signal."""
    wanted = []
    for column in columns:
        row, _, rest = column.partition(":")
        if row not in report["overall"]:
            raise InputError(f"the report has no row {row!r:.40}; it has {', '.join(report['overall'])}")
        wanted.append((row, *_column(report, rest)))
    body = []
    for signal, by_row in report["actions"].items():
        cells = []
        for row, metric, marks in wanted:
            points = by_row[row][metric]
            means = [point["mean"] for point in points if point is not None]
            whole = {"mean": sum(means) / len(means)} if means else None
            cells.append(_at(report, points, marks) if marks else _mean(whole))
        body.append([signal, *cells])
    return _table(["", *(f"{row}: {_label(metric, marks)}" for row, metric, marks in wanted)], body)


def errors(report: Report, columns: Sequence[str]) -> list[str]:
    """How many times larger than the estimator's own the judged errors are."""
    names = list(next(iter(report["estimator"].values()), {}))
    body = [[f"on {row}", *(f"{ratios[name]:.1f}" for name in names)] for row, ratios in report["estimator"].items()]
    return _table(["", *(metric_named(name).label.partition(" [")[0] for name in names)], body)


_KINDS: dict[str, Callable[[Report, Sequence[str]], list[str]]] = {
    "about": about,
    "rows": rows,
    "chunks": chunks,
    "signals": signals,
    "errors": errors,
}


def _key(report: Report, name: str) -> str:
    """The metric of that name, with whatever estimator the report has it from."""
    known = [metric for by in report["overall"].values() for metric in by]
    found = [metric for metric in known if metric == name or metric.startswith(f"{name} [")]
    if not found:
        raise InputError(f"the report of {report['settings']['suite']} has no metric {name!r:.40}")
    return found[0]


def _column(report: Report, column: str) -> tuple[str, list[int]]:
    """A metric and the chunks at which it is wanted."""
    name, _, marks = column.partition("@")
    wanted = [int(mark) for mark in marks.split("/") if mark.isdigit()]
    unknown = [mark for mark in wanted if mark not in report["chunks"]]
    if unknown:
        raise InputError(f"chunk {unknown[0]} is not among those the report marks, {report['chunks']}")
    return _key(report, name), wanted


def _at(report: Report, points: Sequence[Point] | None, marks: Sequence[int]) -> str:
    if points is None:
        return "–"
    return " / ".join(_mean(points[report["chunks"].index(mark)]) for mark in marks)


def _mean(point: Point) -> str:
    return "–" if point is None or math.isnan(point["mean"]) else f"{point['mean']:.{_decimals(point['mean'])}f}"


def _interval(point: Point) -> str:
    if point is None:
        return _mean(point)
    low, high = (f"{point[end]:.{_decimals(point['mean'])}f}" for end in ("low", "high"))
    return _mean(point) if low == high else f"{_mean(point)} [{low}, {high}]"


def _decimals(value: float) -> int:
    """Digits after the point that make three in all, but not more than four."""
    return 0 if value == 0 else min(4, max(0, 2 - math.floor(math.log10(abs(value)))))


def _label(metric: str, marks: Sequence[int]) -> str:
    base = re.sub(r" \[[^]]*\]", "", metric_named(metric).label).replace(" degrees", " °")
    return f"{base}, chunk {' / '.join(map(str, marks))}" if marks else base


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    return [_line(head), _line(["---"] * len(head)), *(_line(cells) for cells in body)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |".replace("|  |", "| |")


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill the documents; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", nargs="+", type=Path, metavar="DOCUMENT.md")
    parser.add_argument("--reports", type=Path, default=Path("outputs/benchmark"), metavar="FOLDER", help="%(default)s")
    args = parser.parse_args(arguments)
    try:
        for document in args.documents:
            if not document.is_file():
                raise InputError(f"there is no document {document}")
            text, absent = fill(document.read_text(encoding="utf-8"), args.reports)
            with write_atomically(document) as temporary:
                temporary.write_text(text, encoding="utf-8")
            for name in dict.fromkeys(absent):
                print(f"{document}: no report of {name} in {args.reports}; its tables are left as they are")
    except GameCraftError as error:
        print(f"tables: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
