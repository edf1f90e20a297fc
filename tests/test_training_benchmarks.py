"""The benchmarks of training do at tiny size what they will do at full size."""

import json
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gamecraft.evaluation.signals import Signal
from gamecraft.evaluation.suites import SUITES, Suite
from gamecraft.training.run import RunFolder
from gamecraft.training.transformer import TransformerTraining
from training_cases import write_recipe

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def script(name: str) -> Any:
    return runpy.run_path(str(BENCHMARKS / name))["main"]


def test_every_arm_is_trained_and_measured_once(
    training: TransformerTraining, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = Suite(name="quick", about="", signals={"w": Signal(keys="w")}, rows=("model",), starts=1, chunks=2)
    monkeypatch.setitem(SUITES, "quick", small)
    recipe = write_recipe(replace(training, max_steps=1), tmp_path / "recipe.yaml")
    command = ["--config", str(recipe), "--output", str(tmp_path / "out"), "--set", "evaluation.sheet_rows=1"]
    assert script("ablation.py")(command) == 0
    table = (tmp_path / "out" / "table.md").read_text()
    assert table in capsys.readouterr().out
    head, _, *rows = [line.strip("| ").split(" | ") for line in table.splitlines()]
    assert head[:3] == ["arm", "loss after a clip", "loss after an image"]
    assert head[3:5] == ["PSNR, dB, chunk 1", "PSNR, dB, chunk 2"]
    assert [row[0] for row in rows] == ["hybrid", "image only", "clip only", "channel concatenation"]
    assert all(len(row) == len(head) and float(row[1]) > 0 and float(row[3].split()[0]) > 0 for row in rows)
    config = json.loads((tmp_path / "out/channel-concatenation/run/transformer/config.json").read_text())
    assert config["action_fusion"] == "channels"

    before = (tmp_path / "out/hybrid/run/log.jsonl").stat().st_mtime_ns
    assert script("ablation.py")(command) == 0
    assert (tmp_path / "out" / "table.md").read_text() == table
    assert (tmp_path / "out/hybrid/run/log.jsonl").stat().st_mtime_ns == before


def test_a_run_killed_again_and_again_has_the_same_losses(
    training: TransformerTraining, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_recipe(replace(training, max_steps=24), tmp_path / "recipe.yaml")
    output = tmp_path / "kills"
    assert script("training_kills.py")(["--config", str(recipe), "--kills", "10", "--output", str(output)]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["largest loss difference"] == result["largest weight difference"] == 0
    assert (result["kills"], result["steps"]) == (10, 24)
    losses = [record["loss"] for record in RunFolder(output / "killed").records() if "loss" in record]
    assert losses == [record["loss"] for record in RunFolder(output / "whole").records() if "loss" in record]
    assert len(set(losses)) == 24


def test_the_share_of_the_peak_is_counted_work_over_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert script("training_throughput.py")(["--widths", "64", "128", "--batch", "1", "--steps", "1", "--eager"]) == 0
    narrow, wide = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert wide["parameters"] > 2 * narrow["parameters"]
    assert wide["gflop_per_sample"] > 2 * narrow["gflop_per_sample"]
    tokens = (2 * 3 * 6 * 10) + 48  # of history and chunk, and of the text
    least = (
        3 * 2 * tokens * narrow["parameters"] / 4 / 1e9
    )  # most parameters multiply every token, forward and backward
    assert least < narrow["gflop_per_sample"] < 8 * least
    assert narrow["share_of_peak"] == pytest.approx(narrow["gflops"] / narrow["peak_gflops"])
    assert narrow["gflops"] == pytest.approx(1000 * narrow["gflop_per_sample"] / narrow["ms_per_sample"])
