"""Feature extractors for Fréchet video distances, from weights on disk; their names are part of the metric's name."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gamecraft.errors import CheckpointError

__all__ = ["FeatureExtractor", "I3dFeatures", "VideoMaeFeatures", "open_extractors"]

Frames = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float64]


class FeatureExtractor(Protocol):
    """Turns a video into one vector, for Fréchet distances."""

    @property
    def name(self) -> str:
        """Part of the metric's name."""

    def __call__(self, frames: Frames) -> Array:
        """Features [D] of a video uint8 [F, H, W, 3]."""


def open_extractors(videomae: str | None, i3d: str | None) -> list[FeatureExtractor]:
    """The extractors whose weights are given; see the classes for what they take and raise."""
    found: list[FeatureExtractor] = [] if videomae is None else [VideoMaeFeatures(videomae)]
    return found if i3d is None else [*found, I3dFeatures(i3d)]


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
            self._model: Any
            self._model, loaded = VideoMAEModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
        except Exception as error:  # transformers and safetensors raise many types for damaged folders
            raise CheckpointError(f"no usable VideoMAE model in {folder}: {error}") from error
        if loaded["missing_keys"]:  # transformers would fill these with noise
            names = sorted(loaded["missing_keys"])
            raise CheckpointError(f"{folder} lacks {len(names)} weights of a VideoMAE encoder, such as {names[0]}")
        self._model.eval()
        self.name = f"videomae:{Path(folder).resolve().name}"

    def __call__(self, frames: Frames) -> Array:
        """Features [D] of a video of any length and size: as many frames as the model takes, evenly spread."""
        import torch

        config = self._model.config
        numbers = np.linspace(0, len(frames) - 1, config.num_frames).round().astype(int)
        resized = _resized(frames[numbers], config.image_size)
        # The normalisation that the published models were trained with (ImageNet's).
        pixels = (resized / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
        with torch.inference_mode():
            video = torch.from_numpy(pixels.transpose(0, 3, 1, 2)[None].astype(np.float32))
            states = self._model(pixel_values=video).last_hidden_state
        return np.asarray(states[0].mean(dim=0).double().numpy())


class I3dFeatures:
    """The 400 Kinetics logits of an I3D, averaged over time: the features of the usual FVD (Unterthiner et al. 2018).

    Args:
        file: a state dict of ``gamecraft.evaluation.i3d.InceptionI3d``, such as ``i3d_pretrained_400.pt``.

    Raises:
        CheckpointError: the file is missing or holds other weights.
    """

    _SIZE = 224
    _LEAST_FRAMES = 9  # fewer leave nothing after four halvings

    def __init__(self, file: str) -> None:
        from gamecraft.evaluation.i3d import InceptionI3d
        from gamecraft.torch_files import load_torch_file

        self._model = InceptionI3d().eval()
        try:
            self._model.load_state_dict(load_torch_file(Path(file)))
        except (RuntimeError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise CheckpointError(f"{file} holds no I3D with 400 classes: {reason:.200}") from None
        self.name = f"i3d:{Path(file).stem}"

    def __call__(self, frames: Frames) -> Array:
        """Features [400] of all frames, at 224 x 224 pixels; short videos go on with their last frame."""
        import torch

        pixels = _resized(frames, self._SIZE).astype(np.float32) / 127.5 - 1
        missing = max(0, self._LEAST_FRAMES - len(pixels))
        pixels = np.concatenate([pixels, np.repeat(pixels[-1:], missing, axis=0)])
        with torch.inference_mode():
            logits = self._model(torch.from_numpy(pixels.transpose(3, 0, 1, 2)[None]))
        return np.asarray(logits[0].double().numpy())


def _resized(frames: Frames, side: int) -> Frames:
    import cv2

    enlarging = side > min(frames.shape[1:3])
    how = cv2.INTER_LINEAR if enlarging else cv2.INTER_AREA
    return np.array([cv2.resize(frame, (side, side), interpolation=how) for frame in frames], dtype=np.uint8)
