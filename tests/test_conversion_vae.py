"""The published autoencoder and the one of diffusers are the same network, tiles included.

Recorded in float32 on the CPU by running the published code with random weights; of long videos only every n-th frame.
"""

import json
from functools import cache
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLHunyuanVideo
from safetensors.torch import load_file
from torch import Tensor

from gamecraft.conversion.vae import (
    convert_vae_config_from_official,
    convert_vae_config_to_official,
    load_official_vae,
    names_from_official,
    names_to_official,
    read_official_vae,
)
from gamecraft.errors import CheckpointError
from gamecraft.models.vae_tiling import set_vae_tiling

GOLDENS = Path(__file__).parent / "goldens"
CASES: dict[str, Tensor] = load_file(GOLDENS / "vae_cases.safetensors")


@cache
def untiled() -> AutoencoderKLHunyuanVideo:
    vae = load_official_vae(GOLDENS / "vae").requires_grad_(False)
    set_vae_tiling(vae, False)
    return vae


def tiled(*, frames: int = 64) -> AutoencoderKLHunyuanVideo:
    vae = load_official_vae(GOLDENS / "vae").requires_grad_(False)
    set_vae_tiling(vae, True, tile_size=32, tile_frames=frames)
    return vae


def close(found: Tensor, name: str) -> None:
    torch.testing.assert_close(found, CASES[name], atol=1e-5, rtol=1e-5)


def test_an_image_is_encoded_as_published() -> None:
    found = untiled().encode(CASES["x1"]).latent_dist
    close(found.parameters, "x1.moments")
    close(found.mean, "x1.mean")
    close(found.std, "x1.std")
    close(found.mean + found.std * CASES["x1.sample_noise"], "x1.sample")


@pytest.mark.parametrize(("video", "moments"), [("x5", "x5.moments"), ("x69", "x69.untiled.moments")])
def test_a_clip_is_encoded_as_published(video: str, moments: str) -> None:
    close(untiled().encode(CASES[video]).latent_dist.parameters, moments)


@pytest.mark.parametrize(("latents", "step"), [("z1", 1), ("z9", 4), ("z18", 8)])
def test_latents_are_decoded_as_published(latents: str, step: int) -> None:
    close(untiled().decode(CASES[latents]).sample[:, :, ::step], f"{latents}.dec")


def test_spatial_tiles_are_encoded_as_published() -> None:
    close(untiled().encode(CASES["x1b"]).latent_dist.mean, "x1b.untiled.mean")
    close(tiled().encode(CASES["x1b"]).latent_dist.mean, "x1b.tiled.mean")


def test_temporal_tiles_are_encoded_as_published() -> None:
    close(tiled().encode(CASES["x69"]).latent_dist.parameters, "x69.temporal_tiled.moments")


@pytest.mark.parametrize(("latents", "step"), [("z9s", 16), ("z18", 8), ("z18s", 8)])
def test_spatial_and_temporal_tiles_are_decoded_as_published(latents: str, step: int) -> None:
    close(tiled().decode(CASES[latents]).sample[:, :, ::step], f"{latents}.tiled.dec")


def test_short_temporal_tiles_are_decoded_as_published() -> None:
    close(tiled(frames=16).decode(CASES["z10"]).sample[:, :, ::4], "z10.ttile4.dec")


def test_the_released_checkpoint_maps_one_to_one_onto_the_model() -> None:
    released = json.loads((GOLDENS / "vae_full_keys.json").read_text())
    config = convert_vae_config_from_official(released["config"])
    tensors = {f"vae.{name}": torch.empty(shape, device="meta") for name, shape in released["shapes"].items()}
    names = names_from_official(config, tensors)
    assert len(names) == 248
    assert names_to_official(config, {new: tensors[old] for old, new in names.items()}) == {
        new: old for old, new in names.items()
    }


def test_the_default_configuration_is_the_released_model() -> None:
    released = json.loads((GOLDENS / "vae_full_keys.json").read_text())["config"]
    config = convert_vae_config_from_official(released)
    with torch.device("meta"):
        default = AutoencoderKLHunyuanVideo().config
    assert {name: list(v) if isinstance(v := default[name], tuple) else v for name in config} == config
    back = convert_vae_config_to_official(default)
    assert {name: list(v) if isinstance(v := back[name], tuple) else v for name in released} == released


def test_tensors_beside_the_autoencoder_are_left_out_and_named(caplog: pytest.LogCaptureFixture) -> None:
    published, tensors = read_official_vae(GOLDENS / "vae")
    config = convert_vae_config_from_official(published)
    names = names_from_official(config, tensors | {"discriminator.bias": torch.zeros(1)})
    assert names.keys() == tensors.keys()
    assert "1 tensors beside the autoencoder are left out: discriminator.bias" in caplog.text


def test_missing_unexpected_and_misshapen_tensors_are_named() -> None:
    published, tensors = read_official_vae(GOLDENS / "vae")
    config = convert_vae_config_from_official(published)
    tensors["vae.quant_konv.bias"] = tensors.pop("vae.quant_conv.bias")
    tensors["vae.post_quant_conv.bias"] = torch.zeros(3)
    expected = r"1 missing: quant_conv\.bias; 1 unexpected: quant_konv\.bias; 1 .*post_quant_conv\.bias \[3\] instead"
    with pytest.raises(CheckpointError, match=expected):
        names_from_official(config, tensors)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mid_block_causal_attn": False}, "mid_block_causal_attn=true"),
        ({"down_block_types": ["DownEncoderBlock3D"] * 4}, "down_block_types"),
        ({"block_out_channels": None}, "lacks block_out_channels"),
    ],
)
def test_a_configuration_of_another_network_is_refused(change: dict[str, object], message: str) -> None:
    published = read_official_vae(GOLDENS / "vae")[0] | change
    with pytest.raises(CheckpointError, match=message):
        convert_vae_config_from_official({name: value for name, value in published.items() if value is not None})


def test_the_tensors_may_lie_at_the_top_or_under_state_dict(tmp_path: Path) -> None:
    config, tensors = read_official_vae(GOLDENS / "vae")
    assert list(torch.load(GOLDENS / "vae" / "pytorch_model.pt", weights_only=True)) == ["state_dict"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    torch.save(tensors, tmp_path / "pytorch_model.pt")
    assert read_official_vae(tmp_path)[1].keys() == tensors.keys()


def test_weights_are_loaded_in_the_type_asked_for() -> None:
    assert load_official_vae(GOLDENS / "vae", torch.float16).dtype == torch.float16
