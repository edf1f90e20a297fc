"""Tiles of the video decoder shared out among ranks."""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from diffusers import AutoencoderKLHunyuanVideo
from torch import Tensor

__all__ = ["share_tiles"]


def share_tiles(vae: AutoencoderKLHunyuanVideo) -> None:
    """Let the ranks of the default group decode every n-th tile each; all of them then blend all tiles.

    The tiling itself stays that of diffusers: it runs once to learn the tiles, and again with their results.
    """
    decoder, whole = vae.decoder, vae.tiled_decode
    compute: Callable[[Tensor], Tensor] = decoder.forward

    def tiled_decode(z: Tensor, return_dict: bool = True) -> Any:
        tiles: list[Tensor] = []

        def learn(tile: Tensor) -> Tensor:
            tiles.append(tile)
            return _blank(vae, tile)

        try:
            decoder.forward = learn
            whole(z)
            decoder.forward = compute
            decoded = iter(_decode_shared(vae, tiles))
            decoder.forward = lambda tile: next(decoded)
            return whole(z, return_dict=return_dict)
        finally:
            decoder.forward = compute

    vae.tiled_decode = tiled_decode


def _decode_shared(vae: AutoencoderKLHunyuanVideo, tiles: list[Tensor]) -> list[Tensor]:
    rank, ranks = dist.get_rank(), dist.get_world_size()
    decoded = [vae.decoder(tile) if index % ranks == rank else _blank(vae, tile) for index, tile in enumerate(tiles)]
    for index, video in enumerate(decoded):
        decoded[index] = video.contiguous()
        dist.broadcast(decoded[index], src=index % ranks)
    return decoded


def _blank(vae: AutoencoderKLHunyuanVideo, tile: Tensor) -> Tensor:
    """Room for what the decoder makes of a tile [B, C, t, h, w]."""
    batch, _, latents, height, width = tile.shape
    frames = 1 + (latents - 1) * vae.temporal_compression_ratio
    side = vae.spatial_compression_ratio
    kind = tile.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else tile.dtype
    return tile.new_zeros(batch, vae.config.out_channels, frames, height * side, width * side, dtype=dtype)
