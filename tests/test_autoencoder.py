"""The embedded model's autoencoder: a linear code that is exact on its span, and a decoder that starts from it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import interpolate

from gamecraft.errors import InputError
from gamecraft.models.autoencoder import AutoencoderPatchCode
from gamecraft.models.patch_code import PatchBasis, fit_basis, from_patches, latent_scale, to_patches

TINY = {"stage_channels": (8, 8), "stage_blocks": (1, 1)}


def random_video(frames: int = 9, height: int = 16, width: int = 24, seed: int = 0) -> Tensor:
    """Smooth noise [2, 3, frames, height, width] in [-1, 1]."""
    noise = torch.randn(6, frames, 5, 5, generator=torch.Generator().manual_seed(seed))
    return interpolate(noise, (height, width), mode="bilinear").tanh().reshape(2, 3, frames, height, width)


@pytest.fixture(scope="module")
def basis() -> PatchBasis:
    return fit_basis([random_video(9, 32, 48, seed) for seed in range(24)], 32)


@pytest.fixture
def model(basis: PatchBasis) -> AutoencoderPatchCode:
    model: AutoencoderPatchCode = AutoencoderPatchCode.from_basis(basis, **TINY)
    return model


def randomise_decoder(model: AutoencoderPatchCode) -> None:
    generator = torch.Generator().manual_seed(0)
    for parameter in model.decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=generator)


@settings(max_examples=25, deadline=None)
@given(groups=st.integers(1, 4), rows=st.integers(1, 3), columns=st.integers(1, 3), group=st.integers(1, 4))
def test_patches_are_an_exact_rearrangement(groups: int, rows: int, columns: int, group: int) -> None:
    video = torch.randn(2, 3, 1 + group * (groups - 1), 4 * rows, 4 * columns)
    patches = to_patches(video, group, 4)
    assert patches.shape == (2, groups, rows, columns, 3 * group * 16)
    assert torch.equal(from_patches(patches, group, 4), video)


def test_the_first_frame_is_repeated_to_fill_its_group() -> None:
    first = to_patches(torch.randn(1, 3, 5, 8, 8), 4, 8)[0, 0, 0, 0].reshape(3, 4, 8, 8)
    assert torch.equal(first, first[:, :1].expand(3, 4, 8, 8))


@pytest.mark.parametrize("shape", [(1, 3, 8, 16, 16), (1, 3, 9, 12, 16), (1, 4, 9, 16, 16)])
def test_videos_that_do_not_fit_are_refused(model: AutoencoderPatchCode, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="expected 1 \\+ a multiple of 4"):
        model.encode(torch.zeros(shape))


def test_the_basis_is_orthonormal_and_ordered(basis: PatchBasis) -> None:
    torch.testing.assert_close(basis.basis @ basis.basis.T, torch.eye(32), atol=1e-5, rtol=0)
    assert (basis.stds.diff() <= 0).all()


def test_fitting_twice_gives_the_same_basis(basis: PatchBasis) -> None:
    again = fit_basis([random_video(9, 32, 48, seed) for seed in range(24)], 32)
    assert torch.equal(again.basis, basis.basis)


def test_a_basis_needs_enough_videos() -> None:
    with pytest.raises(InputError, match="give more videos"):
        fit_basis([random_video()], 32)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_latents_have_unit_mean_square_on_the_fitted_videos(basis: PatchBasis, power: float) -> None:
    model = AutoencoderPatchCode.from_basis(basis, whitening_power=power, **TINY)
    latents = torch.cat([model.encode(random_video(9, 32, 48, seed)).latent_dist.mode() for seed in range(24)])
    assert latents.square().mean().item() == pytest.approx(1.0, abs=1e-3)
    spread = latents.std(dim=(0, 2, 3, 4))
    assert (spread / spread[0]).tolist() == pytest.approx(
        ((basis.stds / basis.stds[0]) ** (1 - power)).tolist(), rel=0.02
    )


@given(power=st.floats(0, 1))
def test_the_latent_scale_keeps_the_order_of_coefficients(power: float) -> None:
    stds = torch.tensor([3.0, 1.0, 0.2])
    scaled = stds * latent_scale(stds, power)
    assert scaled.square().mean().item() == pytest.approx(1.0, abs=1e-5)
    assert (scaled.diff() <= 1e-6).all()


@pytest.mark.parametrize(("frames", "groups"), [(1, 1), (5, 2), (9, 3)])
def test_shapes_follow_the_compression_ratios(model: AutoencoderPatchCode, frames: int, groups: int) -> None:
    latents = model.encode(random_video(frames)).latent_dist.sample()
    assert latents.shape == (2, 32, groups, 2, 3)
    assert model.decode(latents).sample.shape == (2, 3, frames, 16, 24)


def test_encoding_the_linear_decoding_gives_the_latents_back(model: AutoencoderPatchCode) -> None:
    """The first group is a repeated frame, so only the later groups are free of its constraint."""
    latents = torch.randn(1, 32, 4, 2, 3)
    again = model.encode(model.decode_linear(latents)).latent_dist.mode()
    torch.testing.assert_close(again[:, :, 1:], latents[:, :, 1:], atol=1e-3, rtol=0)


def test_an_untrained_decoder_adds_nothing(model: AutoencoderPatchCode) -> None:
    latents = torch.randn(2, 32, 3, 2, 3)
    assert torch.equal(model.decode(latents).sample, model.decode_linear(latents))


def test_latents_do_not_depend_on_the_decoder(model: AutoencoderPatchCode) -> None:
    before = model.encode(random_video()).latent_dist.mode()
    randomise_decoder(model)
    assert torch.equal(model.encode(random_video()).latent_dist.mode(), before)


def test_the_code_is_deterministic(model: AutoencoderPatchCode) -> None:
    posterior = model.encode(random_video()).latent_dist
    assert torch.equal(posterior.sample(), posterior.mode())


def test_the_decoder_looks_at_neighbouring_groups_only(model: AutoencoderPatchCode) -> None:
    """Two blocks reach two groups far: what changes in the fourth group cannot be seen in the first."""
    randomise_decoder(model)
    latents = torch.randn(1, 32, 4, 2, 3)
    changed = latents.clone()
    changed[:, :, 3] += 1
    difference = (model.decode(changed).sample - model.decode(latents).sample).abs().amax(dim=(0, 1, 3, 4))
    assert difference[0] == 0
    assert (difference[5:] > 0).all()


def test_batches_do_not_mix(model: AutoencoderPatchCode) -> None:
    randomise_decoder(model)
    latents = torch.randn(2, 32, 3, 2, 3)
    alone = torch.cat([model.decode(part).sample for part in latents.chunk(2)])
    torch.testing.assert_close(model.decode(latents).sample, alone, atol=1e-5, rtol=0)


def test_saving_and_loading_keeps_code_and_decoder(model: AutoencoderPatchCode, tmp_path: object) -> None:
    randomise_decoder(model)
    model.save_pretrained(tmp_path)
    loaded = AutoencoderPatchCode.from_pretrained(tmp_path)
    assert torch.equal(loaded(random_video()), model(random_video()))
    assert loaded.config.latent_channels == 32


def test_bfloat16_is_close(model: AutoencoderPatchCode) -> None:
    randomise_decoder(model)
    exact = model(random_video())
    rounded = model.to(torch.bfloat16)(random_video().bfloat16())
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).square().mean() < 1e-3 * exact.square().mean()
