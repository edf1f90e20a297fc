"""Latents of a clip dataset on disk, so that training the transformer never decodes or encodes a video.

FOLDER/latents/NAME/00000.safetensors, one file per shard of N clips, float16 and already times the scaling factor:

    chunks [N, S, C, t, h, w]   chunk j is frames [stride j, stride j + chunk_frames), each chunk encoded on its own
    images [N, S, C, 1, h, w]   the single frame before chunk j, encoded alone (for j = 0, which has none, frame 0)

The stride is a third of the chunk, so chunk j continues chunk j - 3. The clips played backwards are another cache,
NAME-backwards: an autoencoder that is causal in time makes other latents of them.
"""

import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gamecraft.dataset import Clip, ClipDataset
from gamecraft.errors import InputError
from gamecraft.files import write_atomically
from gamecraft.pictures import to_video

__all__ = ["LatentChunk", "LatentDataset", "encode_dataset"]

logger = logging.getLogger(__name__)

_STRIDES_PER_CHUNK = 3


@torch.inference_mode()
def encode_dataset(
    vae: Any,
    folder: str | Path,
    name: str,
    *,
    chunk_frames: int = 9,
    backwards: bool = False,
    part: tuple[int, int] = (0, 1),
    on_shard: Callable[[int, int], None] | None = None,
) -> None:
    """Write the latent cache `name` of a dataset folder, shard by shard; whole files are kept, damaged ones made again.

    Args:
        vae: any video autoencoder with the interface of diffusers.
        chunk_frames: frames per chunk, a multiple of 3 that the autoencoder accepts.
        backwards: encode the clips played backwards.
        part: (i, n) takes every n-th shard from number i on, for several processes.
        on_shard: called with (shards done, shards to do) after each shard.

    Raises:
        InputError: the cache holds latents of another autoencoder or chunk length, or clips are too short or unequal.
    """
    if chunk_frames % _STRIDES_PER_CHUNK:
        raise InputError(f"chunk_frames is {chunk_frames}, expected a multiple of {_STRIDES_PER_CHUNK}")
    dataset = ClipDataset(folder, backwards=backwards)
    target = _cache_folder(dataset, name)
    target.mkdir(parents=True, exist_ok=True)
    shards = [list(group) for _, group in itertools.groupby(range(len(dataset)), dataset.shard_of)]
    shards = shards[part[0] :: part[1]]
    for done, numbers in enumerate(shards):
        path = target / f"{dataset.shard_of(numbers[0])}.safetensors"
        if path.exists() and _open(path) is not None:
            _check_same_code(path, _encode_clip(vae, dataset[numbers[0]], chunk_frames))
        else:
            encoded = [_encode_clip(vae, dataset[number], chunk_frames) for number in numbers]
            if len({chunks.shape for chunks, _ in encoded}) > 1:
                raise InputError(
                    f"shard {path.stem} of {dataset.folder} has clips of unequal length; a cache needs equal ones"
                )
            chunks, images = (torch.stack(part) for part in zip(*encoded, strict=True))
            with write_atomically(path, durable=True) as temporary:
                save_file({"chunks": chunks, "images": images}, temporary, {"chunk_frames": str(chunk_frames)})
        if on_shard is not None:
            on_shard(done + 1, len(shards))


def _cache_folder(dataset: ClipDataset, name: str) -> Path:
    return dataset.folder / "latents" / (f"{name}-backwards" if dataset.backwards else name)


def _encode_clip(vae: Any, clip: Clip, chunk_frames: int) -> tuple[Tensor, Tensor]:
    """Latents float16 of all chunks [S, C, t, h, w] and of the images before them [S, C, 1, h, w]."""
    frames = torch.from_numpy(clip.frames())
    stride = chunk_frames // _STRIDES_PER_CHUNK
    if len(frames) < chunk_frames:
        raise InputError(f"{clip.path} has {len(frames)} frames, fewer than a chunk of {chunk_frames}")
    starts = range(0, len(frames) - chunk_frames + 1, stride)
    chunks = torch.stack([frames[start : start + chunk_frames] for start in starts])
    images = torch.stack([frames[max(start - 1, 0)][None] for start in starts])
    return _encode(vae, chunks), _encode(vae, images)


def _encode(vae: Any, frames: Tensor) -> Tensor:
    video = to_video(frames).to(vae.device, vae.dtype)
    latents: Tensor = vae.encode(video).latent_dist.mode() * vae.config.scaling_factor
    return latents.to("cpu", torch.float16).contiguous()


def _check_same_code(path: Path, expected: tuple[Tensor, Tensor]) -> None:
    with safe_open(path, framework="pt") as file:
        found = file.get_slice("chunks")[:1][0]
    if found.shape != expected[0].shape or not torch.allclose(found.float(), expected[0].float(), atol=0.05):
        raise InputError(f"{path} holds latents of another autoencoder or chunk length; choose another cache name")


def _open(path: Path) -> Any | None:
    """A file of latents, or None with a warning if it is damaged."""
    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        logger.warning("%s cannot be read: %s", path, error)
        return None


@dataclass(frozen=True, kw_only=True)
class LatentChunk:
    """One chunk of a clip with what came before it. Latents are float16, frames are numbers within the clip.

    latents: [C, t, h, w]. images: [C, 1, h, w] each, the frames before the chunk and before earlier ones, as many as
    the clip has, newest first. history: previous chunks [C, t, h, w], oldest first, without gaps between them or before
    this chunk. start: first frame. frames: length in frames.
    """

    latents: Tensor
    images: tuple[Tensor, ...]
    history: tuple[Tensor, ...]
    start: int
    frames: int
    clip: Clip

    @property
    def poses(self) -> NDArray[np.float64]:
        """Camera poses [frames, 4, 4] of the chunk's frames."""
        return self.clip.poses[self.start : self.start + self.frames]

    @property
    def image_poses(self) -> NDArray[np.float64]:
        """Camera poses [images, 4, 4] of the images."""
        return self.clip.poses[[max(self.start - 1 - self.frames * back, 0) for back in range(len(self.images))]]

    @property
    def history_poses(self) -> tuple[NDArray[np.float64], ...]:
        """Camera poses [frames, 4, 4] of each history chunk."""
        first = self.start - self.frames * len(self.history)
        return tuple(self.clip.poses[start : start + self.frames] for start in range(first, self.start, self.frames))


class LatentDataset:
    """Reads a latent cache together with its clips; files are memory-mapped.

    Files that are damaged are left out with a warning; ``damaged`` names their shards.

    Args:
        folder, name: the dataset and the cache.
        backwards: the clips played backwards.

    InputError if the cache is missing or incomplete, or nothing of it can be read.
    """

    def __init__(self, folder: str | Path, name: str, *, backwards: bool = False) -> None:
        self.clips = ClipDataset(folder, backwards=backwards)
        self.folder = _cache_folder(self.clips, name)
        missing = [shard for shard in self.clips.shards if not (self.folder / f"{shard}.safetensors").exists()]
        if missing:
            raise InputError(
                f"{self.folder} lacks {len(missing)} of {len(self.clips.shards)} shards (first: {missing[0]}); "
                f"encode the dataset first{', with --backwards' if backwards else ''}"
            )
        files = {shard: _open(self.folder / f"{shard}.safetensors") for shard in self.clips.shards}
        self._files = {shard: file for shard, file in files.items() if file is not None}
        self.damaged = [shard for shard in self.clips.shards if shard not in self._files]
        shards = itertools.groupby(range(len(self.clips)), self.clips.shard_of)
        self._rows = [
            (clip, shard, row) for shard, clips in shards if shard in self._files for row, clip in enumerate(clips)
        ]
        if not self._rows:
            raise InputError(f"every file in {self.folder} is damaged; encode the dataset again")
        if self.damaged:
            logger.warning(
                "%s: %d of %d shards are damaged and left out (first: %s); %d clips are left; encode the dataset again",
                self.folder, len(self.damaged), len(self.clips.shards), self.damaged[0], len(self._rows),
            )  # fmt: skip
        first = next(iter(self._files.values()))
        self.chunk_frames = int(first.metadata()["chunk_frames"])
        self.chunks_per_clip, *shape = first.get_slice("chunks").get_shape()[1:]
        self.latent_shape: tuple[int, ...] = tuple(shape)

    def __len__(self) -> int:
        """Number of clips."""
        return len(self._rows)

    def chunk(self, clip: int, chunk: int, history: int = 0, images: int = 1) -> LatentChunk:
        """Chunk number `chunk` of clip number `clip` with up to `history` previous chunks, as many as the clip has.

        The images are the frames before the chunk and before the `images` - 1 chunks that come before it.
        """
        if not 0 <= chunk < self.chunks_per_clip:
            raise InputError(f"chunk {chunk} does not exist: clips have {self.chunks_per_clip} chunks")
        available = min(history, chunk // _STRIDES_PER_CHUNK)
        before = [chunk - _STRIDES_PER_CHUNK * back for back in range(available, 0, -1)]
        places = range(chunk, max(chunk - _STRIDES_PER_CHUNK * images, -1), -_STRIDES_PER_CHUNK)
        return LatentChunk(
            latents=self._read("chunks", clip, chunk),
            images=tuple(self._read("images", clip, place) for place in places),
            history=tuple(self._read("chunks", clip, number) for number in before),
            start=chunk * self.chunk_frames // _STRIDES_PER_CHUNK,
            frames=self.chunk_frames,
            clip=self.clip(clip),
        )

    def clip(self, clip: int) -> Clip:
        """Clip number `clip` of those whose latents can be read."""
        return self.clips[self._rows[clip][0]]

    def _read(self, tensor: str, clip: int, chunk: int) -> Tensor:
        _, shard, row = self._rows[clip]
        value: Tensor = self._files[shard].get_slice(tensor)[row : row + 1, chunk : chunk + 1]
        return value[0, 0]
