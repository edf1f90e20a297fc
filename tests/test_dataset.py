"""Datasets of clips: written whole, read back, resumed by shard."""

import json
from pathlib import Path

import numpy as np
import pytest

from gamecraft.actions import actions_from_json, motion
from gamecraft.dataset import ClipDataset, ClipWriter
from gamecraft.errors import InputError
from gamecraft.trajectory import CameraState, integrate
from gamecraft.worlds.recorder import RecordConfig, record_dataset

SMALL = {"worlds": 2, "clips_per_world": 2, "worlds_per_shard": 1, "frames": 9, "height": 48, "width": 80}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dataset") / "clips"
    record_dataset(RecordConfig(output=str(path), **SMALL))
    return path


def test_clips_come_back_with_their_annotation(folder: Path) -> None:
    dataset = ClipDataset(folder)
    assert len(dataset) == 4
    assert (dataset.fps, dataset.height, dataset.width) == (24, 48, 80)
    for clip in dataset:
        assert clip.frames().shape == (9, 48, 80, 3)
        assert clip.poses.shape == (9, 4, 4)
        assert len(actions_from_json(clip.actions_json)) == 9
        assert clip.caption_short
        assert len(clip.caption_long) > 100


def test_actions_explain_poses_unless_something_was_in_the_way(folder: Path) -> None:
    explained = 0
    for clip in ClipDataset(folder):
        actions = actions_from_json(clip.actions_json)
        poses, _ = integrate(motion(actions[1:]), CameraState.from_pose(clip.poses[0]))
        explained += np.allclose(poses, clip.poses[1:], atol=1e-9)
    assert explained >= 2


def test_recording_resumes_with_the_missing_shard_and_gives_the_same(folder: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    record_dataset(RecordConfig(output=str(again), **SMALL), part=(1, 2))
    assert [p.name for p in sorted((again / "shards").iterdir())] == ["00001"]
    record_dataset(RecordConfig(output=str(again), **SMALL))
    for first, second in zip(ClipDataset(folder), ClipDataset(again), strict=True):
        np.testing.assert_array_equal(first.frames(), second.frames())
        np.testing.assert_array_equal(first.poses, second.poses)


def test_unfinished_shards_are_not_read(folder: Path) -> None:
    leftover = folder / "shards" / "00009.tmp123"
    leftover.mkdir()
    (leftover / "manifest.parquet").write_bytes(b"half")
    assert len(ClipDataset(folder)) == 4


def test_bad_folders_are_named(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(InputError, match=r"no index\.json"):
        ClipDataset(tmp_path)
    with pytest.raises(InputError, match="other settings"):
        ClipWriter(folder, fps=25, height=48, width=80)
    index = json.loads((folder / "index.json").read_text())
    (tmp_path / "index.json").write_text(json.dumps({**index, "format_version": 99}))
    with pytest.raises(InputError, match="version 99"):
        ClipDataset(tmp_path)


def test_training_and_held_out_seeds_never_mix(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="mix"):
        RecordConfig(output=str(tmp_path), first_seed=999_999, worlds=5)


def test_keys_cannot_be_held_for_less_than_a_segment(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="longest is 4"):
        RecordConfig(output=str(tmp_path), longest=4)
