"""A learned pose estimator as a plug-in: VGGT by its own package, ``--poses gamecraft.curation.vggt_poses:estimate``.

Needs the package ``vggt`` from its authors' repository and its weights, which it fetches or finds in the cache; their
licence is theirs. Interface as in that package: of the aggregator's tokens the camera head makes one code per picture,
which decodes to an OpenCV world-to-camera matrix.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gamecraft.curation.extras import require
from gamecraft.intrinsics import Intrinsics
from gamecraft.trajectory import Trajectory, interpolate, invert

__all__ = ["MODEL", "estimate", "prepare"]

MODEL = "facebook/VGGT-1B"
_STRIDE = 4  # attention is over all pictures at once; between them poses are interpolated
_WIDTH, _PATCH = 518, 14


def estimate(frames: NDArray[np.uint8], lens: Intrinsics) -> tuple[NDArray[np.float64], float]:
    """See ``gamecraft.curation.poses.Estimator``. The lens is not used: the network estimates its own.

    Raises:
        GameCraftError: vggt is not installed.
    """
    import torch

    decode = require("vggt.utils.pose_enc", "VGGT poses", "vggt").pose_encoding_to_extri_intri
    model, device = _model()
    keys = sorted({*range(0, len(frames), _STRIDE), len(frames) - 1})
    pictures = prepare(frames[keys])[None].to(device)
    precision = torch.bfloat16 if device == "cuda" else None
    with torch.no_grad(), torch.autocast(device, precision, enabled=precision is not None):
        tokens, start = model.aggregator(pictures)
    with torch.no_grad():
        code = model.camera_head(tokens)[-1]
        _, trust = model.depth_head(tokens, pictures, start)
    seen, _ = decode(code, pictures.shape[-2:])
    world_to_camera = np.tile(np.eye(4), (len(keys), 1, 1))
    world_to_camera[:, :3] = seen[0].double().cpu().numpy()
    known = Trajectory(poses=invert(world_to_camera), times=np.array(keys, dtype=np.float64))
    poses = interpolate(known, np.arange(len(frames), dtype=np.float64)).poses
    # Its depths come with a trust from 1, not at all, upwards.
    return poses, float((1 - 1 / trust.float().clamp(min=1.0)).mean())


def prepare(frames: NDArray[np.uint8]) -> Any:
    """Pictures uint8 [K, H, W, 3] as the network wants them: float32 [K, 3, h, 518], 0 to 1, h a multiple of 14."""
    import cv2
    import torch

    height, width = frames.shape[1:3]
    size = (_WIDTH, max(1, round(height * _WIDTH / width / _PATCH)) * _PATCH)
    resized = np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])
    return torch.from_numpy(resized).permute(0, 3, 1, 2).float() / 255


@functools.cache
def _model() -> tuple[Any, str]:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    vggt = require("vggt.models.vggt", "VGGT poses", "vggt").VGGT
    return vggt.from_pretrained(MODEL).to(device).eval(), device
