"""Chunks as a model makes them, beside what was to be seen: what an autoencoder's decoder is given in play.

Generated latents are softer than encoded ones. A decoder that has only met encoded ones shows that; one that has also
met generated ones gives them the contrast of the recordings.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from safetensors.torch import load_file, save_file
from torch import Tensor

from gamecraft.errors import InputError
from gamecraft.files import write_atomically
from gamecraft.history import History
from gamecraft.pipeline import GameCraftPipeline
from gamecraft.precision import autocast_dtype
from gamecraft.rays import pixel_directions
from gamecraft.training.batch_scenes import BatchScenes
from gamecraft.training.batch_transformer import BatchTransformer, Conditions
from gamecraft.training.chunk_batches import ChunkBatch, collate
from gamecraft.training.history_sampling import STRIDES_PER_CHUNK, HistoryKind
from gamecraft.training.latents import LatentChunk, LatentDataset
from gamecraft.training.text_cache import TextCache, prompt_settings

__all__ = ["GeneratedChunks", "GeneratedSettings", "generated_chunks"]

_CLIPS = 16
"""Clips that are continued at a time, by two chunks each."""


@dataclass(frozen=True, kw_only=True)
class GeneratedSettings:
    """Where a decoder's generated latents come from.

    model: folder of the whole model. latents: the cache of its own autoencoder's latents in the training data.
    chunks: how many to make; rounded up to a multiple of 32. share: of the batches that they are.
    """

    model: str
    latents: str
    chunks: int = 800
    share: float = 0.5


class GeneratedChunks:
    """The chunks in a folder of ``generated_chunks``; batch `k` depends on `seed` and `k` alone.

    share: of a training's batches that are to be generated ones.
    """

    def __init__(self, folder: Path, *, share: float, seed: int) -> None:
        parts = [load_file(path) for path in sorted(folder.glob("*.safetensors"))]
        self._share = share
        self._seed = seed
        self._latents, self._frames = (torch.cat([part[name] for part in parts]) for name in ("latents", "frames"))

    def __len__(self) -> int:
        """Number of chunks."""
        return len(self._latents)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Each chunk's latents [C, t, h, w], float16, and frames, uint8 [F, H, W, 3]."""
        return zip(self._latents, self._frames, strict=True)

    def due(self, index: int) -> bool:
        """Whether batch `index` of the training is to be a generated one."""
        return bool(np.random.default_rng((self._seed, index, 1)).random() < self._share)

    def batch(self, index: int, *, size: int) -> tuple[Tensor, Tensor]:
        """Latents [size, C, t, h, w], mean square about 1, and the true frames, uint8 [size, F, H, W, 3]."""
        chosen = np.random.default_rng((self._seed, index)).integers(len(self), size=size)
        return self._latents[chosen].float(), self._frames[chosen]


def generated_chunks(settings: GeneratedSettings, data: str, folder: Path, seed: int) -> GeneratedChunks:
    """Let a model continue clips of a dataset by two chunks, along their own cameras; what `folder` has is kept.

    Writes NUMBER.safetensors with latents float16 [N, C, t, h, w], times the scaling factor, and frames uint8
    [N, F, H, W, 3]. The first chunk follows on the recording, the second on the first.

    Args:
        data: dataset folder with the latent cache `settings.latents`.

    Raises:
        InputError: the dataset lacks that cache, or its clips are too short to be continued.
    """
    folder.mkdir(parents=True, exist_ok=True)
    player = _Player(settings.model, LatentDataset(data, settings.latents))
    for number in track(range(-(-settings.chunks // (2 * _CLIPS))), "letting the model play"):
        path = folder / f"{number:05d}.safetensors"
        if not path.exists():
            latents, frames = player.play(np.random.SeedSequence([seed, number]))
            with write_atomically(path) as temporary:
                save_file({"latents": latents.half(), "frames": frames}, temporary)
    return GeneratedChunks(folder, share=settings.share, seed=seed)


class _Player:
    """A model that continues clips of a dataset of its latents."""

    def __init__(self, folder: str, dataset: LatentDataset) -> None:
        if dataset.chunks_per_clip <= 2 * STRIDES_PER_CHUNK:
            raise InputError(
                f"the clips of {dataset.clips.folder} have {dataset.chunks_per_clip} chunks; "
                f"to be continued by two after a first they need {2 * STRIDES_PER_CHUNK + 1}"
            )
        self.pipe = pipe = GameCraftPipeline.from_pretrained(folder)
        self.dataset = dataset
        self.text = TextCache(folder, prompt_settings(folder), torch.device("cpu"), capacity=2 * _CLIPS)
        clips = dataset.clips
        directions = pixel_directions(clips.intrinsics, clips.height, clips.width)
        self.model = BatchTransformer(pipe.transformer, directions, compiled=False)
        self.scenes = None
        if pipe.depth_estimator is not None:
            self.scenes = BatchScenes.of(pipe.depth_estimator, pipe.vae, clips.intrinsics, autocast_dtype("auto"))

    @torch.no_grad()
    def play(self, seeds: np.random.SeedSequence) -> tuple[Tensor, Tensor]:
        """Two chunks after random places of random clips, latents and true frames, those of all clips in turn."""
        random = np.random.default_rng(seeds)
        generator = torch.Generator().manual_seed(int(random.integers(2**62)))
        clips = random.integers(len(self.dataset), size=_CLIPS).tolist()
        places = random.integers(STRIDES_PER_CHUNK, self.dataset.chunks_per_clip - STRIDES_PER_CHUNK, size=_CLIPS)
        made, latents, frames = None, [], []
        for step in range(2):
            chunks = [
                self.dataset.chunk(clip, int(place) + step * STRIDES_PER_CHUNK, history=1, images=1 + step)
                for clip, place in zip(clips, places, strict=True)
            ]
            made = self._continue(chunks, made, generator)
            latents.append(made)
            frames += [torch.from_numpy(chunk.clip.frames()[chunk.start :][: chunk.frames]) for chunk in chunks]
        return torch.cat(latents), torch.stack(frames)

    def _continue(self, chunks: Sequence[LatentChunk], before: Tensor | None, generator: torch.Generator) -> Tensor:
        """What the model makes of chunks; `before` takes the place of the history if the model has made that."""
        batch: ChunkBatch = collate(chunks, HistoryKind.CLIP, [chunk.clip.caption_short for chunk in chunks])
        if before is not None:
            batch = replace(batch, history=History(clips=(before,), poses=batch.history.poses))
        if self.scenes is not None:
            batch = self.scenes.show(batch, made=before)
        return self.model.sample(
            batch,
            torch.randn(batch.latents.shape, generator=generator),
            Conditions.of(batch, self.text(batch.captions)),
            self.pipe.scheduler,
            steps=self.pipe.config.num_inference_steps,
            autocast=autocast_dtype("auto"),
        )
