"""Picture metrics with learned networks in plain PyTorch: LPIPS on AlexNet, and LAION's aesthetic score on CLIP.

Both read the files their authors published; nothing is downloaded.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from gamecraft.errors import CheckpointError
from gamecraft.torch_files import load_torch_file

__all__ = ["Aesthetic", "Lpips"]

Frames = npt.NDArray[np.uint8]

# AlexNet's convolutions, numbered as in torchvision's weights: in, out, kernel, stride, padding, pooled before.
_LAYERS = (
    (0, 3, 64, 11, 4, 2, False),
    (3, 64, 192, 5, 1, 2, True),
    (6, 192, 384, 3, 1, 1, True),
    (8, 384, 256, 3, 1, 1, False),
    (10, 256, 256, 3, 1, 1, False),
)
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # LPIPS's own normalisation of [-1, 1]
_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class Lpips:
    """Learned perceptual distance, version 0.1 on AlexNet (Zhang et al. 2018, arXiv:1801.03924): 0 for equal pictures.

    Args:
        folder: with torchvision's ``alexnet*.pth`` and the five linear layers of LPIPS, ``alex.pth``.

    Raises:
        CheckpointError: one of them is missing or has other weights.
    """

    name = "lpips_alex"
    needs_truth = True

    def __init__(self, folder: str) -> None:
        backbones = sorted(Path(folder).glob("alexnet*.pth"))
        if not backbones:
            raise CheckpointError(f"{folder} holds no weights of AlexNet (alexnet*.pth) for LPIPS")
        backbone, heads = load_torch_file(backbones[0]), load_torch_file(Path(folder) / "alex.pth")
        self._layers: list[nn.Conv2d] = []
        self._heads: list[Tensor] = []
        try:
            for index, (number, into, out, kernel, stride, padding, _) in enumerate(_LAYERS):
                layer = nn.Conv2d(into, out, kernel, stride, padding)
                names = ("weight", "bias")
                layer.load_state_dict({name: backbone[f"features.{number}.{name}"] for name in names})
                self._layers.append(layer)
                self._heads.append(heads[f"lin{index}.model.1.weight"].reshape(1, out, 1, 1).float())
        except (KeyError, RuntimeError, TypeError) as error:
            raise CheckpointError(f"{folder} holds other weights than LPIPS on AlexNet has: {error}") from None

    def __call__(self, frames: Frames, truth: Frames) -> float:
        """Mean over frames uint8 [F, H, W, 3], against the true ones."""
        with torch.inference_mode():
            pairs = zip(self._features(frames), self._features(truth), self._heads, strict=True)
            distance = sum(((a - b).square() * head).sum(dim=1).mean(dim=(1, 2)) for a, b, head in pairs)
        return float(torch.as_tensor(distance).mean())

    def _features(self, frames: Frames) -> list[Tensor]:
        """Activations of the five layers, of length 1 at every place."""
        x = (torch.from_numpy(_channels_first(frames)) / 127.5 - 1 - _per_channel(_SHIFT)) / _per_channel(_SCALE)
        found = []
        for layer, (*_, pooled) in zip(self._layers, _LAYERS, strict=True):
            x = functional.relu(layer(functional.max_pool2d(x, 3, 2) if pooled else x))
            found.append(x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10))
        return found


class Aesthetic:
    """LAION's linear aesthetic score, 0 to 10 as people rate, on CLIP's picture embedding; VBench's is a tenth of it.

    Args:
        folder: a transformers folder of a CLIP model (``config.json``, safetensors; ViT-L/14 for the published head)
            with the head beside it, ``sa_0_4_*_linear.pth``.

    Raises:
        CheckpointError: one of them is missing or does not fit the other.
    """

    name = "aesthetic_laion"
    needs_truth = False

    def __init__(self, folder: str) -> None:
        from transformers import CLIPVisionModelWithProjection

        files = sorted(Path(folder).glob("sa_0_4_*_linear.pth"))
        if not files:
            raise CheckpointError(f"{folder} holds no aesthetic head (sa_0_4_*_linear.pth)")
        try:
            self._model: Any
            self._model, loaded = CLIPVisionModelWithProjection.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
        except Exception as error:  # transformers and safetensors raise many types for damaged folders
            raise CheckpointError(f"no usable CLIP model in {folder}: {error}") from error
        if loaded["missing_keys"]:
            names = sorted(loaded["missing_keys"])
            raise CheckpointError(f"{folder} lacks {len(names)} weights of a CLIP picture encoder, such as {names[0]}")
        self._model.eval()
        self._head = nn.Linear(self._model.config.projection_dim, 1)
        try:
            self._head.load_state_dict(load_torch_file(files[0]))
        except (RuntimeError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise CheckpointError(f"{files[0]} is no linear head for this CLIP model: {reason:.200}") from None

    def __call__(self, frames: Frames, truth: Frames) -> float:
        """Mean score over frames uint8 [F, H, W, 3]; the truth is not looked at."""
        side = self._model.config.image_size
        pixels = functional.interpolate(
            torch.from_numpy(_channels_first(frames)), (side, side), mode="bicubic", antialias=True
        )
        with torch.inference_mode():
            normal = (pixels.clamp(0, 255) / 255 - _per_channel(_CLIP_MEAN)) / _per_channel(_CLIP_STD)
            embedding = self._model(pixel_values=normal).image_embeds
            score: Tensor = self._head(functional.normalize(embedding, dim=-1))
        return float(score.mean())


def _channels_first(frames: Frames) -> npt.NDArray[np.float32]:
    return frames.transpose(0, 3, 1, 2).astype(np.float32)


def _per_channel(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values).view(1, 3, 1, 1)
