"""Camera paths from elsewhere are judged like the built-in estimator's, under names of their own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gamecraft.errors import InputError
from gamecraft.evaluation.cases import Case, make_case
from gamecraft.evaluation.measures import seen_by
from gamecraft.evaluation.motion_estimator import METHOD
from gamecraft.evaluation.report import write_report
from gamecraft.evaluation.rows import Play
from gamecraft.evaluation.run import EvaluationSettings, evaluate
from gamecraft.evaluation.scoring import score
from gamecraft.evaluation.signals import Signal
from gamecraft.evaluation.suites import SUITES, Suite
from gamecraft.evaluation.trajectories import open_tracker
from gamecraft.evaluation.trajectory_error import Similarity
from gamecraft.intrinsics import Intrinsics
from gamecraft.trajectory import CameraState, Trajectory
from gamecraft.trajectory_io import write_trajectory

ELSEWHERE = Similarity(scale=0.2, rotation=CameraState(yaw=1.0, pitch=0.4).pose()[:3, :3], translation=np.ones(3))


@pytest.fixture(scope="module")
def case() -> Case:
    return make_case(3, "w+left", chunks=2, chunk_frames=9, height=96, width=160)


def true_poses(case: Case) -> np.ndarray:
    return np.concatenate([case.start.poses[-1:], case.poses.reshape(-1, 4, 4)])


def scores(case: Case, source: str, row: str = "model") -> dict[str, Any]:
    name, tracker = open_tracker(source)
    play = Play(frames=case.frames, seconds=[0.0] * len(case.frames), latency=0.0)
    metrics = score(case, play, ("motion",), row=row, trackers={name: tracker})["metrics"]
    return {key.partition(" [")[0]: values for key, values in metrics.items() if f"[{name}]" in key}


def exact(frames: np.ndarray, lens: Intrinsics) -> tuple[np.ndarray, float]:
    """A plug-in that knows the answer, up to a similarity."""
    assert lens == Intrinsics()
    return ELSEWHERE.apply(true_poses(make_case(3, "w+left", chunks=2, chunk_frames=9, height=96, width=160))), 1.0


def short(frames: np.ndarray, lens: Intrinsics) -> tuple[np.ndarray, float]:
    return np.tile(np.eye(4), (2, 1, 1)), 1.0


def still(frames: np.ndarray, lens: Intrinsics) -> tuple[np.ndarray, float]:
    return np.tile(np.eye(4), (len(frames), 1, 1)), 0.0


def test_files_are_compared_after_alignment(case: Case, tmp_path: Path) -> None:
    (tmp_path / "paths" / "model").mkdir(parents=True)
    file = tmp_path / "paths" / "model" / f"{case.start.name}.tum"
    write_trajectory(Trajectory(poses=ELSEWHERE.apply(true_poses(case))), file)
    source = str(tmp_path / "paths")
    assert open_tracker(source)[0] == "given: paths"
    found = scores(case, source)
    assert found["placed"] == [1, None]
    for name in ("rpe_translation", "rpe_rotation", "ate"):
        assert found[name] == pytest.approx([0, 0], abs=1e-5)
    assert scores(case, source, row="truth") == {
        "placed": [0, None], "rpe_translation": [None] * 2, "rpe_rotation": [None] * 2, "ate": [None] * 2
    }  # fmt: skip
    write_trajectory(Trajectory(poses=true_poses(case)[1:]), file)
    with pytest.raises(InputError, match=r"has 18 poses; expected 19: the last true frame's and one per frame"):
        scores(case, source)


def test_a_plug_in_is_asked_for_every_row(case: Case) -> None:
    found = scores(case, "test_trajectories:exact")
    assert found["ate"] == pytest.approx([0, 0], abs=1e-5)
    with pytest.raises(InputError, match="test_trajectories:short returned 2 poses; expected 19"):
        scores(case, "test_trajectories:short")


def test_a_suite_reports_every_source_under_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = Suite(name="quick", about="", signals={"w": Signal(keys="w")}, rows=("model", "truth"), groups=("motion",))
    monkeypatch.setitem(SUITES, "quick", suite)
    poses = ("test_trajectories:still",)
    settings = EvaluationSettings(model="truth", output=str(tmp_path), starts=1, chunks=1, poses=poses)
    report = write_report(settings, evaluate(settings))
    for row in ("model", "truth"):
        scores = report["overall"][row]
        assert scores["rpe_translation [test_trajectories:still]"][0]["mean"] == pytest.approx(0.6)
        assert scores[seen_by("rpe_translation", METHOD)][0]["mean"] < 0.2
    assert "RPE translation [test_trajectories:still], m per 3 frames" in (tmp_path / "report.html").read_text()


def test_the_built_in_estimator_stays_beside_them(case: Case) -> None:
    name, tracker = open_tracker("test_trajectories:exact")
    play = Play(frames=case.frames, seconds=[0.0] * 2, latency=0.0)
    both = score(case, play, ("motion",), trackers={name: tracker})["metrics"]
    alone = score(case, play, ("motion",))["metrics"]
    assert {key: both[key] for key in alone} == alone
    assert seen_by("ate", name) in both


def test_colmap_finds_the_path_of_true_frames_and_none_in_a_flat_picture() -> None:
    pytest.importorskip("pycolmap")
    found = scores(make_case(4, "d", chunks=3, chunk_frames=9, height=96, width=160), "colmap")
    assert found["placed"] == [1, None, None]
    assert max(found["rpe_translation"]) < 0.06  # of 0.6 m
    assert max(found["rpe_rotation"]) < 0.5
    flat = np.full((19, 96, 160, 3), 90, dtype=np.uint8)
    assert open_tracker("colmap")[1]("case", "model", flat) is None
