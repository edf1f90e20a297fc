"""Say which differences between two evaluations are significant."""

import argparse

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `gamecraft compare`."""
    parser.add_argument("a", metavar="A.json", help="report.json of an evaluation, or its folder")
    parser.add_argument("b", metavar="B.json", help="the other one, of the same suite")


def run(args: argparse.Namespace) -> int:
    """Print a table; returns the exit code."""
    from rich.console import Console
    from rich.table import Table

    from gamecraft.evaluation.comparison import compare_reports, read_report
    from gamecraft.evaluation.measures import metric_named

    differences, how = compare_reports(read_report(args.a), read_report(args.b))
    table = Table(caption=how)
    for column in ("", "", "A", "B", "B - A", "p", "significant"):
        table.add_column(column, justify="right" if column else "left", overflow="fold")
    for found in differences:
        metric = metric_named(found.metric)
        d = metric.digits
        interval = f"{found.b - found.a:+.{d}f} [{found.low:+.{d}f}, {found.high:+.{d}f}]"
        verdict = _verdict(found.b - found.a, metric.better) if found.significant else "no"
        values = (f"{found.a:.{d}f}", f"{found.b:.{d}f}", interval, f"{found.p:.4f}")
        table.add_row(metric.label, found.part, *values, verdict)
    Console().print(table)
    return 0


def _verdict(difference: float, better: str) -> str:
    if better not in ("higher", "lower"):
        return "different"
    return "B is better" if (difference > 0) == (better == "higher") else "A is better"
