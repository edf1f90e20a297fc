"""Batches for training the transformer, each a pure function of (seed, number), so that a run resumes exactly."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gamecraft.history import History
from gamecraft.scene import Scene
from gamecraft.training.history_sampling import (
    STRIDES_PER_CHUNK,
    HistoryKind,
    HistoryMix,
    OwnHistory,
    corrupt,
    first_chunk,
    history_clips,
    sample_kind,
)
from gamecraft.training.latents import LatentChunk, LatentDataset
from gamecraft.training.motion_sampling import ClipOrder, MotionSampling
from gamecraft.trajectory import relative_to

__all__ = ["ChunkBatch", "ChunkSampler", "Dropping", "collate"]


_OLDEST_VIEW = 2
"""Chunks before the newest view that the older one may be."""


@dataclass(frozen=True, kw_only=True)
class Dropping:
    """Conditions left out for classifier-free guidance."""

    caption: float = 0.1
    """Probability that a caption becomes the empty string."""
    action_with_caption: float = 0.5
    """Probability that then the camera also stands still, as in the published unconditional branch."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ChunkBatch:
    """B chunks with what precedes them.

    latents: clean [B, C, t, h, w]. history: clean or corrupted. poses: [B, F, 4, 4] camera-to-world of the chunks.
    own_history: the model is to make the history's last clip anew, from those before it.
    images: [B, C, 1, h, w] each, frames before the chunk, newest first, with poses image_poses [B, images, 4, 4].
    unconditional: [B], the samples without caption and action. scene: what the images show of the chunks.
    """

    latents: Tensor
    history: History
    poses: npt.NDArray[np.float64]
    captions: tuple[str, ...]
    images: tuple[Tensor, ...]
    image_poses: npt.NDArray[np.float64]
    unconditional: Tensor
    own_history: bool = False
    scene: Scene | None = None

    def relative_poses(self) -> Tensor:
        """Poses of all history frames and then the chunk's, seen from the last history frame: [B, frames, 4, 4]."""
        absolute = np.concatenate([*self.history.poses, self.poses], axis=1)
        return torch.from_numpy(relative_to(absolute, self.history.last_pose[:, None]))

    @property
    def history_frames(self) -> tuple[int, ...]:
        """Video frames of each clip of the history."""
        return tuple(poses.shape[1] for poses in self.history.poses)


def collate(chunks: Sequence[LatentChunk], kind: HistoryKind, captions: Sequence[str]) -> ChunkBatch:
    """Chunks that all have a history of one kind as a batch."""
    past: list[tuple[tuple[Tensor, ...], tuple[npt.NDArray[np.float64], ...]]] = [
        ((chunk.images[0],), (chunk.image_poses[:1],))
        if kind is HistoryKind.IMAGE
        else (chunk.history, chunk.history_poses)
        for chunk in chunks
    ]
    clips = zip(*(latents for latents, _ in past), strict=True)
    poses = zip(*(tracks for _, tracks in past), strict=True)
    return ChunkBatch(
        latents=torch.stack([chunk.latents for chunk in chunks]).float(),
        history=History(
            clips=tuple(torch.stack(clip).float() for clip in clips),
            poses=tuple(np.stack(track) for track in poses),
        ),
        poses=np.stack([chunk.poses for chunk in chunks]),
        captions=tuple(captions),
        images=tuple(torch.stack(images).float() for images in zip(*(chunk.images for chunk in chunks), strict=False)),
        image_poses=np.stack([chunk.image_poses for chunk in chunks]),
        unconditional=torch.zeros(len(chunks), dtype=torch.bool),
    )


class ChunkSampler:
    """Draws batch number k of `batch_size` chunks from (seed, k) alone.

    Every clip of an epoch appears once before any appears again; which of its chunks is drawn at random.
    """

    def __init__(
        self,
        dataset: LatentDataset,
        *,
        batch_size: int,
        seed: int,
        mix: HistoryMix,
        history_noise: float,
        dropping: Dropping,
        own_history: OwnHistory | None = None,
        older_view: float = 0.0,
        motion: MotionSampling | None = None,
        backwards: LatentDataset | None = None,
    ) -> None:
        """older_view: share of the batches whose chunks are also seen from one or two chunks further back.

        motion: which clips are drawn. backwards: the same clips played backwards, to be drawn as well.
        """
        self._dataset = dataset
        self._batch_size = batch_size
        self._seed = seed
        self._mix = mix
        self._history_noise = history_noise
        self._dropping = dropping
        self._older_view = older_view
        self._own_share = own_history.share if own_history else 0.0
        self._order = ClipOrder([dataset, backwards] if backwards else [dataset], motion or MotionSampling(), seed)

    def generator(self, number: int) -> torch.Generator:
        """The source of everything random in batch `number`."""
        state = np.random.SeedSequence([self._seed, number]).generate_state(1, np.uint64)[0]
        return torch.Generator().manual_seed(int(state >> np.uint64(1)))

    def draw(self, number: int, generator: torch.Generator) -> ChunkBatch:
        """Batch `number`, with `generator` as from the method of that name; its history is corrupted."""
        kind = sample_kind(self._mix, generator)
        own = (
            kind is HistoryKind.CLIP
            and self._own_share > 0
            and float(torch.rand(1, generator=generator)) < self._own_share
        )
        kind = HistoryKind.CLIPS if own else kind
        low, high = first_chunk(kind), self._dataset.chunks_per_clip
        images = 2 if own else 1
        if float(torch.rand(1, generator=generator)) < self._older_view:
            images += int(torch.randint(1, _OLDEST_VIEW + 1, (1,), generator=generator))
        low = max(low, (images - 1) * STRIDES_PER_CHUNK)
        places = torch.randint(low, high, (self._batch_size,), generator=generator).tolist()
        chunks = [
            dataset.chunk(clip, place, history_clips(kind), images)
            for (dataset, clip), place in zip(self._recordings(number), places, strict=True)
        ]
        long, dropped, still = torch.rand(3, self._batch_size, generator=generator).tolist()
        captions = [
            "" if drop < self._dropping.caption else (c.clip.caption_long if pick < 0.5 else c.clip.caption_short)
            for c, pick, drop in zip(chunks, long, dropped, strict=True)
        ]
        batch = collate(chunks, kind, captions)
        for i in range(self._batch_size):
            if dropped[i] < self._dropping.caption and still[i] < self._dropping.action_with_caption:
                batch.poses[i] = batch.history.last_pose[i]
                batch.unconditional[i] = True
        history = History(
            clips=tuple(corrupt(clip, self._history_noise, generator) for clip in batch.history.clips),
            poses=batch.history.poses,
        )
        seen = tuple(corrupt(image, self._history_noise, generator) for image in batch.images)
        return replace(batch, history=history, images=seen, own_history=own)

    def _recordings(self, number: int) -> list[tuple[LatentDataset, int]]:
        return self._order.clips(number * self._batch_size, self._batch_size)
