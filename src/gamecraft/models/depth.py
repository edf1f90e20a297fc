"""Depth of a single picture, learned from clips with known cameras."""

import itertools
import math
from collections.abc import Sequence

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional as F

from gamecraft.models.residual_decoder import ResidualBlock

__all__ = ["DepthEstimator"]


class DepthEstimator(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Pictures [B, 3, H, W] in [-1, 1] to inverse depths [B, 1, H, W], 1/m; H and W are multiples of 16.

    A U-Net that starts on squares of 4x4 pixels, which is what CPUs like: `channels` and `blocks` give width and number
    of residual blocks at 1/4, 1/8 and 1/16 of the picture's size. Each pixel's place in the picture is an input: where
    the ground lies depends on it.
    """

    patch = 4

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self, *, channels: Sequence[int] = (64, 128, 192), blocks: Sequence[int] = (2, 2, 2), largest: float = 4.0
    ) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3 * self.patch**2 + 2, channels[0], 3, padding=1)
        pairs = list(itertools.pairwise(channels))
        self.downs = nn.ModuleList(nn.Conv2d(4 * fine, coarse, 1) for fine, coarse in pairs)
        self.ups = nn.ModuleList(nn.Conv2d(coarse, 4 * fine, 1) for fine, coarse in pairs)
        self.encoders, self.decoders = (
            nn.ModuleList(_Blocks(width, count) for width, count in zip(channels, blocks, strict=True))
            for _ in range(2)
        )
        self.conv_out = nn.Conv2d(channels[0], self.patch**2, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        # an untrained estimator sees everything at ten metres
        assert self.conv_out.bias is not None
        nn.init.constant_(self.conv_out.bias, math.log(0.1 / (largest - 0.1)))

    def forward(self, picture: Tensor) -> Tensor:
        """Inverse depths in (0, `largest`)."""
        rows = torch.linspace(-1, 1, picture.shape[-2] // self.patch, device=picture.device, dtype=picture.dtype)
        columns = torch.linspace(-1, 1, picture.shape[-1] // self.patch, device=picture.device, dtype=picture.dtype)
        place = torch.stack(torch.meshgrid(rows, columns, indexing="ij")).expand(len(picture), -1, -1, -1)
        hidden = torch.cat([F.pixel_unshuffle(picture, self.patch), place], dim=1)
        hidden = self.conv_in(hidden.contiguous(memory_format=torch.channels_last))
        skips: list[Tensor] = []
        for level, encoder in enumerate(self.encoders):
            if level:
                hidden = self.downs[level - 1](F.pixel_unshuffle(hidden, 2))
            hidden = encoder(hidden)
            skips.append(hidden)
        for level in reversed(range(len(self.decoders))):
            if level < len(self.decoders) - 1:
                hidden = skips[level] + F.pixel_shuffle(self.ups[level](hidden), 2)
            hidden = self.decoders[level](hidden)
        raw = F.pixel_shuffle(self.conv_out(hidden), self.patch)
        inverse: Tensor = self.config.largest * raw.float().sigmoid()
        return inverse


class _Blocks(nn.Module):
    """Residual blocks on single pictures, one after the other."""

    def __init__(self, channels: int, count: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ResidualBlock(channels) for _ in range(count))

    def forward(self, hidden: Tensor) -> Tensor:
        """[B, C, h, w] to the same shape."""
        for block in self.blocks:
            hidden = block(hidden, 1)
        return hidden
