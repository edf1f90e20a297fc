"""Picture metrics have known values for known pictures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gamecraft.errors import InputError
from gamecraft.evaluation.metrics import bootstrap_interval, psnr, sharpness, ssim


def flat(value: int, frames: int = 2, size: int = 16) -> np.ndarray:
    return np.full((frames, size, size, 3), value, dtype=np.uint8)


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 24, 32, 3), dtype=np.uint8)


def test_equal_frames_are_perfect(noise: np.ndarray) -> None:
    assert np.isinf(psnr(noise, noise)).all()
    assert ssim(noise, noise) == pytest.approx(1)
    assert sharpness(noise, noise) == 1


def test_psnr_of_a_constant_error() -> None:
    assert psnr(flat(100), flat(110)) == pytest.approx([20 * np.log10(255 / 10)] * 2)
    assert psnr(flat(0), flat(255)) == pytest.approx([0, 0])


def test_ssim_of_flat_pictures_is_the_luminance_term() -> None:
    c1 = (0.01 * 255) ** 2
    assert ssim(flat(100), flat(120)) == pytest.approx((2 * 100 * 120 + c1) / (100**2 + 120**2 + c1))


def test_ssim_of_a_single_window_is_the_formula_of_the_paper(noise: np.ndarray) -> None:
    a, b = noise[:1, :11, :11], noise[1:2, :11, :11]
    x, y = (clip[0] @ np.array([0.299, 0.587, 0.114]) for clip in (a, b))
    line = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    weight = np.outer(line, line) / line.sum() ** 2
    mx, my = (weight * x).sum(), (weight * y).sum()
    vx, vy, cov = ((weight * p).sum() for p in ((x - mx) ** 2, (y - my) ** 2, (x - mx) * (y - my)))
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    expected = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    assert ssim(a, b) == pytest.approx([expected])


def test_ssim_falls_as_noise_grows(noise: np.ndarray) -> None:
    truth = np.repeat(np.repeat(noise[:, ::4, ::4], 4, axis=1), 4, axis=2)
    mixed = [(truth * (1 - k) + noise * k).astype(np.uint8) for k in (0.1, 0.3, 0.6)]
    scores = [ssim(truth, clip).mean() for clip in mixed]
    assert scores == sorted(scores, reverse=True)


def test_sharpness_of_half_the_contrast_is_a_quarter() -> None:
    board = np.zeros((1, 16, 16, 3), dtype=np.uint8)
    board[:, ::2, ::2] = 200
    assert sharpness(board, board // 2) == pytest.approx(0.25)
    assert sharpness(board, flat(7, 1)) == pytest.approx(0, abs=1e-9)
    assert sharpness(flat(7), flat(9)) == 1


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=20))
def test_interval_lies_within_the_values_and_holds_their_mean(values: list[float]) -> None:
    low, high = bootstrap_interval(values, samples=200, level=0.999)
    assert min(values) - 1e-9 <= low <= np.mean(values) + 1e-9
    assert np.mean(values) - 1e-9 <= high <= max(values) + 1e-9


def test_interval_has_the_width_of_the_normal_approximation() -> None:
    values = np.random.default_rng(1).normal(5, 2, 400)
    low, high = bootstrap_interval(values)
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.1)
    assert bootstrap_interval(values) == (low, high)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match=r"\[3, 16, 16, 3\] cannot be compared"):
        psnr(flat(0), flat(0, frames=3))
    with pytest.raises(InputError, match="at least 11"):
        ssim(flat(0, size=8), flat(0, size=8))
    with pytest.raises(InputError, match="received shape"):
        bootstrap_interval([])
