"""Raw recordings: their files, their truth, and what a person brings."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from curation_material import LENS, pan, write_raw
from gamecraft.cli import main
from gamecraft.curation.input_log import read_inputs
from gamecraft.curation.raw import About, inputs_path, read_about, truth_path
from gamecraft.curation.record import RecordSettings, record_doom, record_world
from gamecraft.errors import InputError
from gamecraft.trajectory_io import read_trajectory
from gamecraft.video import read_video
from gamecraft.worlds.doom import DoomWorld


def test_a_recording_keeps_its_truth_apart(tmp_path: Path) -> None:
    video = write_raw(tmp_path, "clip", pan(1, 6))
    assert read_about(video) == About(game="Test", place="clip", intrinsics=LENS)
    trajectory = read_trajectory(truth_path(video, "trajectory"))
    assert len(trajectory.poses) == 6
    np.testing.assert_allclose(trajectory.intrinsics[0], [LENS.fx, LENS.fy, 0.5, 0.5])
    assert read_inputs(inputs_path(video)).held(np.array([0.0, 0.1])) == [frozenset(), {"w"}]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.inputs.csv", "clip.json", "clip.mp4", "truth"]


def test_nothing_known_is_no_error_and_nonsense_is(tmp_path: Path) -> None:
    assert read_about(tmp_path / "a.mp4") == About()
    for text in ("[1]", "{", '{"intrinsics": {"fx": -1}}', '{"intrinsics": 7}'):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(InputError):
            read_about(tmp_path / "a.mp4")


def test_worlds_are_recorded_with_exact_poses(tmp_path: Path) -> None:
    settings = RecordSettings(seconds=1, width=160, height=90)
    seen: list[int] = []
    video = record_world(tmp_path, 5, "village", settings, seen.append)
    frames, fps = read_video(video)
    assert frames.shape == (24, 90, 160, 3)
    assert fps == 24
    assert seen[-1] == 24
    assert len(read_trajectory(truth_path(video, "trajectory")).poses) == 24
    assert len(read_about(video).description) > 100
    stamp = video.stat().st_mtime_ns
    assert record_world(tmp_path, 5, "village", settings) == video
    assert video.stat().st_mtime_ns == stamp


def test_doom_shows_what_its_pose_says(tmp_path: Path) -> None:
    pytest.importorskip("vizdoom")
    video = record_doom(tmp_path, "freedoom1/e1m1", RecordSettings(seconds=1, width=320, height=180))
    frames, _ = read_video(video)
    poses = read_trajectory(truth_path(video, "trajectory")).poses
    assert frames.shape == (24, 180, 320, 3)
    assert len(poses) == 24
    moved = np.abs(np.diff(poses, axis=0)).max(axis=(1, 2)) > 1e-6
    changed = np.abs(np.diff(frames.astype(int), axis=0)).mean(axis=(1, 2, 3)) > 1
    assert moved.any()
    np.testing.assert_array_equal(moved, changed)
    assert json.loads(truth_path(video, "events").read_text())[0]["place"] == "freedoom1/e1m1"


def test_doom_leaves_nothing_where_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("vizdoom")
    monkeypatch.chdir(tmp_path)
    with DoomWorld("freedoom2/map11", width=320, height=180) as world:  # a map of which the engine would cache a part
        world.reset()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_doom_does_not_outlive_a_recording_that_is_killed(end: signal.Signals, tmp_path: Path) -> None:
    pytest.importorskip("vizdoom")
    words = ["record", "--doom", "freedoom1/e1m1", "--seconds", "600", "--width", "320", "--height", "180"]
    command = [sys.executable, "-m", "gamecraft", *words, "--output", str(tmp_path)]
    recording = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: any(tmp_path.glob(".*.tmp")))
    children = psutil.Process(recording.pid).children(recursive=True)
    recording.send_signal(end)
    recording.wait()
    _, left = psutil.wait_procs(children, timeout=20)
    for process in left:
        process.kill()
    assert not left


def wait_until(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Wait for something that takes a while."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def test_imports_are_checked_and_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = write_raw(tmp_path / "mine", "session", pan(1, 6))
    log = inputs_path(video)
    words = ["record", "--import", str(video), "--inputs", str(log), "--output", str(tmp_path / "raw")]
    assert main(words) == 0
    copy = tmp_path / "raw" / "session.mp4"
    assert copy.read_bytes() == video.read_bytes()
    assert inputs_path(copy).read_bytes() == log.read_bytes()
    (tmp_path / "text.mp4").write_text("not a video")
    assert main(["record", "--import", str(tmp_path / "text.mp4"), "--output", str(tmp_path / "raw")]) == 2
    assert "cannot be read as a video" in capsys.readouterr().err
    assert main(["record", "--world", "1", "--inputs", str(log), "--output", str(tmp_path)]) == 2
    assert "--inputs belongs to" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--seconds", "0"], ["--fps", "1000"], ["--width", "1"]])
def test_impossible_recordings_are_refused(
    wrong: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["record", "--world", "1", "--output", str(tmp_path), *wrong]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_inspect_shows_a_clip(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from gamecraft.worlds.recorder import RecordConfig, record_dataset

    small = {"worlds": 1, "clips_per_world": 1, "frames": 9, "height": 48, "width": 80}
    record_dataset(RecordConfig(output=str(tmp_path / "data"), **small))
    assert main(["inspect", str(tmp_path / "data"), "0", "--output", str(tmp_path / "out")]) == 0
    text = capsys.readouterr().out
    for word in ("9 frames 80x48", "short", "long", "actions"):
        assert word in text
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["clip000000.png", "clip000000_path.png"]
    assert main(["inspect", str(tmp_path / "data"), "7"]) == 2
    assert "there is no clip 7" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "rerun", None)
    assert main(["inspect", str(tmp_path / "data"), "0", "--output", str(tmp_path / "out"), "--rerun"]) == 2
    assert "pip install 'rerun-sdk" in capsys.readouterr().err
