"""A suite gives a perfect model perfect scores, the baselines what they deserve, and goes on where it was stopped."""

import argparse
import dataclasses
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from gamecraft.actions import Action, Key, actions_from_json, motion
from gamecraft.errors import GameCraftError, InputError
from gamecraft.evaluation import cli
from gamecraft.evaluation.cases import FIRST_SEED, case_name, make_case
from gamecraft.evaluation.comparison import compare_reports
from gamecraft.evaluation.measures import metric_named, seen_by
from gamecraft.evaluation.metrics import sharpness
from gamecraft.evaluation.models import Forgetful, Freeze, GroundTruth, Idle, Start, Warp
from gamecraft.evaluation.motion_estimator import METHOD
from gamecraft.evaluation.pictures import marked_chunks
from gamecraft.evaluation.pipeline_model import PipelineModel, open_model
from gamecraft.evaluation.report import write_report
from gamecraft.evaluation.rows import Play, make_rows
from gamecraft.evaluation.run import EvaluationSettings, evaluate, pictured
from gamecraft.evaluation.scoring import MAX_PSNR, score
from gamecraft.evaluation.signals import Signal, held
from gamecraft.evaluation.softening import soften
from gamecraft.evaluation.suites import SUITES, Suite
from gamecraft.evaluation.summary import summarise
from gamecraft.evaluation.video_folder import VideoFolder
from gamecraft.pipeline import GameCraftPipeline
from gamecraft.trajectory import integrate
from gamecraft.worlds.recorder import HELD_OUT_SEED
from tiny import CHUNK, SIZE

SMALL = {"chunk_frames": 5, "height": 32, "width": 48}
ROWS = ("model", "idle", "freeze", "warp", "vae", "soft", "truth")
FOLLOWS, ATE = seen_by("follows", METHOD), seen_by("ate", METHOD)


@pytest.fixture(autouse=True)
def small_suites(monkeypatch: pytest.MonkeyPatch) -> None:
    def signals(*names: str) -> dict[str, Signal]:
        return {name: Signal(keys=name) for name in names}

    small = [
        Suite(name="quick", about="", signals=signals("w", "right"), rows=ROWS, starts=2, chunks=2),
        Suite(name="full", about="", signals=signals("w"), rows=("model",), groups=("pictures",), starts=6, chunks=1),
    ]
    for suite in small:
        monkeypatch.setitem(SUITES, suite.name, suite)


def report_of(model: str, folder: Path) -> dict[str, Any]:
    settings = EvaluationSettings(model=model, output=str(folder))
    return write_report(settings, evaluate(settings))


def means(report: dict[str, Any], row: str, metric: str) -> list[float]:
    return [point["mean"] for point in report["overall"][row][metric]]


def test_truth_is_perfect_and_the_baselines_are_not(tmp_path: Path) -> None:
    report = report_of("truth", tmp_path)
    assert means(report, "model", "psnr") == [MAX_PSNR] * 2
    assert means(report, "model", "ssim") == pytest.approx([1, 1])
    assert means(report, "model", "sharpness") == [1, 1]
    assert means(report, "soft", "psnr") == [MAX_PSNR] * 2  # nothing is as soft as the truth but the truth
    assert means(report, "model", FOLLOWS) == means(report, "truth", FOLLOWS) == [1, 1]
    assert report["overall"]["model"][ATE] == report["overall"]["truth"][ATE]
    assert means(report, "freeze", FOLLOWS) == [0, 0]
    assert means(report, "freeze", "dynamic") == [0, 0]
    assert means(report, "freeze", "consistency") == [1, 1]
    # Turning is the only one of the two actions that a turned picture follows.
    assert means(report, "warp", FOLLOWS) == [0.5, 0.5]
    first, second = means(report, "freeze", "psnr")
    assert 10 < second < first < 40
    assert means(report, "warp", "psnr")[0] > first
    # Only what moves by itself tells an idle truth from a frozen one.
    assert means(report, "idle", "psnr") == pytest.approx(means(report, "freeze", "psnr"), abs=1)
    for name in ("report.json", "report.html", "curves.png", "actions.png", "strip.png"):
        assert (tmp_path / name).stat().st_size > 0
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64") == 2 + 2
    assert page.count("data:video/mp4;base64") == 2 + 3 + 3
    assert "http" not in page
    assert any(line.startswith("FVD") for line in report["missing"])


def test_intervals_cover_the_change_of_seed(tmp_path: Path) -> None:
    reports = []
    for seed in range(3):
        settings = EvaluationSettings(suite="full", model="freeze", output=str(tmp_path), seed=seed)
        reports.append({"settings": dataclasses.asdict(settings), **summarise(evaluate(settings))})
    points = [report["rollout"]["model"]["psnr"] for report in reports]
    assert len({point["mean"] for point in points}) == 3
    for first, second in itertools.combinations(range(3), 2):
        found, how = compare_reports(reports[first], reports[second])
        assert not any(difference.significant for difference in found)
        assert "not paired" in how
        assert points[first]["low"] <= points[second]["high"]
        assert points[second]["low"] <= points[first]["high"]


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
    assert evaluate(dataclasses.replace(settings, starts=1)) == whole[:2]
    assert [job for job, _ in pictured(settings)] == [(0, "w"), (1, "right")]


def test_a_case_that_crashes_halfway_is_played_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = evaluate(EvaluationSettings(suite="full", model="freeze", output=str(tmp_path / "whole"), starts=2))
    settings = EvaluationSettings(suite="full", model="freeze", output=str(tmp_path / "parts"), starts=2)

    def full_disk(*_: Any) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr("gamecraft.evaluation.run.save_side_by_side", full_disk)
        with pytest.raises(OSError, match="no space left"):
            evaluate(settings)
    strip = pictured(settings)[0][1]
    assert strip.exists()
    assert not strip.with_suffix(".json").exists()
    assert evaluate(settings) == whole


def test_a_model_folder_may_change_under_a_running_suite(
    model_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    settings = EvaluationSettings(suite="vae", model=str(folder), output=str(tmp_path / "out"), chunks=1, starts=1)

    def change(done: int, total: int) -> None:
        if done == 1:
            (folder / "notes.txt").write_text("new weights")

    results = evaluate(settings, change)
    assert "changed while it was measured" in caplog.text
    assert write_report(settings, results)["overall"]["vae"]["psnr"][0]["mean"] > 0
    again = EvaluationSettings(suite="vae", model=str(folder), output=str(tmp_path / "out"), chunks=1, starts=1)
    assert pictured(again)[0][1].parent != pictured(settings)[0][1].parent
    (folder / "notes.txt").write_text("newer weights")
    with pytest.raises(GameCraftError, match="changed meanwhile; start again"):
        evaluate(again)


def test_settings_of_the_sampler_do_not_share_results(tmp_path: Path) -> None:
    folders = {
        pictured(EvaluationSettings(model=model, output=str(tmp_path), steps=steps, seed=seed))[0][1].parent
        for model in ("truth", "freeze")
        for steps in (None, 4)
        for seed in (0, 1)
    }
    assert len(folders) == 8


@pytest.mark.parametrize("name", ["w", "up", "w+left"])
def test_cases_are_held_out_unblocked_and_repeatable(name: str) -> None:
    case = make_case(1, name, chunks=3, **SMALL)
    assert case.start.world_seed == FIRST_SEED + 1 > HELD_OUT_SEED
    assert case.frames.shape == (3, 5, 32, 48, 3)
    assert case.start.frames.shape == (5, 32, 48, 3)
    assert np.array_equal(case.start.poses[-1], case.start.state.pose())
    poses, _ = integrate(motion([action for chunk in case.actions for action in chunk]), case.start.state)
    assert case.poses.reshape(-1, 4, 4) == pytest.approx(poses, abs=1e-9)
    assert np.array_equal(make_case(1, name, chunks=3, **SMALL).frames, case.frames)


def test_signals_hold_turn_back_and_alternate() -> None:
    tilting = Signal(keys="up").schedule(12, 5, 0.0)
    assert {next(iter(action.keys)) for action in tilting} == {Key.UP, Key.DOWN}
    there = Signal(keys="right", then="left").schedule(4, 5, 0.0)
    assert [next(iter(action.keys)) for action in there] == [Key.RIGHT, Key.RIGHT, Key.LEFT, Key.LEFT]
    pacing = Signal(keys="w", then="", every=1).schedule(3, 5, 0.0)
    assert [len(action.keys) for action in pacing] == [1, 0, 1]
    assert held("w+left").keys == {Key.W, Key.LEFT}
    assert case_name(3, "w+left to idle") == "start003-w_left-to-idle"


def test_a_history_of_its_own_is_held() -> None:
    case = make_case(0, "w to s", chunks=1, signal=Signal(keys="s", history="w"), **SMALL)
    steps = np.diff(case.start.poses[:, :3, 3], axis=0)
    assert np.linalg.norm(steps, axis=1) == pytest.approx(0.2)
    assert case.poses[0, 0, :3, 3] == pytest.approx(case.start.poses[-2, :3, 3])


def test_the_way_back_is_compared_with_the_way_there() -> None:
    case = make_case(0, "turn", chunks=4, signal=Signal(keys="right", then="left"), **SMALL)
    assert case.poses[-1, -1] == pytest.approx(case.start.poses[-1])

    def revisits(frames: np.ndarray) -> list[float | None]:
        play = Play(frames=frames, seconds=[0.0] * 4, latency=0.0)
        return score(case, play, ("revisit",))["metrics"]["revisit"]

    there = np.random.default_rng(0).integers(0, 256, (10, 32, 48, 3), dtype=np.uint8)
    back = np.concatenate([there[:9][::-1], case.start.frames[-1:]])
    remembered = np.concatenate([there, back]).reshape(4, 5, 32, 48, 3)
    assert revisits(remembered) == [None, None, MAX_PSNR, MAX_PSNR]
    other = np.random.default_rng(1).integers(0, 256, there.shape, dtype=np.uint8)
    assert max(revisits(np.concatenate([there, other]).reshape(4, 5, 32, 48, 3))[2:]) < 15
    with pytest.raises(InputError, match="no middle"):
        make_case(0, "turn", chunks=3, signal=Signal(keys="right", then="left"), **SMALL)


def test_ground_truth_goes_on_exactly_where_the_history_ends() -> None:
    case = make_case(0, "d", chunks=2, **SMALL)
    truth = GroundTruth(**SMALL)
    truth.start(case.start)
    assert all(np.array_equal(truth.step(a), f) for a, f in zip(case.actions, case.frames, strict=True))
    frozen = Freeze(**SMALL)
    frozen.start(case.start)
    assert np.array_equal(frozen.step([Action()] * 5), np.repeat(case.start.frames[-1:], 5, axis=0))
    with pytest.raises(InputError, match="no rendered world"):
        truth.start(dataclasses.replace(case.start, world_seed=None))


def test_a_model_without_history_starts_anew_where_it_stands() -> None:
    case = make_case(0, "w+left", chunks=2, **SMALL)
    # The truth needs no memory: without it it is the same.
    play = make_rows(("memoryless",), GroundTruth(**SMALL))["memoryless"](case, {})
    assert play is not None
    assert np.array_equal(play.frames, case.frames)
    starts: list[Start] = []

    class Watched(Freeze):
        def start(self, start: Start) -> None:
            starts.append(start)
            super().start(start)

    forgetful = Forgetful(Watched(**SMALL))
    forgetful.start(case.start)
    for actions in case.actions:
        forgetful.step(actions)
    assert [len(start.frames) for start in starts] == [1, 1]
    assert starts[1].poses[0] == pytest.approx(case.poses[0, -1])
    assert starts[1].state.pose() == pytest.approx(case.poses[0, -1])
    assert starts[0].seed != starts[1].seed


def test_soft_truth_is_as_soft_as_the_model() -> None:
    case = make_case(1, "d", chunks=2, **SMALL)

    class Blurred(GroundTruth):
        def step(self, actions: Any) -> Any:
            return np.stack([cv2.blur(frame, (5, 5)) for frame in super().step(actions)])

    rows = make_rows(("model", "soft"), Blurred(**SMALL))
    model = rows["model"](case, {})
    assert model is not None
    soft = rows["soft"](case, {"model": model})
    assert soft is not None
    for true, shown, softened in zip(case.frames, model.frames, soft.frames, strict=True):
        assert sharpness(true, softened) == pytest.approx(sharpness(true, shown), rel=0.15)
    assert np.array_equal(soften(case.frames[0], 1.2), case.frames[0])


def test_videos_from_elsewhere_are_asked_nothing_else(tmp_path: Path) -> None:
    assert list(make_rows(ROWS, VideoFolder(folder=tmp_path))) == ["model", "freeze", "warp", "soft", "truth"]


def test_errors_per_frame_are_those_of_single_frames() -> None:
    case = make_case(3, "w", chunks=2, chunk_frames=9, height=96, width=160)
    names = [seen_by(name, METHOD) for name in ("rpe_translation_1", "rpe_rotation_1")]

    def errors(frames: np.ndarray) -> list[list[float]]:
        metrics = score(case, Play(frames=frames, seconds=[0.0] * 2, latency=0.0), ("frames",))["metrics"]
        return [metrics[name] for name in names]

    still = np.broadcast_to(case.start.frames[-1], case.frames.shape)
    assert np.ravel(errors(still)) == pytest.approx([0.2, 0.2, 0, 0], abs=1e-9)  # a frozen picture does not walk
    metres, degrees = errors(case.frames)
    assert max(metres) < 0.1
    assert max(degrees) < 0.5


def test_metrics_are_named_after_their_estimator() -> None:
    assert metric_named(seen_by("ate", "colmap 4")).label == "ATE [colmap 4], m"
    assert metric_named("psnr").label == "PSNR, dB"
    assert metric_named("pyiqa:niqe").label == "pyiqa:niqe"


def test_warping_turns_and_stands() -> None:
    case = make_case(2, "right", chunks=1, chunk_frames=5, height=96, width=160)
    warp = Warp()
    warp.start(case.start)
    assert np.array_equal(warp.step([Action()])[0], case.start.frames[-1])
    warp.start(case.start)
    turned, true = warp.step(case.actions[0])[-1], case.frames[0, -1]
    seen = slice(0, 120)  # 10 degrees to the right bring in new things there
    still = np.abs(case.start.frames[-1][:, seen].astype(int) - true[:, seen]).mean()
    assert np.abs(turned[:, seen].astype(int) - true[:, seen]).mean() < still / 3


class Broken(Freeze):
    def step(self, actions: Any) -> Any:
        return super().step(actions)[:-1]


def test_a_model_that_returns_the_wrong_shape_is_told_so() -> None:
    case = make_case(0, "w", chunks=1, **SMALL)
    with pytest.raises(InputError, match=r"uint8 of shape \[4, 32, 48, 3\]; expected uint8 \[5, 32, 48, 3\]"):
        make_rows(("model",), Broken(**SMALL))["model"](case, {})


def test_a_class_of_a_module_is_a_model() -> None:
    assert isinstance(open_model("gamecraft.evaluation.models:Freeze"), Freeze)
    with pytest.raises(InputError, match="no model at nowhere:Freeze"):
        open_model("nowhere:Freeze")
    with pytest.raises(InputError, match="has no chunk_frames"):
        open_model("pathlib:Path")


def test_our_pipeline_is_a_world_model(pipe: GameCraftPipeline) -> None:
    model = PipelineModel(pipe, steps=2)
    sizes = {"chunk_frames": CHUNK, "height": SIZE[0], "width": SIZE[1]}
    case = make_case(0, "left", chunks=2, **sizes)

    def play(player: Any) -> np.ndarray:
        player.start(case.start)
        return np.stack([player.step(actions) for actions in case.actions])

    played = play(model)
    assert played.shape == case.frames.shape
    assert played.dtype == np.uint8
    assert np.array_equal(play(model), played)
    assert not np.array_equal(play(Idle(model)), played)
    model.start(case.start)
    assert np.array_equal(model.state.history.last_pose, case.start.poses[-1])
    assert model.reconstruct(case.frames[0]).shape == case.frames[0].shape


def test_a_model_folder_is_evaluated_with_its_autoencoder_and_timed(model_folder: Path, tmp_path: Path) -> None:
    settings = EvaluationSettings(suite="vae", model=str(model_folder), output=str(tmp_path), chunks=1, starts=1)
    summary = summarise(evaluate(settings))
    assert list(summary["overall"]) == ["vae"]
    assert 0 < summary["overall"]["vae"]["psnr"][0]["mean"] < 60
    timed = EvaluationSettings(suite="speed", model=str(model_folder), output=str(tmp_path), chunks=2)
    scores = summarise(evaluate(timed))["overall"]["model"]
    assert scores["latency"][0]["mean"] >= scores["seconds"][0]["mean"] > 0
    assert scores["latency"][1] is None
    with pytest.raises(InputError, match="does not have"):
        evaluate(EvaluationSettings(suite="vae", model="freeze", output=str(tmp_path), starts=1))


def result(start: int, action: str, psnr: float, features: list[float] | None = None) -> dict[str, Any]:
    errors = {seen_by(name, METHOD): [0.6] * 3 for name in ("rpe_translation", "rpe_rotation")}
    metrics = {"psnr": [psnr] * 3, "gain": [psnr, None, None]}
    row = {"metrics": metrics | errors, "motion": [[0.5, 0, 0, 0, 0.1]] * 3}
    own = {name: [0.05] * 3 for name in errors}
    truth = {"metrics": metrics | own, "motion": [[0.05, 0, 0, 0, 0.25]] * 3}
    scores = {
        "start": start,
        "action": action,
        "commanded": [[0.0, 0, 0, 0, 0.3]] * 3,
        "rows": {"model": row, "truth": truth},
    }
    if features is not None:
        scores["features"] = {"test": {"model": features, "truth": [0.0, 0.0]}}
    return scores


def test_summary_averages_actions_within_a_start() -> None:
    summary = summarise([result(0, "w", 10), result(0, "s", 20), result(1, "w", 30), result(1, "s", 40)])
    assert summary["chunks"] == [1, 2, 3]
    expected = {"mean": 25, "low": 15, "high": 35}
    assert summary["overall"]["model"]["psnr"][0] == summary["rollout"]["model"]["psnr"] == expected
    assert summary["overall"]["model"]["gain"] == [expected, None, None]
    assert summary["actions"]["w"]["model"]["psnr"][2] == {"mean": 20, "low": 10, "high": 30}
    assert summary["motion_error"]["model"] == {
        "right": 0.5,
        "down": 0,
        "forward": 0,
        "yaw": 0,
        "pitch": pytest.approx(0.2),
    }
    assert summary["per_start"]["gain"] == {"rollout": [15, 35], "last chunk": [None, None]}
    # Only pitch was commanded: the model is wrong by 0.2, the estimator itself by 0.05.
    relative = {seen_by(name, METHOD): pytest.approx(12) for name in ("rpe_translation", "rpe_rotation")}
    assert summary["estimator"] == {"truth": {"pitch": pytest.approx(4)} | relative}


def test_features_become_a_distance_named_after_their_extractor() -> None:
    summary = summarise([result(0, "w", 1, [1.0, 2.0]), result(1, "w", 1, [1.0, 2.0])])
    assert summary["distances"] == {"FVD [test, 2 rollouts]": {"model": pytest.approx(5)}}
    assert summarise([result(0, "w", 1)])["distances"] == {}


def test_marked_chunks() -> None:
    assert marked_chunks(8) == [1, 2, 4, 8]
    assert marked_chunks(1) == [1]
    assert marked_chunks(6) == [1, 2, 4, 6]


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    return parser.parse_args(arguments)


def test_command_exports_starts_and_scores_videos_made_from_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    starts, output = tmp_path / "starts", tmp_path / "report"
    suite = ("--suite", "full", "--starts", "2")
    assert cli.run(parsed(*suite, "--export", str(starts))) == 0
    record = json.loads((starts / "start001-w.json").read_text())
    assert actions_from_json(json.dumps(record["actions"])) == [held("w")] * 9
    away = np.linalg.norm(np.array(record["poses"])[:, :3, 3], axis=1)
    assert away == pytest.approx(0.2 * np.arange(1, 10), abs=1e-4)
    for name in ("start000-w", "start001-w"):
        (starts / f"{name}.history.mp4").rename(starts / f"{name}.mp4")  # as good as any video of nine frames
    assert cli.run(parsed(*suite, "--model", f"videos:{starts}", "--output", str(output))) == 0
    shown = capsys.readouterr().out
    assert "PSNR" in shown
    assert "not computed: FVD" in shown
    assert f"{output}/report.html" in shown
    assert json.loads((output / "report.json").read_text())["settings"]["model"] == f"videos:{starts}"
    with pytest.raises(InputError, match=r"start000-w.mp4 has 9 frames, the rollout needs at least 18"):
        cli.run(parsed(*suite, "--chunks", "2", "--model", f"videos:{starts}", "--output", str(output)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--starts", "0"), "starts is 0"),
        (("--guidance", "0.5"), "guidance is 0.5"),
        (("--seed", "-1"), "seed is -1"),
        (("--model", "nowhere"), "nowhere"),
        (("--model", "videos:nowhere"), "no folder of videos"),
        (("--suite", "speed", "--processes", "2"), "one process"),
        (("--suite", "play"), "belong together"),
        (("--data", "nowhere"), "nowhere is no folder"),
        (("--poses", "nowhere", "--model", "freeze"), "neither colmap nor MODULE:FUNCTION nor a folder"),
        (("--poses", "nowhere:f", "--model", "freeze"), "plug-in nowhere:f does not load"),
        (("--suite", "speed", "--poses", "colmap"), "looks at no camera path"),
        (("--i3d", "nowhere.pt", "--model", "freeze"), "nowhere.pt: no such file"),
        (("--lpips", "nowhere", "--model", "freeze"), "no weights of AlexNet"),
        (("--aesthetic", "nowhere", "--model", "freeze"), "no aesthetic head"),
    ],
)
def test_bad_input_is_one_clear_error(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(GameCraftError, match=message):
        cli.run(parsed("--output", str(tmp_path), *arguments))
    with pytest.raises(InputError, match="unknown suite"):
        EvaluationSettings(suite="slow")


def test_too_long_a_walk_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gamecraft.evaluation.cases._ATTEMPTS", 3)
    with pytest.raises(InputError, match="ask for fewer chunks"):
        make_case(0, "w", chunks=100, **SMALL)


def test_a_start_has_a_name_for_its_video() -> None:
    start: Start = make_case(7, "w+left", chunks=1, **SMALL).start
    assert start.name == "start007-w_left"
