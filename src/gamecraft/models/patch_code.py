"""A linear code of video patches: principal components of groups of frames x square patches x colours. Pure functions.

A video of 1 + g(n-1) frames gets its first frame repeated g-1 times in front, so that n whole groups of g frames result
(g = 4 for the embedded model); a single image is one group of equal frames.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gamecraft.errors import InputError

__all__ = ["PatchBasis", "fit_basis", "from_patches", "latent_scale", "to_patches"]

_COLOURS = 3


@dataclass(frozen=True, kw_only=True)
class PatchBasis:
    """The leading principal components of a set of patches of D = 3 x group x size x size values.

    basis: [C, D] orthonormal rows, largest variance first. mean: [D]. stds: [C] standard deviation of each coefficient.
    """

    basis: Tensor
    mean: Tensor
    stds: Tensor


def to_patches(video: Tensor, group: int, size: int) -> Tensor:
    """Cut a video [B, 3, 1 + group(n-1), H, W] into patch vectors [B, n, H/size, W/size, 3 x group x size x size].

    InputError if the frame count or the frame size does not fit.
    """
    batch, colours, frames, height, width = video.shape
    if (frames - 1) % group or height % size or width % size or colours != _COLOURS:
        raise InputError(
            f"got a video of {frames} frames {height}x{width} with {colours} channels; expected 1 + a multiple of "
            f"{group} frames, sides that are multiples of {size}, and 3 channels: cut or resize it"
        )
    padded = torch.cat([video[:, :, :1].expand(-1, -1, group - 1, -1, -1), video], dim=2)
    cut = padded.reshape(batch, _COLOURS, -1, group, height // size, size, width // size, size)
    return cut.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4)


def from_patches(patches: Tensor, group: int, size: int) -> Tensor:
    """Inverse of `to_patches`: [B, n, h, w, D] to [B, 3, 1 + group(n-1), h x size, w x size]."""
    batch, groups, rows, columns, _ = patches.shape
    cut = patches.reshape(batch, groups, rows, columns, _COLOURS, group, size, size)
    padded = cut.permute(0, 4, 1, 5, 2, 6, 3, 7).reshape(batch, _COLOURS, groups * group, rows * size, columns * size)
    return padded[:, :, group - 1 :]


def latent_scale(stds: Tensor, power: float) -> Tensor:
    """Factors [C] that whiten coefficients partially: divide by stds ** power, then make the overall mean square 1."""
    whitened = stds ** (1 - power)
    return stds**-power / whitened.square().mean().sqrt()


def fit_basis(videos: Iterable[Tensor], channels: int, *, group: int = 4, size: int = 8) -> PatchBasis:
    """Principal components of the patches of `videos`, each [B, 3, 1 + group(n-1), H, W] in [-1, 1].

    Each component's sign makes its largest entry positive, so that equal videos give equal latents.
    """
    dimension = _COLOURS * group * size * size
    total = torch.zeros(dimension, dtype=torch.float64)
    products = torch.zeros(dimension, dimension, dtype=torch.float64)
    count = 0
    for video in videos:
        rows = to_patches(video.float(), group, size).flatten(0, 3)
        total += rows.sum(0, dtype=torch.float64)
        products += rows.T @ rows
        count += len(rows)
    if count < dimension:
        raise InputError(f"got {count} patches to fit {dimension} dimensions; give more videos")
    mean = total / count
    values, vectors = torch.linalg.eigh(products / count - mean.outer(mean))
    values, basis = values.flip(0)[:channels], vectors.T.flip(0)[:channels]
    largest = basis.gather(1, basis.abs().argmax(dim=1, keepdim=True))
    return PatchBasis(
        basis=F.normalize(basis * largest.sign()).float(),
        mean=mean.float(),
        stds=values.clamp_min(1e-8).sqrt().float(),
    )
