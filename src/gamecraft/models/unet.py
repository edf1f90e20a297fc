"""A small U-Net on squares of pixels, which is what CPUs like: few, wide positions."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gamecraft.models.residual_decoder import ResidualBlock

__all__ = ["PatchUNet", "convolve_squares"]


class PatchUNet(nn.Module):
    """Pictures to pictures of the same size, through squares of `patch` x `patch` pixels.

    `channels` and `blocks` give width and number of residual blocks at 1/patch, 1/(2 patch)... of the picture's size.
    """

    def __init__(
        self, entering: int, leaving: int, *, patch: int, channels: Sequence[int], blocks: Sequence[int]
    ) -> None:
        """entering: channels of a square. leaving: channels of a pixel of the result, which is zero until trained."""
        super().__init__()
        self.patch = patch
        self.conv_in = nn.Conv2d(entering, channels[0], 3, padding=1)
        pairs = list(itertools.pairwise(channels))
        self.downs = nn.ModuleList(nn.Conv2d(4 * fine, coarse, 1) for fine, coarse in pairs)
        self.ups = nn.ModuleList(nn.Conv2d(coarse, 4 * fine, 1) for fine, coarse in pairs)
        self.encoders, self.decoders = (
            nn.ModuleList(_Blocks(width, count) for width, count in zip(channels, blocks, strict=True))
            for _ in range(2)
        )
        self.conv_out = nn.Conv2d(channels[0], leaving * patch**2, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        assert self.conv_out.bias is not None
        nn.init.zeros_(self.conv_out.bias)

    def through(self, hidden: Tensor) -> Tensor:
        """What `conv_in` gives, [B, channels[0], H/patch, W/patch], to pictures [B, leaving, H, W]."""
        skips: list[Tensor] = []
        for level, encoder in enumerate(self.encoders):
            if level:
                hidden = convolve_squares(hidden, self.downs[level - 1], 2)
            hidden = encoder(hidden)
            skips.append(hidden)
        for level in reversed(range(len(self.decoders))):
            if level < len(self.decoders) - 1:
                hidden = skips[level] + F.pixel_shuffle(self.ups[level](hidden), 2)
            hidden = self.decoders[level](hidden)
        return F.pixel_shuffle(self.conv_out(hidden), self.patch)


def convolve_squares(pictures: Tensor, layer: nn.Module, side: int) -> Tensor:
    """What a convolution gives for `pixel_unshuffle(pictures, side)`, without making that, which takes longer on CPUs.

    pictures: [B, C, H, W]. layer: an `nn.Conv2d` with an odd kernel, padded to keep the size, for C x side^2 channels.
    """
    assert isinstance(layer, nn.Conv2d)
    kernels = layer.weight.shape
    weight = layer.weight.reshape(kernels[0], pictures.shape[1], side, side, *kernels[2:])
    kernel = weight.permute(0, 1, 4, 2, 5, 3).flatten(4).flatten(2, 3)
    padding = side * (layer.kernel_size[0] // 2)
    pictures, kernel = (x.contiguous(memory_format=torch.channels_last) for x in (pictures, kernel))
    return F.conv2d(pictures, kernel, layer.bias, stride=side, padding=padding)


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
