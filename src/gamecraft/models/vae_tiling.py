"""The tiles in which the published code runs its video autoencoder.

Neighbouring tiles overlap by a quarter and are blended linearly. Clips no longer than `tile_frames` are not cut along
time; the defaults of diffusers, which cut after 16 frames even without spatial tiles, change the result grossly.
"""

from typing import Any

from diffusers import AutoencoderKLHunyuanVideo

__all__ = ["keep_clips_whole", "set_vae_tiling"]


def keep_clips_whole(vae: Any) -> None:
    """Turn off what diffusers does without being asked: pieces of 12 frames, which change the result grossly."""
    for flag in ("use_framewise_encoding", "use_framewise_decoding"):
        if hasattr(vae, flag):
            setattr(vae, flag, False)


def set_vae_tiling(
    vae: AutoencoderKLHunyuanVideo, enabled: bool, *, tile_size: int = 256, tile_frames: int = 64
) -> None:
    """Encode and decode in tiles as published, or (not enabled) every clip in one piece.

    Args:
        vae: changed in place.
        enabled: whether to cut clips larger or longer than a tile.
        tile_size: height and width of a tile in pixels, a multiple of 4 latent positions.
        tile_frames: length of a tile in frames, a multiple of 4 latent frames.
    """
    vae.use_framewise_encoding = vae.use_framewise_decoding = enabled
    if not enabled:
        vae.disable_tiling()
        return
    vae.enable_tiling(
        tile_sample_min_height=tile_size,
        tile_sample_min_width=tile_size,
        tile_sample_min_num_frames=tile_frames,
        tile_sample_stride_height=tile_size * 3 // 4,
        tile_sample_stride_width=tile_size * 3 // 4,
        tile_sample_stride_num_frames=tile_frames * 3 // 4,
    )
