"""The convolutional part of the embedded model's decoder: what the linear code of single patches cannot see.

It works on few, wide positions (one position of the first stage is a whole 4-frame 8x8 patch), which is what CPUs
like: every 3x3 convolution costs about the same at every stage.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["ResidualDecoder"]


class ResidualDecoder(nn.Module):
    """Latents to a correction of the linearly decoded frames; zero until trained.

    Stage k works at 2**k times the latent grid. Between stages, channels become positions (pixel shuffle).
    """

    def __init__(
        self, latent_channels: int, stage_channels: Sequence[int], stage_blocks: Sequence[int], group: int, size: int
    ) -> None:
        super().__init__()
        self.group = group
        self.conv_in = nn.Conv2d(latent_channels, stage_channels[0], 3, padding=1)
        self.stages = nn.ModuleList(
            nn.ModuleList(ResidualBlock(channels) for _ in range(blocks))
            for channels, blocks in zip(stage_channels, stage_blocks, strict=True)
        )
        self.upsamplers = nn.ModuleList(
            nn.Conv2d(narrow, 4 * wide, 1) for narrow, wide in pairwise(stage_channels)
        )
        self.shuffle = size >> (len(stage_channels) - 1)
        self.conv_out = nn.Conv2d(stage_channels[-1], 3 * group * self.shuffle**2, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)  # type: ignore[arg-type]

    def forward(self, latents: Tensor) -> Tensor:
        """Latents [B, C, n, h, w] to a correction [B, 3, 1 + group(n-1), h x size, w x size]."""
        batch, _, groups, _, _ = latents.shape
        hidden = latents.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        hidden = self.conv_in(hidden)
        for index, blocks in enumerate(self.stages):
            if index:
                hidden = F.pixel_shuffle(self.upsamplers[index - 1](hidden), 2)
            for block in blocks:
                hidden = block(hidden, groups)
        frames = F.pixel_shuffle(self.conv_out(hidden), self.shuffle)
        frames = frames.unflatten(0, (batch, groups)).unflatten(2, (3, self.group))
        return frames.transpose(1, 2).flatten(2, 3)[:, :, self.group - 1 :]


class ResidualBlock(nn.Module):
    """Normalise, look at the neighbouring groups, two 3x3 convolutions, add."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels, 1, 1))
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]

    def forward(self, hidden: Tensor, groups: int) -> Tensor:
        """Positions [B x groups, C, h, w] to the same shape."""
        size = hidden.square().mean(dim=1, keepdim=True)
        normal = hidden * torch.rsqrt(size + 1e-6) * self.gain
        update = F.silu(self.conv1(shift_in_time(normal, groups)))
        return hidden + self.conv2(update)


def shift_in_time(hidden: Tensor, groups: int) -> Tensor:
    """Take a quarter of the channels from the previous group and a quarter from the next; ends repeat.

    Costs no arithmetic, and lets the following convolution use what moved in from the neighbours.
    hidden: [B x groups, C, h, w].
    """
    if groups == 1:
        return hidden
    split = hidden.unflatten(0, (-1, groups))
    quarter = hidden.shape[1] // 4
    past, future, present = split.split([quarter, quarter, hidden.shape[1] - 2 * quarter], dim=2)
    past = torch.cat([past[:, :1], past[:, :-1]], dim=1)
    future = torch.cat([future[:, 1:], future[:, -1:]], dim=1)
    return torch.cat([past, future, present], dim=2).flatten(0, 1)
