"""What a training batch is conditioned on: the paper's mix of histories, and noise on them.

All samples of a batch have the same kind of history, so that their shapes agree. The mix is that of section 4.2 of the
Hunyuan-GameCraft paper: 0.70 one previous clip, 0.05 several previous clips, 0.25 a single image.
"""

from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from gamecraft.errors import InputError

__all__ = [
    "STRIDES_PER_CHUNK",
    "HistoryKind",
    "HistoryMix",
    "OwnHistory",
    "corrupt",
    "first_chunk",
    "history_clips",
    "sample_kind",
]

STRIDES_PER_CHUNK = 3
"""Chunks of the latent cache start every third of a chunk: chunk j continues chunk j - 3."""
SEVERAL = 2
"""Clips of a history of several; the number is fixed so that its batches have one shape."""


class HistoryKind(StrEnum):
    """What precedes the chunk to be learned."""

    CLIP = "clip"
    CLIPS = "clips"
    IMAGE = "image"


@dataclass(frozen=True, kw_only=True)
class HistoryMix:
    """Share of batches with each kind of history; the shares sum to 1."""

    clip: float = 0.70
    clips: float = 0.05
    image: float = 0.25

    def __post_init__(self) -> None:
        shares = (self.clip, self.clips, self.image)
        if min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
            raise InputError(f"the shares of a history mix must be at least 0 and sum to 1, received {self}")


@dataclass(frozen=True, kw_only=True)
class OwnHistory:
    """Histories that the model itself made, as in a rollout: what it will continue is then what it has learned from.

    Training on one's own rollouts is the remedy of self-forcing (arXiv 2506.08009) against drift; here the target
    stays the true next chunk, so that the model learns to lead a rollout back to the truth.
    """

    share: float = 0.0
    """Share of the batches with a history of one clip whose clip the model makes, from the clip before it."""
    steps: int = 2
    """Denoising steps for that clip."""

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1 or self.steps < 1:
            raise InputError(f"own_history needs a share in 0 to 1 and at least one step, received {self}")


def sample_kind(mix: HistoryMix, generator: torch.Generator) -> HistoryKind:
    """A kind of history with the probabilities of `mix`."""
    draw = float(torch.rand((), generator=generator, dtype=torch.float64))
    if draw < mix.clip:
        return HistoryKind.CLIP
    return HistoryKind.CLIPS if draw < mix.clip + mix.clips else HistoryKind.IMAGE


def history_clips(kind: HistoryKind) -> int:
    """Previous chunks that a history of this kind has; 0 for a single image."""
    return {HistoryKind.CLIP: 1, HistoryKind.CLIPS: SEVERAL, HistoryKind.IMAGE: 0}[kind]


def first_chunk(kind: HistoryKind) -> int:
    """First chunk of a recording that can have such a history.

    For an image that is chunk 1: chunk 0 has no frame before it.
    """
    return max(1, history_clips(kind) * STRIDES_PER_CHUNK)


def corrupt(latents: Tensor, largest: float, generator: torch.Generator) -> Tensor:
    """History latents [B, C, t, h, w] with noise of a standard deviation drawn from 0 .. `largest` for each sample.

    Latents a model made itself are not exact; a model that has seen only exact ones drifts in a rollout.
    """
    if largest == 0:
        return latents
    strengths = largest * torch.rand(len(latents), 1, 1, 1, 1, generator=generator)
    return latents + strengths * torch.randn(latents.shape, generator=generator)
