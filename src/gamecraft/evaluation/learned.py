"""Metrics that need the weights of other networks: only computed when these are given, and named after them.

Nothing is downloaded here, and nothing takes the place of what is missing: without weights there is no number.
"""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gamecraft.errors import CheckpointError, InputError

__all__ = ["FeatureExtractor", "PictureQuality", "VideoMaeFeatures", "missing_metrics"]

Frames = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float64]


class FeatureExtractor(Protocol):
    """Turns a video into one vector, for Fréchet distances."""

    @property
    def name(self) -> str:
        """Part of the metric's name."""

    def __call__(self, frames: Frames) -> Array:
        """Features [D] of a video uint8 [F, H, W, 3]."""


class VideoMaeFeatures:
    """The mean of a VideoMAE encoder's last hidden states over its tokens (Tong et al. 2022, arXiv:2203.12602).

    Args:
        folder: a transformers folder with ``config.json`` and weights in safetensors.

    Raises:
        CheckpointError: there is no usable model in the folder.
    """

    def __init__(self, folder: str) -> None:
        from transformers import VideoMAEModel

        if not (Path(folder) / "config.json").is_file() or not list(Path(folder).glob("*.safetensors")):
            raise CheckpointError(f"{folder} holds no VideoMAE model (config.json and safetensors weights)")
        try:
            self._model: Any = VideoMAEModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
        except Exception as error:  # transformers and safetensors raise many types for damaged folders
            raise CheckpointError(f"no usable VideoMAE model in {folder}: {error}") from error
        self.name = f"videomae:{Path(folder).resolve().name}"

    def __call__(self, frames: Frames) -> Array:
        """Features [D] of a video of any length and size: as many frames as the model takes, evenly spread."""
        import cv2
        import torch

        config = self._model.config
        numbers = np.linspace(0, len(frames) - 1, config.num_frames).round().astype(int)
        size = (config.image_size, config.image_size)
        resized = np.stack([cv2.resize(frames[number], size, interpolation=cv2.INTER_AREA) for number in numbers])
        # The normalisation that the published models were trained with (ImageNet's).
        pixels = (resized / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
        with torch.inference_mode():
            video = torch.from_numpy(pixels.transpose(0, 3, 1, 2)[None].astype(np.float32))
            states = self._model(pixel_values=video).last_hidden_state
        return np.asarray(states[0].mean(dim=0).double().numpy())


class PictureQuality:
    """A metric of the pyiqa package by its name there, such as lpips, musiq (image quality) or laion_aes (aesthetic).

    Raises:
        InputError: pyiqa is not installed, does not know the name, or has no weights for it on this machine.
    """

    def __init__(self, name: str) -> None:
        try:
            import pyiqa  # type: ignore[import-not-found,unused-ignore]
        except ImportError:
            raise InputError(f"{name} needs the package pyiqa, which is not installed") from None
        try:
            self._metric: Any = pyiqa.create_metric(name, device="cpu")
        except Exception as error:  # unknown names, missing files and failed downloads alike
            raise InputError(f"pyiqa cannot make {name}: {str(error) or type(error).__name__:.200}") from error
        self.name = f"pyiqa:{name}"
        self.needs_truth = getattr(self._metric, "metric_mode", "NR") == "FR"

    def __call__(self, frames: Frames, truth: Frames) -> float:
        """Mean over frames uint8 [F, H, W, 3], against the true ones if the metric compares."""
        import torch

        def pictures(clip: Frames) -> Any:
            return torch.from_numpy(clip.transpose(0, 3, 1, 2).astype(np.float32) / 255)

        with torch.inference_mode():
            values = self._metric(pictures(frames), *([pictures(truth)] if self.needs_truth else []))
        return float(values.mean())


def missing_metrics(videomae: str | None, pyiqa: tuple[str, ...]) -> list[str]:
    """What the paper reports and this evaluation has not computed, and why, one line each."""
    lines = []
    if videomae is None:
        lines.append("FVD: no feature extractor was given (--videomae FOLDER)")
    for name, meaning in (("lpips", "LPIPS"), ("musiq", "image quality"), ("laion_aes", "aesthetic score")):
        if name not in pyiqa:
            lines.append(f"{meaning}: its network was not given (--pyiqa {name})")
    return lines
