"""The published action lists and pose files give the published numbers (recorded in goldens/camera.*)."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from gamecraft.errors import ActionError, InputError
from gamecraft.published import (
    PublishedAction,
    chunk_trajectory,
    parse_action_list,
    published_poses,
    published_rays,
    select_rows,
)
from gamecraft.trajectory import Trajectory
from gamecraft.trajectory_io import read_trajectory

GOLDENS = Path(__file__).parent / "goldens"
INFO = json.loads((GOLDENS / "camera.json").read_text())
SHOWN = [0, 1, 16, 32]


@pytest.fixture(scope="module")
def recorded() -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = load_file(GOLDENS / "camera.safetensors")
    return tensors


def check_rows(trajectory: Trajectory, rows: Tensor) -> None:
    """``rows`` are index, intrinsics, two zeros and the world-to-camera matrix."""
    np.testing.assert_allclose(trajectory.intrinsics, rows[:, 1:5])
    w2c = np.linalg.inv(trajectory.poses)[:, :3].reshape(-1, 12)
    np.testing.assert_allclose(w2c, rows[:, 7:], atol=1e-15)


@pytest.mark.parametrize("case", INFO["cases"], ids=lambda case: f"{case['action']}@{case['speed']}")
def test_every_action_at_every_speed(case: dict[str, Any], recorded: dict[str, Tensor]) -> None:
    whole = chunk_trajectory(PublishedAction(name=case["action"], speed=case["speed"]))
    assert len(whole.poses) == 34
    rows = [0, 1, 2, 16, 33]
    check_rows(Trajectory(poses=whole.poses[rows]), recorded[f"{case['id']}.rows"])
    shown = select_rows(whole)
    relative = torch.from_numpy(published_poses(shown.poses)[SHOWN]).float()
    torch.testing.assert_close(relative, recorded[f"{case['id']}.poses"], atol=2e-6, rtol=1e-5)
    rays = published_rays(shown, 16, 24)[SHOWN, :, ::5, ::7]
    torch.testing.assert_close(rays, recorded[f"{case['id']}.rays"], atol=2e-6, rtol=1e-5)


def test_the_default_speed_and_other_lengths(recorded: dict[str, Tensor]) -> None:
    check_rows(chunk_trajectory(PublishedAction(name="w")), recorded["default_w.rows"])
    check_rows(
        chunk_trajectory(PublishedAction(name="left_rot", speed=20), frames=10), recorded["duration10_left_rot.rows"]
    )


def test_all_frames_of_a_turn(recorded: dict[str, Tensor]) -> None:
    shown = select_rows(chunk_trajectory(PublishedAction(name="left_rot", speed=30)))
    torch.testing.assert_close(
        published_rays(shown, 32, 48)[:, :, ::11, ::15], recorded["left_rot_30"], atol=2e-6, rtol=1e-5
    )


@pytest.mark.parametrize(("name", "speed"), [("w", 0.2), ("right_rot", 30)])
def test_the_published_picture_size(name: str, speed: float, recorded: dict[str, Tensor]) -> None:
    poses = chunk_trajectory(PublishedAction(name=name, speed=speed)).poses[[0, 17, 32]]
    rays = published_rays(Trajectory(poses=poses), 704, 1216)[1:, :, 5::128, 7::128]
    torch.testing.assert_close(rays, recorded[f"large.{name}"], atol=2e-6, rtol=1e-5)


def test_the_unconditional_camera_is_at_rest(recorded: dict[str, Tensor]) -> None:
    rays = published_rays(Trajectory(poses=np.eye(4)[None]), 16, 24)[:, :, ::5, ::7]
    torch.testing.assert_close(rays, recorded["uncond"], atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("name", list(INFO["files"]))
def test_pose_files(name: str, recorded: dict[str, Tensor]) -> None:
    case = INFO["files"][name]
    trajectory = read_trajectory(GOLDENS / "camera_pose_file.txt")
    shown = select_rows(trajectory, case["frames"], case["start"], case["step"])
    rays = published_rays(shown, 16, 24, case["flip"])[::4, :, ::5, ::7]
    torch.testing.assert_close(rays, recorded[f"file.{name}"], atol=5e-6, rtol=1e-5)
    still = Trajectory(poses=np.eye(4)[None], intrinsics=shown.intrinsics[:1])
    uncond = published_rays(still, 16, 24, case["flip"])[:, :, ::5, ::7]
    torch.testing.assert_close(uncond, recorded[f"file.{name}.uncond"], atol=5e-6, rtol=1e-5)


def test_a_chunk_moves_32_of_33_steps_times_ten() -> None:
    shown = select_rows(chunk_trajectory(PublishedAction(name="d", speed=1.0)))
    np.testing.assert_allclose(published_poses(shown.poses)[-1, :3, 3], [10 * 32 / 33, 0, 0])


def test_action_lists_pair_up() -> None:
    assert parse_action_list(["w", "up_rot"], [0.2, 3]) == [
        PublishedAction(name="w", speed=0.2),
        PublishedAction(name="up_rot", speed=3),
    ]


@pytest.mark.parametrize(
    ("names", "speeds", "message"),
    [
        ([], [], "expected one speed per action, received 0 actions and 0 speeds"),
        (["w", "a"], [0.2], "received 2 actions and 1 speeds"),
        (["jump"], [0.2], "unknown action 'jump'; the actions are w, s, a, d, left_rot"),
        (["w"], [3.1], "the speed of w is 3.1, expected 0 to 3"),
        (["w"], [-1.0], "the speed of w is -1"),
        (["w"], [math.nan], "the speed of w is nan"),
    ],
)
def test_action_lists_that_are_none_are_refused(names: list[str], speeds: list[float], message: str) -> None:
    with pytest.raises(ActionError, match=message):
        parse_action_list(names, speeds)


def test_a_speed_is_finite() -> None:
    with pytest.raises(ActionError, match="the speed of w is inf, expected a finite number"):
        PublishedAction(name="w", speed=math.inf)


@pytest.mark.parametrize(("frames", "start", "step"), [(33, 2, 1), (33, 0, 2), (0, 0, 1), (2, -1, 1), (2, 0, 0)])
def test_rows_that_a_file_does_not_have_are_refused(frames: int, start: int, step: int) -> None:
    whole = chunk_trajectory(PublishedAction(name="w"))
    with pytest.raises(InputError, match=f"cannot take {frames} rows from {start} in steps of {step}"):
        select_rows(whole, frames, start, step)
