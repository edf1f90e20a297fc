"""Tables of documents are written from reports, and only from them."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from gamecraft.evaluation.report import FORMAT

SCRIPT = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "tables.py"))


def point(mean: float, half: float = 0.5) -> dict[str, float]:
    return {"mean": mean, "low": mean - half, "high": mean + half}


def report() -> dict[str, Any]:
    follows = "follows [a method 1]"
    overall = {
        "model": {"psnr": [point(23.456), point(20)], follows: [point(0.5, 0.1), point(0.25, 0.1)]},
        "truth": {"psnr": [point(100, 0), point(100, 0)], follows: [point(1, 0), point(1, 0)]},
    }
    rollout = {row: {metric: points[0] for metric, points in by.items()} for row, by in overall.items()}
    return {
        "format": FORMAT,
        "settings": {
            "suite": "quick",
            "model": None,
            "seed": 0,
            "data": None,
            "steps": 4,
            "guidance": None,
            "chunks": 2,
        },
        "versions": {"motion estimator": "a method 1", "torch": "2"},
        "starts": 3,
        "chunks": [1, 2],
        "overall": overall,
        "rollout": rollout,
        "actions": {"w": overall},
        "estimator": {"truth": {"yaw": 7.25, "rpe_rotation [a method 1]": 4.0}},
    }


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    (tmp_path / "reports" / "quick").mkdir(parents=True)
    (tmp_path / "reports" / "quick" / "report.json").write_text(json.dumps(report()))
    return tmp_path / "reports"


def filled(words: str, reports: Path) -> list[str]:
    text, absent = SCRIPT["fill"](f"before\n<!-- table: quick {words} -->\nold\n<!-- /table -->\nafter\n", reports)
    assert not absent
    first, second, *table, last, after = text.splitlines()
    assert (first, second, last, after) == ("before", f"<!-- table: quick {words} -->", "<!-- /table -->", "after")
    return table


def test_every_kind_of_table_holds_the_reports_numbers(reports: Path) -> None:
    command, how = filled("about", reports)[0].split(": ")
    assert command == "`gamecraft evaluate --suite quick --steps 4`"
    assert how == "3 starts × 1 signals × 2 chunks, motion seen by a method 1, torch 2."
    assert filled("rows psnr@1/2 follows", reports) == [
        "| | PSNR, dB, chunk 1 / 2 | action accuracy |",
        "| --- | --- | --- |",
        "| **model** | 23.5 / 20.0 | 0.500 [0.400, 0.600] |",
        "| truth | 100 / 100 | 1.00 |",
    ]
    assert filled("chunks follows", reports)[2:] == [
        "| action accuracy: **model** | 0.500 [0.400, 0.600] | 0.250 [0.150, 0.350] |",
        "| action accuracy: truth | 1.00 | 1.00 |",
    ]
    assert filled("signals model:follows truth:psnr@2", reports)[2:] == ["| w | 0.375 | 100 |"]
    assert filled("errors", reports) == [
        "| | yaw | RPE rotation |",
        "| --- | --- | --- |",
        "| on truth | 7.2 | 4.0 |",
    ]


def test_a_missing_report_leaves_its_table_and_says_so(reports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = reports / "document.md"
    text = "<!-- table: long about -->\nas it was\n<!-- /table -->\n"
    document.write_text(text)
    assert SCRIPT["main"]([str(document), "--reports", str(reports)]) == 0
    assert document.read_text() == text
    assert "no report of long" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("graph", "a table of quick is about graph; expected about, rows"),
        ("rows lpips", "has no metric 'lpips'"),
        ("rows psnr@7", "chunk 7 is not among those the report marks"),
        ("signals nobody:psnr", "no row 'nobody'"),
    ],
)
def test_what_a_report_has_not_is_one_line(
    words: str, message: str, reports: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = reports / "document.md"
    document.write_text(f"<!-- table: quick {words} -->\n<!-- /table -->\n")
    assert SCRIPT["main"]([str(document), "--reports", str(reports)]) == 2
    assert message in capsys.readouterr().err
    assert SCRIPT["main"](["nowhere.md"]) == 2
