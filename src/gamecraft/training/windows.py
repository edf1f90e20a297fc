"""Random windows of frames out of clips, kept decoded in memory."""

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["ClipSource", "WindowSampler"]


class ClipSource(Protocol):
    """What the sampler needs of `gamecraft.dataset.ClipDataset`: clips whose `frames()` are uint8 [F, H, W, 3]."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any: ...


class WindowSampler:
    """Batches of frame windows of a random subset of at most `limit` clips; batch `k` depends on `seed` and `k` alone.

    Each clip is decoded when it is first drawn and then stays in memory (2 MB a clip of 45 frames 96x160).
    """

    def __init__(self, clips: ClipSource, *, limit: int, seed: int) -> None:
        self._clips = clips
        self._seed = seed
        self._chosen: list[int] = np.random.default_rng(seed).permutation(len(clips))[:limit].tolist()
        self._decoded: dict[int, NDArray[np.uint8]] = {}

    def batch(self, index: int, *, size: int, frames: int) -> Tensor:
        """Windows uint8 [size, frames, H, W, 3] of batch number `index`."""
        random = np.random.default_rng((self._seed, index))
        windows = []
        for clip in random.choice(self._chosen, size=size):
            video = self._frames(int(clip))
            start = random.integers(len(video) - frames + 1)
            windows.append(video[start : start + frames])
        return torch.from_numpy(np.stack(windows))

    def first_windows(self, frames: int) -> list[Tensor]:
        """For each clip of the subset its leading windows uint8 [k, frames, H, W, 3], end to end, without rest."""
        result = []
        for clip in self._chosen:
            video = self._frames(clip)
            count = len(video) // frames
            result.append(torch.from_numpy(video[: count * frames].reshape(count, frames, *video.shape[1:])))
        return result

    def _frames(self, clip: int) -> NDArray[np.uint8]:
        if clip not in self._decoded:
            self._decoded[clip] = self._clips[clip].frames()
        return self._decoded[clip]
