"""Depth of a single picture, learned from clips with known cameras."""

import math
from collections.abc import Sequence

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional as F

from gamecraft.models.unet import PatchUNet

__all__ = ["DepthEstimator"]


class DepthEstimator(PatchUNet, ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Pictures [B, 3, H, W] in [-1, 1] to inverse depths [B, 1, H, W], 1/m; H and W are multiples of 16.

    A U-Net on squares of 4x4 pixels. Each square's place in the picture is an input: where the ground lies depends on
    it.
    """

    dtype: torch.dtype  # a property of ModelMixin

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self, *, channels: Sequence[int] = (64, 128, 192), blocks: Sequence[int] = (2, 2, 2), largest: float = 4.0
    ) -> None:
        patch = 4
        super().__init__(3 * patch**2 + 2, 1, patch=patch, channels=channels, blocks=blocks)
        self.largest = largest
        # an untrained estimator sees everything at ten metres
        assert self.conv_out.bias is not None
        nn.init.constant_(self.conv_out.bias, math.log(0.1 / (largest - 0.1)))

    def forward(self, picture: Tensor) -> Tensor:
        """Inverse depths in (0, `largest`)."""
        rows = torch.linspace(-1, 1, picture.shape[-2] // self.patch, device=picture.device, dtype=picture.dtype)
        columns = torch.linspace(-1, 1, picture.shape[-1] // self.patch, device=picture.device, dtype=picture.dtype)
        place = torch.stack(torch.meshgrid(rows, columns, indexing="ij")).expand(len(picture), -1, -1, -1)
        squares = torch.cat([F.pixel_unshuffle(picture, self.patch), place], dim=1)
        raw = self.through(self.conv_in(squares.contiguous(memory_format=torch.channels_last)))
        inverse: Tensor = self.largest * raw.float().sigmoid()
        return inverse
