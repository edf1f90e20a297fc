import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gamecraft.checkpoints import MODULES
from gamecraft.errors import InputError
from gamecraft.intrinsics import Intrinsics
from gamecraft.models.action_encoder import ActionEncoder, halve_time
from gamecraft.rays import CameraRays, pixel_directions
from gamecraft.trajectory import CameraState
from transformer_cases import chunk_rays, golden, published_model


@pytest.fixture(scope="module")
def published() -> ActionEncoder:
    names = {theirs: ours[0].removeprefix("action_encoder.") for theirs, ours in MODULES.items()}
    weights = {}
    for key, tensor in golden("cameranet").items():
        if key.startswith("weights."):
            module, _, suffix = key.replace("weights.", "camera_net.").rpartition(".")
            weights[names.get(f"{module}.{suffix}") or f"{names[module]}.{suffix}"] = tensor
    encoder = ActionEncoder(64)
    encoder.load_state_dict(weights, strict=True)
    return encoder.requires_grad_(False)


@pytest.mark.parametrize("case", ["rand1", "rand5_b2"])
def test_equals_the_published_network(published: ActionEncoder, case: str) -> None:
    recorded = golden("cameranet")
    torch.testing.assert_close(published(recorded[f"in.{case}"]), recorded[f"out.{case}"], atol=1e-5, rtol=1e-4)


def test_equals_the_published_network_on_a_whole_chunk(published: ActionEncoder) -> None:
    torch.testing.assert_close(published(chunk_rays()[1:]), golden("cameranet")["out.pose33"], atol=1e-5, rtol=1e-4)


def test_the_feature_of_a_zero_clip_is_the_same_in_every_frame(published: ActionEncoder) -> None:
    one = published(torch.zeros(1, 1, 6, 16, 16))
    torch.testing.assert_close(one.expand(1, 9, 64), golden("cameranet")["out.zeros33"], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("frames", "latents"), [(1, 1), (5, 2), (9, 3), (33, 9), (65, 17)])
def test_one_latent_for_the_first_frame_and_one_for_each_further_four(frames: int, latents: int) -> None:
    tokens = ActionEncoder(8, spatial_ratio=2, channels=3, patch_size=2)(torch.zeros(2, frames, 6, 8, 12))
    assert tokens.shape == (2, latents * 2 * 3, 8)


def test_halving_keeps_the_first_frame_and_averages_the_rest_in_pairs() -> None:
    frames = torch.arange(10.0).reshape(10, 1, 1, 1)  # two clips of five
    assert halve_time(frames, 5).flatten().tolist() == [0, 1.5, 3.5, 5, 6.5, 8.5]


@settings(max_examples=15, deadline=None)
@given(latent=st.integers(0, 2), frame=st.integers(0, 8))
def test_a_latent_sees_only_its_own_frames(latent: int, frame: int) -> None:
    torch.manual_seed(0)
    encoder = ActionEncoder(8, spatial_ratio=2, channels=3)
    rays = torch.randn(1, 9, 6, 8, 8)
    changed = rays.clone()
    changed[:, frame] += 1
    before, after = (encoder(r).reshape(3, 4, 8)[latent] for r in (rays, changed))
    assert torch.equal(before, after) == (latent != (frame + 3) // 4)


def cameras(frames: int, lens: Intrinsics, height: int, width: int) -> CameraRays:
    """Two walks of some metres with turns; one of them far from the reference."""
    walks = [
        [CameraState(position=(side * i, 1, i), yaw=0.1 * i, pitch=0.02 * i).pose() for i in range(frames)]
        for side in (0.3, 8.0)
    ]
    return CameraRays.along(torch.tensor(np.array(walks)), pixel_directions(lens, height, width))


@pytest.mark.parametrize("frames", [1, 5, 33])
@pytest.mark.parametrize("lens", [Intrinsics(), Intrinsics(fx=1.3, fy=0.4, cx=0.2, cy=0.7)], ids=["ours", "other"])
def test_rays_need_not_be_spelled_out(published: ActionEncoder, frames: int, lens: Intrinsics) -> None:
    seen = cameras(frames, lens, 48, 32)
    assert seen.shape == seen.spelled_out().shape == (2, frames, 6, 48, 32)
    first, expected = published.conv_in(seen), published.conv_in(seen.spelled_out())
    torch.testing.assert_close(first, expected, atol=1e-4 * float(expected.std()), rtol=1e-5)
    torch.testing.assert_close(published(seen), published(seen.spelled_out()), atol=1e-5, rtol=1e-4)


def test_metres_are_not_rounded_by_autocast_and_gradients_are_the_same(published: ActionEncoder) -> None:
    seen = cameras(5, Intrinsics(), 16, 16)
    plain = published.conv_in(seen)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(published.conv_in(seen), plain)
    layer, weights = ActionEncoder(8).conv_in, torch.randn(plain.shape)
    gradients = [
        torch.autograd.grad((layer(rays) * weights).sum(), tuple(layer.parameters()))
        for rays in (seen, seen.spelled_out())
    ]
    for ours, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("frames", [4, 5])
def test_rays_that_are_not_spelled_out_are_checked_too(frames: int) -> None:
    with pytest.raises(InputError, match=r"expected \[B, F, 6, H, W\] with F = 1 \+ 4k frames"):
        ActionEncoder(8)(cameras(frames, Intrinsics(), 16, 24 if frames == 5 else 16))


def test_rays_of_any_float_type_are_accepted() -> None:
    assert published_model().action_encoder(chunk_rays()[:, :1].bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("shape", [(1, 4, 6, 16, 16), (1, 1, 5, 16, 16), (1, 1, 6, 8, 16), (1, 6, 16, 16)])
def test_other_shapes_are_refused_with_what_was_expected(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"expected \[B, F, 6, H, W\] with F = 1 \+ 4k frames"):
        ActionEncoder(8)(torch.zeros(shape))
