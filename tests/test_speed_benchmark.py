"""The speed benchmark measures any model folder."""

import json
import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "speed.py"


def test_benchmark_prints_and_writes_every_figure(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main = runpy.run_path(str(SCRIPT))["main"]
    file = tmp_path / "speed.json"
    command = ["--model", str(model_folder), "--repeats", "1", "--threads", "1", "--output", str(file)]
    assert main(command) == 0
    report = json.loads(file.read_text())
    assert report["command"].endswith(f"--output {file}")
    assert report["transformer_flop"] > 1e6
    assert 0 < report["share_of_peak"] < 1
    assert report["frames_per_second"] == pytest.approx(1000 * 5 / report["milliseconds"]["whole chunk"])
    assert report["milliseconds"]["whole chunk"] > report["milliseconds"]["transformer pass"] > 0
    assert "GFLOP/s" in capsys.readouterr().out


def test_bad_input_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    main = runpy.run_path(str(SCRIPT))["main"]
    assert main(["--model", "nowhere"]) == 2
    assert capsys.readouterr().err.startswith("error: there is no model folder nowhere")
