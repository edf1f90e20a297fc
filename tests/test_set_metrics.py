"""Fréchet distances equal their closed forms; motion and flicker have known values for known videos."""

import cv2
import numpy as np
import pytest

from gamecraft.errors import InputError
from gamecraft.evaluation.dynamics import dynamic_average, optical_flows, temporal_consistency
from gamecraft.evaluation.frechet import frechet_distance, gaussian_distance


def random_covariance(seed: int, size: int = 4) -> np.ndarray:
    root = np.random.default_rng(seed).normal(size=(size, size))
    return root @ root.T


def test_equal_gaussians_have_no_distance() -> None:
    covariance = random_covariance(0)
    assert gaussian_distance(np.ones(4), covariance, np.ones(4), covariance) == pytest.approx(0, abs=1e-9)


def test_shifted_gaussians_differ_by_the_squared_shift() -> None:
    covariance = random_covariance(1)
    assert gaussian_distance(np.zeros(4), covariance, np.full(4, 3.0), covariance) == pytest.approx(36)


def test_commuting_covariances_differ_by_their_standard_deviations() -> None:
    a, b = np.array([1.0, 4, 9, 0]), np.array([4.0, 1, 0, 16])
    expected = np.square(np.sqrt(a) - np.sqrt(b)).sum()
    turned = np.linalg.qr(random_covariance(2))[0]
    for basis in (np.eye(4), turned):
        distance = gaussian_distance(
            np.zeros(4), basis @ np.diag(a) @ basis.T, np.zeros(4), basis @ np.diag(b) @ basis.T
        )
        assert distance == pytest.approx(expected)


def test_one_dimension_is_the_textbook_formula() -> None:
    distance = gaussian_distance(np.array([1.0]), np.array([[4.0]]), np.array([4.0]), np.array([[25.0]]))
    assert distance == pytest.approx((1 - 4) ** 2 + (2 - 5) ** 2)


def test_the_distance_is_symmetric() -> None:
    a, b = random_covariance(3), random_covariance(4)
    forth = gaussian_distance(np.zeros(4), a, np.ones(4), b)
    assert forth == pytest.approx(gaussian_distance(np.ones(4), b, np.zeros(4), a))
    assert forth > 4


def test_sets_are_fitted_and_checked() -> None:
    samples = np.random.default_rng(0).normal(size=(50, 3))
    assert frechet_distance(samples, samples) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(samples, samples + 2) == pytest.approx(12)
    assert frechet_distance(samples[:, :1], 2 * samples[:, :1]) == pytest.approx(
        samples[:, 0].mean() ** 2 + samples[:, 0].var(ddof=1)
    )
    with pytest.raises(InputError, match="two sets"):
        frechet_distance(samples, samples[:, :2])
    with pytest.raises(InputError, match="at least two"):
        frechet_distance(samples[:1], samples)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    return cv2.resize(noise, (160, 96), interpolation=cv2.INTER_CUBIC)


def shifting(picture: np.ndarray, pixels: int) -> np.ndarray:
    return np.stack([np.roll(picture, pixels * i, axis=1) for i in range(4)])


def moved(frames: np.ndarray) -> float:
    return dynamic_average(optical_flows(frames))


def consistent(frames: np.ndarray) -> float:
    return temporal_consistency(frames, optical_flows(frames))


def test_a_shift_of_three_pixels_is_a_flow_of_three_pixels(picture: np.ndarray) -> None:
    assert moved(shifting(picture, 3)) == pytest.approx(1000 * 3 / 160, rel=0.05)
    assert moved(shifting(picture, 0)) == 0


def test_the_size_of_the_picture_does_not_matter(picture: np.ndarray) -> None:
    frames = shifting(picture, 2)
    large = np.stack([cv2.resize(frame, (320, 192), interpolation=cv2.INTER_CUBIC) for frame in frames])
    assert moved(large) == pytest.approx(moved(frames), rel=0.1)


def test_motion_is_consistent_and_flicker_is_not(picture: np.ndarray) -> None:
    still, moving = shifting(picture, 0), shifting(picture, 2)
    assert consistent(still) == 1
    assert consistent(moving) > 0.98
    flicker = still.astype(int)
    flicker[1::2] -= 51  # a fifth of the range
    assert consistent(flicker.clip(0, 255).astype(np.uint8)) == pytest.approx(
        1 - np.abs(flicker[1].clip(0, 255) - still[0]).mean() / 255, abs=0.02
    )


def test_one_frame_has_no_motion() -> None:
    with pytest.raises(InputError, match="at least two"):
        optical_flows(np.zeros((1, 96, 160, 3), dtype=np.uint8))
