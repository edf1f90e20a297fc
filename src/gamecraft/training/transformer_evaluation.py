"""How well the transformer does on recordings it has never seen: losses at fixed noise levels, and sampled chunks."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from PIL import Image
from torch import Tensor

from gamecraft.errors import CheckpointError
from gamecraft.files import write_atomically
from gamecraft.models.autoencoder import AutoencoderPatchCode
from gamecraft.models.vae_tiling import keep_clips_whole
from gamecraft.pictures import to_frames
from gamecraft.training.batch_scenes import BatchScenes
from gamecraft.training.batch_transformer import BatchTransformer, Conditions
from gamecraft.training.chunk_batches import ChunkBatch, collate
from gamecraft.training.history_sampling import HistoryKind, first_chunk, history_clips
from gamecraft.training.latents import LatentDataset
from gamecraft.training.objectives import flow_loss, interpolate
from gamecraft.training.text_cache import TextCache
from gamecraft.video import write_video

__all__ = ["EvaluationSettings", "HeldOut", "load_autoencoder", "psnr"]


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """Sizes of the measurement; everything random in it is fixed, so that runs compare."""

    sigmas: tuple[float, ...] = (0.25, 0.5, 0.75, 0.95)
    """Noise levels of the losses."""
    samples: int = 32
    """Chunks per kind of history in the losses."""
    sheet_rows: int = 3
    """Chunks that are sampled and drawn."""
    steps: int = 12
    """Denoising steps of a sampled chunk."""


class HeldOut:
    """A fixed choice of chunks of a held-out dataset."""

    def __init__(
        self,
        transformer: BatchTransformer,
        dataset: LatentDataset,
        text: TextCache,
        autoencoder: Any | None,
        scenes: BatchScenes | None = None,
        *,
        shift: float,
        autocast: torch.dtype | None,
        settings: EvaluationSettings,
    ) -> None:
        """`transformer` is not compiled; without an `autoencoder` chunks are compared as latents alone.

        `scenes` are for models with a scene memory.
        """
        self._transformer = transformer
        self._dataset = dataset
        self._text = text
        self._autoencoder = autoencoder
        self._scenes = scenes
        self._scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
        self._autocast = autocast
        self._settings = settings

    @torch.no_grad()
    def losses(self) -> dict[str, float]:
        """Mean loss by kind of history and noise level, such as `clip@0.5`, and over all as `loss`."""
        device = self._transformer.directions.device
        found: dict[str, float] = {}
        for kind in (HistoryKind.CLIP, HistoryKind.IMAGE):
            batch = self._batch(kind, self._settings.samples)
            generator = torch.Generator().manual_seed(0)
            noise = torch.randn(batch.latents.shape, generator=generator)
            conditions = Conditions.of(batch, self._text(batch.captions))
            for sigma in self._settings.sigmas:
                levels = torch.full((len(noise),), sigma)
                with torch.autocast(device.type, self._autocast, enabled=self._autocast is not None):
                    velocity = self._transformer(
                        interpolate(batch.latents, noise, levels), levels, batch.history, conditions
                    )
                loss = flow_loss(velocity.cpu(), batch.latents, noise)
                found[f"{kind}@{sigma:g}"] = float(loss.mean())
        return {"loss": float(np.mean(list(found.values()))), **found}

    @torch.no_grad()
    def sheet(self, path: Path | None) -> list[dict[str, float]]:
        """Sample chunks after a true clip and draw them, if given a path: last history frame, then truth above sample.

        Beside the picture there is a video of the same name, truth to the left of the sample.

        Returns:
            per chunk, in dB: `psnr` and `psnr_freeze` (repeating the last history frame) in pixels against the true
            frames, `psnr_code` of the autoencoder alone, and `psnr_latent` of the sample with the latents' peak of 1.
        """
        batch = self._batch(HistoryKind.CLIP, self._settings.sheet_rows)
        latents = self._sample(batch)
        rows: list[Image.Image] = []
        videos = []
        results = []
        for i, (clip, chunk) in enumerate(self._places(HistoryKind.CLIP, len(latents))):
            result = {"psnr_latent": _decibel((latents[i] - batch.latents[i]).square().mean(), 1.0)}
            if self._autoencoder is not None:
                true = self._dataset.chunk(clip, chunk)
                recording, start = true.clip.frames(), true.start
                truth, last = recording[start : start + self._dataset.chunk_frames], recording[start - 1]
                sample, code = (self._decode(x[i]) for x in (latents, batch.latents))
                result |= {
                    "psnr": psnr(sample, truth),
                    "psnr_freeze": psnr(np.broadcast_to(last, truth.shape), truth),
                    "psnr_code": psnr(code, truth),
                }
                rows += [_strip([last, *truth]), _strip([np.zeros_like(last), *sample])]
                videos.append(np.concatenate([truth, sample], axis=2))
            results.append(result)
        if rows and path is not None:
            picture = Image.fromarray(np.concatenate([np.asarray(row) for row in rows]))
            with write_atomically(path) as temporary:
                picture.save(temporary, format="PNG")
            write_video(path.with_suffix(".mp4"), np.concatenate(videos, axis=1), self._dataset.clips.fps)
        return results

    def _sample(self, batch: ChunkBatch) -> Tensor:
        """Chunks [B, C, t, h, w] on the CPU after the history of `batch`, with its actions and captions."""
        return self._transformer.sample(
            batch,
            torch.randn(batch.latents.shape, generator=torch.Generator().manual_seed(0)),
            Conditions.of(batch, self._text(batch.captions)),
            self._scheduler,
            steps=self._settings.steps,
            autocast=self._autocast,
        )

    def _decode(self, latents: Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
        vae: Any = self._autoencoder
        video = vae.decode((latents[None] / vae.config.scaling_factor).to(vae.device, vae.dtype)).sample
        return to_frames(video)

    def _places(self, kind: HistoryKind, count: int) -> list[tuple[int, int]]:
        """`count` (clip, chunk) pairs, spread over the dataset and over the recordings' length."""
        first = first_chunk(kind)
        span = self._dataset.chunks_per_clip - first
        return [(i * len(self._dataset) // count, first + i % span) for i in range(count)]

    def _batch(self, kind: HistoryKind, count: int) -> ChunkBatch:
        places = self._places(kind, count)
        chunks = [self._dataset.chunk(clip, chunk, history_clips(kind)) for clip, chunk in places]
        batch = collate(chunks, kind, [chunk.clip.caption_long for chunk in chunks])
        return self._scenes.show(batch) if self._scenes else batch


def load_autoencoder(folder: str | Path) -> Any:
    """The autoencoder of a diffusers folder, this package's or one of diffusers' by its `_class_name`, in float32.

    CheckpointError if the folder holds none.
    """
    try:
        name = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))["_class_name"]
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{folder} is no autoencoder folder: it needs a config.json with _class_name") from error
    kind = AutoencoderPatchCode if name == AutoencoderPatchCode.__name__ else getattr(diffusers, name)
    autoencoder = kind.from_pretrained(folder).eval()
    keep_clips_whole(autoencoder)
    return autoencoder


def psnr(frames: np.ndarray[Any, Any], truth: np.ndarray[Any, Any]) -> float:
    """Peak signal to noise ratio in dB of uint8 pictures."""
    error = np.square(frames.astype(np.float32) - truth.astype(np.float32)).mean()
    return _decibel(torch.tensor(error), 255.0)


def _decibel(squared_error: Tensor, peak: float) -> float:
    return 10 * float(torch.log10(peak**2 / squared_error.clamp(min=1e-10)))


def _strip(frames: list[np.ndarray[Any, Any]]) -> Image.Image:
    return Image.fromarray(np.concatenate(frames, axis=1))
