"""A suite gives a perfect model perfect scores, freezing what it deserves, and goes on where it was stopped."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gamecraft.actions import Action, Key, motion
from gamecraft.errors import GameCraftError, InputError
from gamecraft.evaluation import cli
from gamecraft.evaluation.models import Freeze, GroundTruth, Idle
from gamecraft.evaluation.pictures import marked_chunks
from gamecraft.evaluation.pipeline_model import PipelineModel, open_model
from gamecraft.evaluation.report import write_report
from gamecraft.evaluation.run import EvaluationSettings, evaluate, pictured
from gamecraft.evaluation.scoring import MAX_PSNR
from gamecraft.evaluation.suites import FIRST_SEED, SUITES, Suite, make_case
from gamecraft.evaluation.summary import summarise
from gamecraft.pipeline import GameCraftPipeline
from gamecraft.trajectory import integrate
from gamecraft.worlds.recorder import HELD_OUT_SEED
from tiny import CHUNK, SIZE

SMALL = {"chunk_frames": 5, "height": 32, "width": 48}


@pytest.fixture(autouse=True)
def small_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SUITES, "quick", Suite(name="quick", actions=("w", "right"), starts=2))


def report_of(model: str, folder: Path) -> dict[str, Any]:
    settings = EvaluationSettings(model=model, output=str(folder), chunks=2)
    return write_report(settings, evaluate(settings))


def means(report: dict[str, Any], row: str, metric: str) -> list[float]:
    return [point["mean"] for point in report["overall"][row][metric]]


def test_truth_is_perfect_and_freezing_is_not(tmp_path: Path) -> None:
    report = report_of("truth", tmp_path)
    assert means(report, "model", "psnr") == [MAX_PSNR] * 2
    assert means(report, "model", "ssim") == pytest.approx([1, 1])
    assert means(report, "model", "sharpness") == [1, 1]
    assert means(report, "model", "follows") == means(report, "truth", "follows") == [1, 1]
    assert means(report, "freeze", "follows") == [0, 0]
    assert means(report, "idle", "follows") == [0, 0]
    first, second = means(report, "freeze", "psnr")
    assert 10 < second < first < 40
    # Only what moves by itself tells an idle truth from a frozen one.
    assert means(report, "idle", "psnr") == pytest.approx(means(report, "freeze", "psnr"), abs=1)
    for name in ("report.json", "report.html", "curves.png", "actions.png", "strip.png"):
        assert (tmp_path / name).stat().st_size > 0
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64") == 3
    assert page.count("data:video/mp4;base64") == 2
    assert "http" not in page


def test_freezing_model_is_the_freeze_row(tmp_path: Path) -> None:
    report = report_of("freeze", tmp_path)
    assert report["overall"]["model"] == report["overall"]["freeze"] == report["overall"]["idle"]


def test_a_stopped_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = evaluate(EvaluationSettings(model="freeze", output=str(tmp_path / "whole"), chunks=1))
    settings = EvaluationSettings(model="freeze", output=str(tmp_path / "parts"), chunks=1)

    def stop_after_two(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(settings, stop_after_two)
    progress: list[tuple[int, int]] = []
    assert evaluate(settings, lambda done, total: progress.append((done, total))) == whole
    assert progress == [(2, 4), (3, 4), (4, 4)]
    monkeypatch.setattr("gamecraft.evaluation.run.open_model", lambda *_, **__: pytest.fail("everything is there"))
    assert evaluate(settings) == whole
    assert evaluate(EvaluationSettings(model="freeze", output=str(tmp_path / "parts"), chunks=1, starts=1)) == whole[:2]
    assert [job for job, _ in pictured(settings)] == [(0, "w"), (1, "right")]


def test_settings_of_the_sampler_do_not_share_results(tmp_path: Path) -> None:
    folders = {
        pictured(EvaluationSettings(model=model, output=str(tmp_path), steps=steps))[0][1].parent
        for model in ("truth", "freeze")
        for steps in (None, 4)
    }
    assert len(folders) == 4


@pytest.mark.parametrize("name", ["w", "up", "w+left"])
def test_cases_are_held_out_unblocked_and_repeatable(name: str) -> None:
    case = make_case(1, name, chunks=3, **SMALL)
    assert case.start.world_seed == FIRST_SEED + 1 > HELD_OUT_SEED
    assert case.frames.shape == (3, 5, 32, 48, 3)
    assert case.start.frames.shape == (5, 32, 48, 3)
    assert np.array_equal(case.start.poses[-1], case.start.state.pose())
    script = [action for action in case.actions for _ in range(5)]
    poses, _ = integrate(motion(script), case.start.state)
    assert case.poses.reshape(-1, 4, 4) == pytest.approx(poses, abs=1e-9)
    assert np.array_equal(make_case(1, name, chunks=3, **SMALL).frames, case.frames)


def test_looking_up_turns_back_in_time() -> None:
    actions = make_case(0, "up", chunks=12, **SMALL).actions
    keys = [next(iter(action.keys)) for action in actions]
    assert set(keys) == {Key.UP, Key.DOWN}


def test_ground_truth_goes_on_exactly_where_the_history_ends() -> None:
    case = make_case(0, "d", chunks=2, **SMALL)
    truth = GroundTruth(**SMALL)
    truth.start(case.start)
    assert all(np.array_equal(truth.step([a] * 5), f) for a, f in zip(case.actions, case.frames, strict=True))
    frozen = Freeze(**SMALL)
    frozen.start(case.start)
    assert np.array_equal(frozen.step([Action()] * 5), np.repeat(case.start.frames[-1:], 5, axis=0))


def test_our_pipeline_is_a_world_model(pipe: GameCraftPipeline) -> None:
    model = PipelineModel(pipe, steps=2)
    sizes = {"chunk_frames": CHUNK, "height": SIZE[0], "width": SIZE[1]}
    case = make_case(0, "left", chunks=2, **sizes)

    def play(player: Any) -> np.ndarray:
        player.start(case.start)
        return np.stack([player.step([action] * CHUNK) for action in case.actions])

    played = play(model)
    assert played.shape == case.frames.shape
    assert played.dtype == np.uint8
    assert np.array_equal(play(model), played)
    assert not np.array_equal(play(Idle(model)), played)
    model.start(case.start)
    assert np.array_equal(model.state.history.last_pose, case.start.poses[-1])
    assert model.reconstruct(case.frames[0]).shape == case.frames[0].shape


def test_a_model_folder_is_evaluated_with_its_autoencoder(model_folder: Path, tmp_path: Path) -> None:
    settings = EvaluationSettings(suite="vae", model=str(model_folder), output=str(tmp_path), chunks=1, starts=1)
    summary = summarise(evaluate(settings))
    assert list(summary["overall"]) == ["vae"]
    assert 0 < summary["overall"]["vae"]["psnr"][0]["mean"] < 60
    assert open_model("truth") == GroundTruth()


def test_summary_averages_actions_within_a_start() -> None:
    def result(start: int, action: str, psnr: float) -> dict[str, Any]:
        chunk = {"psnr": psnr, "ssim": 1.0, "sharpness": 1.0, "follows": 1.0, "motion": [0.5, 0, 0, 0, 0]}
        return {"start": start, "action": action, "commanded": [[0.0] * 5] * 3, "rows": {"model": [chunk] * 3}}

    summary = summarise([result(0, "w", 10), result(0, "s", 20), result(1, "w", 30), result(1, "s", 40)])
    assert summary["chunks"] == [1, 2, 3]
    assert summary["overall"]["model"]["psnr"][0] == {"mean": 25, "low": 15, "high": 35}
    assert summary["actions"]["w"]["model"]["psnr"][2] == {"mean": 20, "low": 10, "high": 30}
    assert summary["motion_error"]["model"] == {"right": 0.5, "down": 0, "forward": 0, "yaw": 0, "pitch": 0}


def test_marked_chunks() -> None:
    assert marked_chunks(8) == [1, 2, 4, 8]
    assert marked_chunks(1) == [1]
    assert marked_chunks(6) == [1, 2, 4, 6]


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    cli.add_parser(parser.add_subparsers())
    return parser.parse_args(["evaluate", *arguments])


def test_command_prints_the_table_and_the_place_of_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = parsed("--model", "truth", "--output", str(tmp_path), "--starts", "1", "--chunks", "1")
    assert arguments.handler(arguments) == 0
    shown = capsys.readouterr().out
    assert "action accuracy" in shown
    assert f"{tmp_path}/report.html" in shown
    assert json.loads((tmp_path / "report.json").read_text())["settings"]["model"] == "truth"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--starts", "0"), "starts is 0"),
        (("--guidance", "0.5"), "guidance is 0.5"),
        (("--model", "nowhere"), "nowhere"),
    ],
)
def test_bad_input_is_one_clear_error(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(GameCraftError, match=message):
        cli.run(parsed("--output", str(tmp_path), *arguments))
    with pytest.raises(InputError, match="unknown suite"):
        EvaluationSettings(suite="slow")


def test_too_long_a_walk_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gamecraft.evaluation.suites._ATTEMPTS", 3)
    with pytest.raises(InputError, match="ask for fewer chunks"):
        make_case(0, "w", chunks=100, **SMALL)
