"""Differences between reports are found where there are some, and only there."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gamecraft.cli import main
from gamecraft.errors import InputError
from gamecraft.evaluation.comparison import compare_reports, paired_difference, read_report, unpaired_difference
from gamecraft.evaluation.report import FORMAT

STARTS = np.random.default_rng(0).normal(20, 3, 12)


def report(psnr: np.ndarray, **settings: Any) -> dict[str, Any]:
    known = {"suite": "quick", "starts": len(psnr), "chunks": 6, "seed": 0, "data": None} | settings
    values = {"rollout": psnr.tolist(), "last chunk": [None] * len(psnr)}
    return {"format": FORMAT, "settings": known, "per_start": {"psnr": values}}


def test_a_small_steady_gain_is_significant_if_the_starts_are_the_same() -> None:
    gained = STARTS + np.random.default_rng(1).normal(0.5, 0.2, 12)
    (found,), how = compare_reports(report(STARTS), report(gained))
    assert found.significant
    assert 0.3 < found.low < found.b - found.a < found.high < 0.8
    assert "starts paired" in how
    (found,), how = compare_reports(report(STARTS), report(gained, seed=1))
    assert not found.significant
    assert "not paired" in how


def test_equal_reports_do_not_differ() -> None:
    (found,), _ = compare_reports(report(STARTS), report(STARTS))
    assert (found.low, found.high, found.p, found.significant) == (0, 0, 1, False)


def test_intervals_have_the_width_of_the_normal_approximation() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(0, 1, 200), rng.normal(0, 1, 300)
    low, high, _ = unpaired_difference(a, b)
    assert (high - low) / 2 == pytest.approx(1.96 * np.sqrt(a.var() / 200 + b.var() / 300), rel=0.1)
    low, high, _ = paired_difference(a, b[:200])
    assert (high - low) / 2 == pytest.approx(1.96 * (b[:200] - a).std() / np.sqrt(200), rel=0.1)


def test_many_comparisons_ask_for_more() -> None:
    rng = np.random.default_rng(3)
    noise = rng.normal(0, 0.3, 12)
    a, b = report(STARTS), report(STARTS + 0.35 + noise - noise.mean())
    (alone,), _ = compare_reports(a, b)
    assert alone.significant
    for number in range(40):
        a["per_start"][f"other {number}"] = {"rollout": STARTS.tolist()}
        b["per_start"][f"other {number}"] = {"rollout": (STARTS + rng.normal(0, 1, 12)).tolist()}
    among_many = compare_reports(a, b)[0][0]
    assert among_many.p == alone.p
    assert not among_many.significant


def test_command_prints_the_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, values in (("a", STARTS), ("b", STARTS - 1)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_text(json.dumps(report(values)))
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b" / "report.json")]) == 0
    shown = capsys.readouterr().out
    assert "PSNR" in shown
    assert "A is" in shown
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "c.json")]) == 2
    assert "no report at" in capsys.readouterr().err


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the suites differ: quick and long"):
        compare_reports(report(STARTS), report(STARTS, suite="long"))
    other = copy.deepcopy(report(STARTS))
    other["per_start"] = {"ssim": other["per_start"]["psnr"]}
    with pytest.raises(InputError, match="no metric in common"):
        compare_reports(report(STARTS), other)
    damaged = tmp_path / "report.json"
    damaged.write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        read_report(tmp_path)
    damaged.write_text('{"format": 1}')
    with pytest.raises(InputError, match="evaluate again"):
        read_report(damaged)
