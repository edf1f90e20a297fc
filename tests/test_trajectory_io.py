"""Trajectories as files and as pictures."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gamecraft.actions import motion, parse_script
from gamecraft.errors import InputError
from gamecraft.plots import plot_paths
from gamecraft.trajectory import CameraState, Trajectory, integrate
from gamecraft.trajectory_io import format_trajectory, parse_trajectory, read_trajectory, write_trajectory
from test_trajectory import POSES, Array, poses_of

WALK = Trajectory(poses=integrate(motion(parse_script("w+right 1s, d+up 1s")))[0])


@given(POSES, st.sampled_from([".json", ".tum", ".txt"]))
@settings(deadline=None)
def test_every_format_round_trips(parts: list[tuple[Array, Array]], suffix: str) -> None:
    poses = poses_of(parts)
    lens = np.tile([0.6, 1.1, 0.48, 0.52], (len(poses), 1))
    trajectory = Trajectory(poses=poses, times=np.arange(len(poses)) / 30 + 5, intrinsics=lens)
    again = parse_trajectory(format_trajectory(trajectory, suffix))
    np.testing.assert_allclose(again.poses, poses, atol=1e-12)
    if suffix != ".txt":
        np.testing.assert_array_equal(again.times, trajectory.times)
    if suffix != ".tum":
        np.testing.assert_array_equal(again.intrinsics, lens)


def test_json_keeps_every_bit(tmp_path: Path) -> None:
    write_trajectory(WALK, tmp_path / "walk.json")
    np.testing.assert_array_equal(read_trajectory(tmp_path / "walk.json").poses, WALK.poses)


def test_the_pose_text_is_world_to_camera() -> None:
    state = CameraState(position=(1, 2, 3))
    _header, line = format_trajectory(Trajectory(poses=state.pose()[None]), ".txt").splitlines()
    assert [float(v) for v in line.split()] == [
        *(0, 0.50505, 0.8979, 0.5, 0.5, 0, 0),
        *(1, 0, 0, -1, 0, 1, 0, -2, 0, 0, 1, -3),
    ]


def test_tum_is_camera_to_world_with_the_scalar_last() -> None:
    state = CameraState(position=(1, 2, 3))
    text = format_trajectory(Trajectory(poses=state.pose()[None], times=np.array([7.5])), ".tum")
    assert [float(v) for v in text.splitlines()[-1].split()] == [7.5, 1, 2, 3, 0, 0, 0, 1]


def test_the_format_is_told_by_the_content(tmp_path: Path) -> None:
    (tmp_path / "walk.txt").write_text(format_trajectory(WALK, ".tum"))
    np.testing.assert_allclose(read_trajectory(tmp_path / "walk.txt").poses, WALK.poses, atol=1e-12)


def test_the_first_line_of_pose_text_is_always_a_header() -> None:
    lines = format_trajectory(WALK, ".txt").splitlines()[1:]
    assert len(parse_trajectory("\n".join(lines)).poses) == len(WALK.poses) - 1
    assert len(parse_trajectory("\n".join(["", *lines])).poses) == len(WALK.poses)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the last line has 0 words"),
        ("1 2 3", "expected a trajectory as JSON, as pose text .* or as TUM .* has 3 words"),
        ("0 0 0 0 0 0 0 1\n1 0 0 zero 0 0 0 1", "line 2: expected 8 numbers, received '1 0 0 zero"),
        ("0 0 0 0 0 0 0 1\n1 0 0 0\n2 0 0 0 0 0 0 1", "line 2: expected 8 numbers"),
        ("0 0 0 0 0 0 0 1\n1 0 0 0 0 0 0 0", "quaternion 1 does not have length 1"),
        ("0 0 0 0 1e200 0 0 1", "quaternion 0 does not have length 1"),
        ("0 0 0 0 nan 0 0 1", "quaternion 0 does not have length 1"),
        ("0 inf 0 0 0 0 0 1", "poses must be finite"),
        ("1 0 0 0 0 0 0 1\n1 0 0 0 0 0 0 1", "times must increase"),
        ("header\n" + "0 " * 19, "pose 0 is not a rotation"),
        ("0 " * 19, "at least one pose"),
        ("{", "not a valid JSON trajectory"),
        ('{"version": 2}', "expected a trajectory of version 1, received version 2"),
        ('{"version": 1}', "lacks 'poses'"),
        ('{"version": 1, "poses": [[1], []], "times": [], "intrinsics": []}', "not a valid JSON trajectory"),
    ],
)
def test_text_that_is_no_trajectory_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_trajectory(text)


LINES = st.lists(st.lists(st.floats().map(str) | st.text(max_size=3), min_size=8, max_size=8).map(" ".join), max_size=3)


@given(st.text() | LINES.map("\n".join))
@settings(deadline=None)
def test_any_text_is_a_trajectory_or_an_input_error(text: str) -> None:
    try:
        parse_trajectory(text)
    except InputError:
        return


@given(st.dictionaries(st.sampled_from(["poses", "times", "intrinsics"]), st.lists(st.floats() | st.text(max_size=2))))
@settings(deadline=None)
def test_any_json_is_a_trajectory_or_an_input_error(data: dict[str, list[object]]) -> None:
    with pytest.raises(InputError):
        parse_trajectory(json.dumps({"version": 1, **data}))


def test_errors_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read the trajectory .*none\.txt"):
        read_trajectory(tmp_path / "none.txt")
    (tmp_path / "bad.txt").write_text("1 2 3")
    with pytest.raises(InputError, match=r"bad\.txt: expected a trajectory"):
        read_trajectory(tmp_path / "bad.txt")
    with pytest.raises(InputError, match=r"unknown trajectory format '\.csv'; use"):
        write_trajectory(WALK, tmp_path / "walk.csv")
    with pytest.raises(InputError, match="cannot write the trajectory"):
        write_trajectory(WALK, tmp_path / "bad.txt" / "walk.txt")


def test_a_plot_is_a_png_that_shows_every_path(tmp_path: Path) -> None:
    from PIL import Image

    plot_paths({"commanded": WALK.poses, "measured": WALK.poses[:30]}, tmp_path / "path.png")
    with Image.open(tmp_path / "path.png") as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    colours = {tuple(int(v) for v in pixel) for pixel in np.unique(pixels, axis=0)}
    assert {(31, 119, 180), (255, 127, 14)} <= colours  # matplotlib's first two colours
    with pytest.raises(InputError, match="no path to draw"):
        plot_paths({"nothing": np.zeros((0, 4, 4))}, tmp_path / "path.png")
    with pytest.raises(InputError, match="cannot write the plot"):
        plot_paths({"walk": WALK.poses}, tmp_path / "none" / "path.png")
