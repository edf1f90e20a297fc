"""The speed comparison runs at a tiny size and reports what it promises."""

import json
import runpy
import sys
from pathlib import Path

import pytest

from gamecraft.models import rotary

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "side_by_side.py"


def test_all_variants_are_measured_and_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = runpy.run_path(str(SCRIPT))
    main = module["main"]
    options = {"widths": 64, "rounds": 1, "steps": 2, "height": 16, "width": 32, "threads": 1}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    words += ["--full-size", "32", "64"]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *words, "--output", str(tmp_path / "figures.json")])
    monkeypatch.setattr(rotary, "dispatch_attention_fn", rotary.dispatch_attention_fn)  # variants change it
    arguments = main.__globals__  # the rounds stay in this process: starting others would take longer than the work

    def here(variant: str, width: int) -> dict[str, object]:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", [*sys.argv, "--one", variant, str(width)])
            assert main() == 0
        figures: dict[str, object] = json.loads(capsys.readouterr().out.splitlines()[-1])
        return figures

    arguments["fresh_process"] = here
    assert main() == 0
    figures = json.loads((tmp_path / "figures.json").read_text())["64"]
    assert set(figures["seconds"]) == set(module["VARIANTS"])
    assert all(value > 0 for parts in figures["seconds"].values() for value in parts.values())
    assert figures["ratio"]["published"]["chunk"] == 1
    errors = figures["error"]
    assert errors["ours"] == 0
    assert 0 < errors["published"] < 1e-5  # the same numbers, in another way
    assert errors["published, cached"] == errors["published"]  # two steps: these caches skip nothing
    assert errors["ours, cached"] == errors["ours, taylorseer-lite"] == 0
    assert "ours, taylorseer-lite" in capsys.readouterr().out
