"""The published autoencoder <-> `AutoencoderKLHunyuanVideo` of diffusers, strict both ways.

Tensors have the same names on both sides, behind a prefix in the published file; only the settings are spelled
differently. The published tile sizes are no part of the weights, see `gamecraft.models.vae_tiling`.
"""

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLHunyuanVideo
from torch import Tensor

from gamecraft.checkpoints import check_tensors, tensor_shapes, without_memory
from gamecraft.conversion.sources import read_settings
from gamecraft.errors import CheckpointError
from gamecraft.torch_files import load_torch_file, named_tensors

__all__ = [
    "convert_vae_config_from_official",
    "convert_vae_config_to_official",
    "load_official_vae",
    "names_from_official",
    "names_to_official",
    "read_official_vae",
]

logger = logging.getLogger(__name__)

PREFIX = "vae."

# Published setting -> ours. Where a published file may be silent, both sides have the same default.
SETTINGS = {
    "in_channels": "in_channels",
    "out_channels": "out_channels",
    "latent_channels": "latent_channels",
    "block_out_channels": "block_out_channels",
    "layers_per_block": "layers_per_block",
    "act_fn": "act_fn",
    "norm_num_groups": "norm_num_groups",
    "scaling_factor": "scaling_factor",
    "spatial_compression_ratio": "spatial_compression_ratio",
    "time_compression_ratio": "temporal_compression_ratio",
    "mid_block_add_attention": "mid_block_add_attention",
}
DEFAULTS_DIFFER = ("latent_channels", "block_out_channels", "layers_per_block", "scaling_factor")
BLOCKS = {
    "down_block_types": ("DownEncoderBlockCausal3D", "HunyuanVideoDownBlock3D"),
    "up_block_types": ("UpDecoderBlockCausal3D", "HunyuanVideoUpBlock3D"),
}
# What a published configuration says beyond the network: tile sizes, which no tensor depends on.
TILES = {"sample_size": 256, "sample_tsize": 64}


def convert_vae_config_from_official(config: Mapping[str, Any]) -> dict[str, Any]:
    """The published ``config.json`` -> arguments of `AutoencoderKLHunyuanVideo`.

    Raises:
        CheckpointError: a setting is missing, or asks for a network that the class does not build.
    """
    missing = [name for name in DEFAULTS_DIFFER if name not in config]
    if missing:
        raise CheckpointError(f"published autoencoder: its config.json lacks {', '.join(missing)}")
    if not config.get("mid_block_causal_attn", False):
        raise CheckpointError(
            "published autoencoder: its config.json does not say mid_block_causal_attn=true; the attention of "
            "AutoencoderKLHunyuanVideo is always frame-causal, so this file cannot be converted"
        )
    factor, channels = config["scaling_factor"], config["block_out_channels"]
    if not isinstance(factor, int | float) or not 0 < factor < math.inf:
        raise CheckpointError(f"published autoencoder: scaling_factor is {factor!r:.40}; expected a number above 0")
    if not isinstance(channels, list | tuple) or not channels:
        raise CheckpointError(f"published autoencoder: block_out_channels is {channels!r:.40}; expected whole numbers")
    converted = {ours: config[theirs] for theirs, ours in SETTINGS.items() if theirs in config}
    levels = len(channels)
    for setting, (theirs, ours) in BLOCKS.items():
        if config.get(setting, [theirs] * levels) != [theirs] * levels:
            raise CheckpointError(
                f"published autoencoder: {setting} is {config[setting]}; expected only {theirs!r}, {levels} times"
            )
        converted[setting] = [ours] * levels
    known = {*SETTINGS, *BLOCKS, *TILES, "mid_block_causal_attn"}
    unknown = sorted(name for name in config if name not in known and not name.startswith("_"))
    if unknown:
        logger.warning("settings of the published autoencoder that nothing depends on here: %s", ", ".join(unknown))
    return converted


def convert_vae_config_to_official(config: Mapping[str, Any]) -> dict[str, Any]:
    """Configuration of an `AutoencoderKLHunyuanVideo` -> the published ``config.json``, with the published tiles."""
    converted: dict[str, Any] = {"_class_name": "AutoencoderKLCausal3D", "mid_block_causal_attn": True, **TILES}
    converted |= {theirs: config[ours] for theirs, ours in SETTINGS.items()}
    for setting, (theirs, _) in BLOCKS.items():
        converted[setting] = [theirs] * len(config["block_out_channels"])
    return converted


def names_from_official(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Published tensor name -> name in ``AutoencoderKLHunyuanVideo(**config)``.

    Tensors without the prefix are no part of the published model and are left out.

    Raises:
        CheckpointError: a tensor is missing, unexpected or of a shape that does not fit the configuration.
    """
    names = {name: name.replace(PREFIX, "") for name in tensors if name.startswith(PREFIX)}
    check_tensors({new: tensors[old] for old, new in names.items()}, _shapes(config), "published autoencoder")
    if left_out := [name for name in tensors if name not in names]:
        logger.warning("%d tensors beside the autoencoder are left out: %s", len(left_out), ", ".join(left_out[:10]))
    return names


def names_to_official(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """The inverse of `names_from_official`."""
    check_tensors(tensors, _shapes(config), "autoencoder")
    return {name: PREFIX + name for name in tensors}


def read_official_vae(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The published ``config.json`` and tensors (memory-mapped) of a folder ``hyvae``."""
    config = read_settings(folder / "config.json")
    file = folder / "pytorch_model.pt"
    content = load_torch_file(file)
    tensors = content.get("state_dict", content) if isinstance(content, dict) else content
    return config, named_tensors(tensors, str(file))


def load_official_vae(folder: Path, dtype: torch.dtype | None = None) -> AutoencoderKLHunyuanVideo:
    """The autoencoder of a published folder ``hyvae``, in evaluation mode.

    Args:
        folder: with ``config.json`` and ``pytorch_model.pt``.
        dtype: of the weights; None keeps the stored one.
    """
    published, tensors = read_official_vae(folder)
    config = convert_vae_config_from_official(published)
    state_dict = {new: tensors[old] for old, new in names_from_official(config, tensors).items()}
    with torch.device("meta"):
        vae = AutoencoderKLHunyuanVideo.from_config(config)
    vae.load_state_dict(state_dict, strict=True, assign=True)
    return (vae if dtype is None else vae.to(dtype)).eval()


def _shapes(config: Mapping[str, Any]) -> dict[str, torch.Size]:
    return tensor_shapes(without_memory(lambda: AutoencoderKLHunyuanVideo.from_config(dict(config)), "autoencoder"))
