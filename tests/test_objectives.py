"""Flow matching: the identities that tie noise levels, samples and velocities, and the scheduler's convention."""

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from hypothesis import given
from hypothesis import strategies as st

from gamecraft.training.objectives import (
    TIMESTEPS,
    flow_loss,
    interpolate,
    sample_sigmas,
    shift_sigmas,
    velocity_target,
)

LEVELS = st.floats(0, 1, allow_subnormal=False)
SHIFTS = st.floats(0.1, 10)


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 3, 4, 2, 2, 2, generator=generator)
    return clean, noise


def test_ends_of_the_path_are_the_clean_sample_and_the_noise() -> None:
    clean, noise = pair()
    torch.testing.assert_close(interpolate(clean, noise, torch.zeros(3)), clean, rtol=0, atol=0)
    torch.testing.assert_close(interpolate(clean, noise, torch.ones(3)), noise, rtol=0, atol=0)


@given(LEVELS, LEVELS)
def test_a_step_with_the_true_velocity_stays_on_the_path(start: float, end: float) -> None:
    clean, noise = pair()
    here, there = (interpolate(clean, noise, torch.full((3,), level)) for level in (start, end))
    torch.testing.assert_close(here + velocity_target(clean, noise) * (end - start), there, rtol=1e-4, atol=1e-5)


def test_one_step_of_the_scheduler_with_the_true_velocity_gives_the_clean_sample() -> None:
    clean, noise = pair()
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(sigmas=[1.0])
    assert float(scheduler.timesteps[0]) == TIMESTEPS
    result = scheduler.step(velocity_target(clean, noise), scheduler.timesteps[0], noise).prev_sample
    torch.testing.assert_close(result, clean)


@given(LEVELS, SHIFTS)
def test_shift_is_undone_by_its_inverse(level: float, shift: float) -> None:
    shifted = shift_sigmas(torch.tensor(level, dtype=torch.float64), shift)
    assert 0 <= float(shifted) <= 1 + 1e-12  # rounding
    assert float(shift_sigmas(shifted, 1 / shift)) == pytest.approx(level, abs=1e-9)


def test_shift_is_that_of_the_scheduler() -> None:
    levels = torch.linspace(1, 0, 6)[:-1]
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(sigmas=levels.numpy())
    torch.testing.assert_close(scheduler.sigmas[:-1], shift_sigmas(levels, 3.0))


def test_sampled_levels_are_logit_normal_before_the_shift() -> None:
    levels = sample_sigmas(20_000, 3.0, torch.Generator().manual_seed(0))
    normal = shift_sigmas(levels.double(), 1 / 3.0).logit()
    assert float(normal.mean()) == pytest.approx(0, abs=0.03)
    assert float(normal.std()) == pytest.approx(1, abs=0.03)


def test_loss_is_zero_for_the_true_velocity_and_leaves_out_the_history() -> None:
    clean, noise = pair()
    history = torch.full_like(clean, 100.0)
    velocity = torch.cat([history, velocity_target(clean, noise)], dim=2)
    assert torch.equal(flow_loss(velocity, clean, noise), torch.zeros(3))
    torch.testing.assert_close(flow_loss(velocity + 2, clean, noise), torch.full((3,), 4.0))
