"""Chunks as a model makes them, beside what was to be seen: what decoder and refiner are given in play.

Generated latents are softer than encoded ones. A decoder that has only met encoded ones shows that; one that has also
met generated ones gives them the contrast of the recordings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from safetensors.torch import load_file, save_file
from torch import Tensor

from gamecraft.chunk_pipeline import Prompts
from gamecraft.dataset import Clip, ClipDataset
from gamecraft.errors import InputError
from gamecraft.files import write_atomically
from gamecraft.history import History
from gamecraft.loading import load_pipeline
from gamecraft.models.text import PromptEmbeds
from gamecraft.pictures import to_frames, to_video
from gamecraft.scene import Drawing
from gamecraft.training.text_cache import TextCache, prompt_settings
from gamecraft.trajectory import CameraState

__all__ = ["GeneratedChunks", "GeneratedSettings", "generated_chunks"]

_CLIPS = 16
"""Clips that are continued at a time."""


@dataclass(frozen=True, kw_only=True)
class GeneratedSettings:
    """Where generated chunks come from.

    model: folder of the whole model. chunks: how many to make, rounded up. length: by how many chunks a clip is
    continued, if it is long enough. share: of a decoder's batches that they are; a refiner meets nothing else.
    """

    model: str
    chunks: int = 800
    length: int = 3
    share: float = 0.5


class GeneratedChunks:
    """The chunks in a folder of ``generated_chunks``; batch `k` depends on `seed` and `k` alone.

    A batch has latents float32 [B, C, t, h, w], times the scaling factor, and videos float32 [B, 3, F, H, W], about
    [-1, 1]: `decoded` by the model's autoencoder, before any refining, `drawn` by its scene memory, and `true`; and
    `covered` [B, 1, F, H, W], 1 where the drawn one shows something. Models without a scene memory draw nothing.

    share: of a training's batches that are to be generated ones.
    """

    def __init__(self, folder: Path, *, share: float, seed: int) -> None:
        parts = [load_file(path) for path in sorted(folder.glob("*.safetensors"))]
        self._share = share
        self._seed = seed
        self._all = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def __len__(self) -> int:
        """Number of chunks."""
        return len(self._all["latents"])

    def due(self, index: int) -> bool:
        """Whether batch `index` of the training is to be a generated one."""
        return bool(np.random.default_rng((self._seed, index, 1)).random() < self._share)

    def batch(self, index: int, *, size: int) -> dict[str, Tensor]:
        """A random batch."""
        chosen: list[int] = np.random.default_rng((self._seed, index)).integers(len(self), size=size).tolist()
        return self.at(chosen)

    def at(self, numbers: Sequence[int]) -> dict[str, Tensor]:
        """The chunks of these numbers as a batch."""
        found = {name: values[list(numbers)] for name, values in self._all.items()}
        videos = {name: to_video(found[name]) for name in ("decoded", "drawn", "true")}
        return {"latents": found["latents"].float(), "covered": found["covered"][:, None].float(), **videos}


def generated_chunks(settings: GeneratedSettings, data: str, folder: Path, seed: int) -> GeneratedChunks:
    """Let a model continue clips of a dataset along their own cameras; what `folder` has is kept.

    Writes NUMBER.safetensors with latents float16 [N, C, t, h, w] and uint8 frames decoded, drawn and true
    [N, F, H, W, 3] and covered [N, F, H, W]. The first chunks follow on the recording, the others on those before.

    Args:
        data: dataset folder.

    Raises:
        InputError: the clips are too short to be continued by the model's chunks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    player = _Player(settings.model, ClipDataset(data), settings.length)
    for number in track(range(-(-settings.chunks // (player.chunks * _CLIPS))), "letting the model play"):
        path = folder / f"{number:05d}.safetensors"
        if not path.exists():
            made = player.play(np.random.SeedSequence([seed, number]))
            with write_atomically(path) as temporary:
                save_file(made, temporary)
    return GeneratedChunks(folder, share=settings.share, seed=seed)


class _Player:
    """A model that continues clips of a dataset."""

    def __init__(self, folder: str, clips: ClipDataset, longest: int) -> None:
        self.pipe = load_pipeline(folder)
        self.clips = clips
        self.text = TextCache(folder, prompt_settings(folder), torch.device("cpu"), capacity=2 * _CLIPS)
        length, chunk = min(clip.num_frames for clip in clips), self.pipe.config.chunk_frames
        self.chunks = min(longest, length // chunk - 1)
        if self.chunks < 1:
            raise InputError(
                f"the clips of {clips.folder} have {length} frames; to be continued by a chunk of {chunk} after "
                f"another they need {2 * chunk}"
            )

    @torch.no_grad()
    def play(self, seeds: np.random.SeedSequence) -> dict[str, Tensor]:
        """The chunks after random places of random clips: the first ones of all clips, then the second ones..."""
        random, frames = np.random.default_rng(seeds), self.pipe.config.chunk_frames
        generator = torch.Generator().manual_seed(int(random.integers(2**62)))
        clips = [self.clips[number] for number in random.integers(len(self.clips), size=_CLIPS).tolist()]
        whole = (self.chunks + 1) * frames
        starts = [int(random.integers(clip.num_frames - whole + 1)) for clip in clips]
        videos, poses = self._cut(clips, starts, whole)
        prompts = Prompts(positive=PromptEmbeds(*self.text([clip.caption_short for clip in clips])))
        history = self.pipe.start_history(videos[:, :frames].numpy(), CameraState(), poses[:, :frames])
        made: list[dict[str, Tensor]] = []
        for first in range(frames, whole, frames):
            true, track = videos[:, first : first + frames], poses[:, first : first + frames]
            chunk, history = self._continue(history, track, prompts, generator)
            made.append({**chunk, "true": true})
        return {name: torch.cat([chunk[name] for chunk in made]).contiguous() for name in made[0]}

    def _cut(self, clips: Sequence[Clip], starts: Sequence[int], length: int) -> tuple[Tensor, np.ndarray]:
        """Frames uint8 [B, length, H, W, 3] and poses [B, length, 4, 4]."""
        spans = [slice(start, start + length) for start in starts]
        videos = [torch.from_numpy(clip.frames()[span]) for clip, span in zip(clips, spans, strict=True)]
        return torch.stack(videos), np.stack([clip.poses[span] for clip, span in zip(clips, spans, strict=True)])

    def _continue(
        self, history: History, poses: np.ndarray, prompts: Prompts, generator: torch.Generator
    ) -> tuple[dict[str, Tensor], History]:
        """What the model makes of the next chunk, and the history after it."""
        pipe = self.pipe
        drawing = pipe.draw(history, poses)
        latents = pipe.generate_chunk(history, poses, prompts, drawing=drawing, generator=generator)
        decoded = pipe.decode_latents(latents)
        after = history.append(
            latents,
            poses,
            max_clips=pipe.config.history_clips,
            view=pipe.remember(pipe.refine(decoded, drawing), poses),
            max_views=pipe.config.remembered_views,
        )
        drawn, covered = drawing or Drawing(torch.zeros_like(decoded), torch.zeros_like(decoded[:, :1]))
        chunk = {
            "latents": latents.half(),
            "decoded": _bytes(decoded),
            "drawn": _bytes(drawn),
            "covered": covered[:, 0].byte(),
        }
        return chunk, after


def _bytes(videos: Tensor) -> Tensor:
    """Videos [B, 3, F, H, W] in about [-1, 1] as frames uint8 [B, F, H, W, 3]."""
    return torch.from_numpy(np.stack([to_frames(video[None]) for video in videos]))
