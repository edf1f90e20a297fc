"""The estimator recovers rendered motion, whatever the direction, and sees nothing where nothing moves."""

import math

import numpy as np
import pytest

from gamecraft.errors import InputError
from gamecraft.evaluation.camera_motion import compose, relative_motion
from gamecraft.evaluation.cases import Case, make_case
from gamecraft.evaluation.following import follows
from gamecraft.evaluation.motion_estimator import estimate_motion, estimate_steps
from gamecraft.evaluation.motion_fit import View, fit_motion
from gamecraft.evaluation.tracking import Tracks, follow_points
from gamecraft.intrinsics import Intrinsics
from gamecraft.trajectory import CameraState, advance, invert
from gamecraft.worlds.environment import EYE_HEIGHT

SIZES = {"chunks": 1, "chunk_frames": 9, "height": 96, "width": 160}
VIEW = View(height=96, width=160, lens=Intrinsics(), pitch=0.1, eyes=1.6)


def seen_and_true(case: Case) -> tuple[np.ndarray, np.ndarray]:
    commanded = relative_motion(case.start.poses[-1:], case.poses[0, -1:])[0]
    frames = np.concatenate([case.start.frames[-1:], case.frames[0]])
    return estimate_motion(frames, pitch=case.start.state.pitch), commanded


@pytest.mark.parametrize("name", ["w", "s", "a", "d", "left", "right", "up", "down"])
@pytest.mark.parametrize("number", [3, 4, 8])
def test_true_frames_follow_their_action(name: str, number: int) -> None:
    case = make_case(number, name, **SIZES)
    seen, commanded = seen_and_true(case)
    assert follows(case.actions[0][0], commanded, seen)
    assert np.abs(seen - commanded)[3:].max() < math.radians(3)


def test_a_combination_is_seen_as_both() -> None:
    seen, commanded = seen_and_true(make_case(5, "w+left", **SIZES))
    assert seen == pytest.approx(commanded, abs=0.35)
    assert seen[3] == pytest.approx(commanded[3], abs=0.03)


def test_standing_still_and_an_empty_picture_have_no_motion() -> None:
    frame = make_case(0, "w", **SIZES).start.frames[-1]
    assert np.abs(estimate_motion(np.repeat(frame[None], 10, axis=0))).max() < 1e-3
    assert np.array_equal(estimate_motion(np.full((4, 96, 160, 3), 90, dtype=np.uint8)), np.zeros(5))


def test_steps_make_up_the_motion_and_cover_all_frames() -> None:
    case = make_case(3, "w", **SIZES)
    frames = np.concatenate([case.start.frames[-1:], case.frames[0]])
    motions, numbers = estimate_steps(frames)
    assert numbers.tolist() == [0, 3, 6, 9]
    assert np.array_equal(compose(motions), estimate_motion(frames))
    assert estimate_steps(frames[:2])[1].tolist() == [0, 1]
    twice = np.repeat(np.repeat(frames, 2, axis=1), 2, axis=2)
    assert estimate_motion(twice) == pytest.approx(estimate_motion(frames), abs=1e-6)


def exact_tracks(motion: np.ndarray, nearness: np.ndarray) -> Tracks:
    """Points at known inverse distances, projected before and after a motion with no error."""
    lens, rng = VIEW.lens, np.random.default_rng(0)
    start = rng.uniform((0, 0), (159, 95), (len(nearness), 2))
    rays = np.stack(
        [
            ((start[:, 0] + 0.5) / 160 - lens.cx) / lens.fx,
            ((start[:, 1] + 0.5) / 96 - lens.cy) / lens.fy,
            np.ones(len(start)),
        ],
        axis=1,
    )
    before = CameraState(position=(0, -VIEW.eyes, 0), pitch=VIEW.pitch)
    falling = rays @ before.pose()[1, :3]
    # Below the horizon the ground, above it what was asked for.
    inverse = np.where(falling > 0, falling / VIEW.eyes, nearness)
    moved = invert(advance(before, motion).pose()) @ before.pose()
    points = rays @ moved[:3, :3].T + inverse[:, None] * moved[:3, 3]
    end = points[:, :2] / points[:, 2:] * (lens.fx * 160, lens.fy * 96) + (lens.cx * 160 - 0.5, lens.cy * 96 - 0.5)
    return Tracks(start=start, end=end, covariance=np.tile([0.1, 0, 0.1], (len(start), 1)))


# ``advance`` turns before it walks, the estimator's frame is the first camera's: one of the two at a time.
@pytest.mark.parametrize(
    "motion", [(0.5, 0, 0, 0, 0), (-0.3, 0.1, 0.4, 0, 0), (0, -0.3, 0, 0, 0), (0, 0, 0, 0.2, -0.1)]
)
def test_exact_points_give_the_motion_despite_wrong_matches(motion: tuple[float, ...]) -> None:
    tracks = exact_tracks(np.array(motion), np.random.default_rng(1).uniform(0, 0.1, 400))
    tracks.end[::10] += np.random.default_rng(2).uniform(-30, 30, tracks.end[::10].shape)
    # Points that might be nearer than the ground draw the way towards zero by a few percent.
    assert fit_motion(tracks, VIEW) == pytest.approx(motion, abs=0.03)


def test_the_metre_is_that_of_the_height_of_the_eyes() -> None:
    tracks = exact_tracks(np.array([0.5, 0, 0, 0, 0]), np.zeros(400))
    twice = View(height=96, width=160, lens=Intrinsics(), pitch=VIEW.pitch, eyes=2 * EYE_HEIGHT)
    assert fit_motion(tracks, twice)[0] == pytest.approx(1.0, abs=0.06)


def test_shifted_pictures_shift_their_points() -> None:
    import cv2

    noise = np.random.default_rng(0).integers(0, 256, (24, 40), dtype=np.uint8)
    picture = cv2.resize(noise, (160, 96), interpolation=cv2.INTER_CUBIC)
    tracks = follow_points(picture, np.roll(picture, (2, 4), axis=(0, 1)))
    assert len(tracks.start) > 400
    assert np.median(np.abs(tracks.end - tracks.start - (4, 2))) < 0.02


def test_along_an_edge_little_is_known() -> None:
    picture = np.full((96, 160), 60.0)
    picture[:, 80:] = 200
    picture = (picture + 2 * np.sin(np.arange(96) / 2)[:, None]).round().astype(np.uint8)
    tracks = follow_points(picture, picture)
    edge = tracks.covariance[np.abs(tracks.start[:, 0] - 79.5) < 3]
    assert len(edge) > 10
    assert (edge[:, 2] > 1.5 * edge[:, 0]).all()


def test_bad_input_is_refused() -> None:
    frames = np.zeros((3, 96, 160, 3), dtype=np.uint8)
    with pytest.raises(InputError, match="at least two"):
        estimate_motion(frames[:1])
    with pytest.raises(InputError, match=r"\[3, 96, 160\]"):
        estimate_motion(frames[..., 0])
    with pytest.raises(InputError, match="above the ground"):
        estimate_motion(frames, eyes=0)
