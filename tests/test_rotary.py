"""Token positions that follow the direction of sight."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gamecraft.errors import InputError
from gamecraft.intrinsics import Intrinsics
from gamecraft.models.rotary import camera_centres, rotate_pairs, sight_positions
from gamecraft.models.transformer import GameCraftTransformer3DModel
from gamecraft.rays import plucker_rays
from gamecraft.trajectory import CameraState
from transformer_cases import tiny_model

HEIGHT, WIDTH = 32, 48


def rays(yaw: float = 0.0, pitch: float = 0.0, place: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Tensor:
    """Rays [1, 1, 6, H, W] of one frame."""
    pose = torch.from_numpy(CameraState(position=place, yaw=yaw, pitch=pitch).pose())
    return plucker_rays(pose[None, None], Intrinsics(), HEIGHT, WIDTH)


angles = st.floats(-1.2, 1.2)
coordinates = st.floats(-5, 5)


@settings(deadline=None, max_examples=30)
@given(angles, angles, st.tuples(coordinates, coordinates, coordinates))
def test_the_rays_meet_in_the_camera(yaw: float, pitch: float, place: tuple[float, float, float]) -> None:
    torch.testing.assert_close(camera_centres(rays(yaw, pitch, place))[0, 0], torch.tensor(place), atol=1e-4, rtol=1e-4)


@settings(deadline=None, max_examples=30)
@given(angles)
def test_turning_moves_all_yaws_by_the_angle(yaw: float) -> None:
    before, after = (sight_positions(r, 16, (3.0,), 10.0) for r in (rays(), rays(yaw)))
    moved = (after - before)[0, :, 1] / 10
    torch.testing.assert_close(moved, torch.full_like(moved, yaw), atol=1e-4, rtol=0)
    torch.testing.assert_close(before[..., 0], after[..., 0], atol=1e-3, rtol=0)


def test_stepping_aside_moves_near_points_more() -> None:
    near, far = sight_positions(rays(place=(1.0, 0.0, 0.0)), 16, (2.0, 50.0), 1.0)[0, :, 1::2].unbind(-1)
    still = sight_positions(rays(), 16, (2.0, 50.0), 1.0)[0, :, 1::2].unbind(-1)
    assert (near - still[0]).abs().min() > 5 * (far - still[1]).abs().max()
    assert (far - still[1]).abs().max() < math.atan(1 / 50) * 1.2


def test_frames_of_one_latent_share_the_middle_of_their_positions() -> None:
    turning = torch.cat([rays(0.01 * frame) for frame in range(5)], dim=1)
    found = sight_positions(turning, 16, (5.0,), 1.0).unflatten(1, (2, -1))
    expected = sight_positions(rays(0.025), 16, (5.0,), 1.0)
    torch.testing.assert_close(found[:, 1], expected, atol=1e-4, rtol=0)


def sighted_model() -> GameCraftTransformer3DModel:
    return tiny_model(history_rays="true", rope_depths=(2.0, 8.0), rope_axes_dim=(4, 4, 4, 2, 2), rope_values=True)


def test_rotated_values_depend_on_where_tokens_lie_to_each_other_alone() -> None:
    model = tiny_model(rope_values=True)
    attention = model.single_transformer_blocks[0].attn
    generator = torch.Generator().manual_seed(0)
    image, text = (torch.randn(1, n, 32, generator=generator) for n in (6, 1))
    positions = torch.rand(1, 6, 3, generator=generator)

    def attend(shift: float) -> Tensor:
        found: Tensor = attention(image, text[:, :0], image_rotary_emb=model.rope(positions + shift))[0]
        return found

    torch.testing.assert_close(attend(0.0), attend(7.5), atol=1e-5, rtol=1e-4)
    plain = (
        tiny_model().single_transformer_blocks[0].attn(image, text[:, :0], image_rotary_emb=model.rope(positions))[0]
    )
    assert not torch.allclose(attend(0.0), plain, atol=1e-3)


def test_every_sample_of_a_batch_has_its_own_positions() -> None:
    model = sighted_model()
    pixels = model.config.spatial_ratio * model.config.patch_size
    views = torch.cat([rays(0.3), rays(-0.2, 0.1, (1.0, 0.0, 0.5))])
    past = [torch.cat([rays(), rays()])]
    assert pixels == 16
    channels, grid = model.config.in_channels, (HEIGHT // 8, WIDTH // 8)
    generator = torch.Generator().manual_seed(0)

    def run(which: slice) -> Tensor:
        count = len(views[which])
        drawn = torch.randn(2, channels, 2, *grid, generator=generator.manual_seed(1))[which]
        text = torch.randn(2, 5, model.config.text_embed_dim, generator=generator)[which]
        pooled = torch.randn(2, model.config.pooled_projection_dim, generator=generator)[which]
        found: Tensor = model(
            drawn,
            torch.full((count,), 500.0),
            text,
            None,
            pooled,
            action_embeds=model.encode_actions(views[which], history_rays=[past[0][which]]),
            positions=model.locate_tokens(views[which], history_rays=[past[0][which]]),
        ).sample
        return found

    together = run(slice(None))
    torch.testing.assert_close(together[:1], run(slice(0, 1)), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together[1:], run(slice(1, 2)), atol=1e-5, rtol=1e-4)


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="5"):
        tiny_model(history_rays="true", rope_depths=(2.0, 8.0))
    with pytest.raises(InputError, match="history_rays"):
        tiny_model(rope_depths=(2.0, 8.0), rope_axes_dim=(4, 4, 4, 2, 2))
    with pytest.raises(InputError, match="locate_tokens"):
        sighted_model()(
            torch.zeros(1, sighted_model().config.in_channels, 1, 4, 4), torch.ones(1), torch.zeros(1, 1, 8), None,
            torch.zeros(1, 8), action_embeds=torch.zeros(1, 4, 16),
        )  # fmt: skip


def test_pairs_are_rotated_alike_whether_compiled_or_not() -> None:
    torch.manual_seed(0)
    features, angles = torch.randn(2, 5, 3, 8), torch.randn(1, 6, 1, 4)
    turns = torch.stack([angles.cos(), angles.sin()], dim=-1)
    turned = rotate_pairs(features, turns)
    torch.testing.assert_close(torch.compile(rotate_pairs, backend="eager")(features, turns), turned)
    torch.testing.assert_close(rotate_pairs(turned, turns * torch.tensor([1.0, -1.0])), features)
    assert not torch.allclose(turned, features, atol=0.1)
