"""The convolutional part of the embedded model's decoder: what the linear code of single patches cannot see.

It works on few, wide positions (one position of the first stage is a whole 4-frame 8x8 patch), which is what CPUs
like: every 3x3 convolution costs about the same at every stage.
"""

from collections.abc import Sequence

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
            Stage(entering, channels, blocks, upsample=index > 0)
            for index, (entering, channels, blocks) in enumerate(
                zip([stage_channels[0], *stage_channels[:-1]], stage_channels, stage_blocks, strict=True)
            )
        )
        self.shuffle = size >> (len(stage_channels) - 1)
        self.conv_out = nn.Conv2d(stage_channels[-1], 3 * group * self.shuffle**2, 3, padding=1)
        _zero(self.conv_out)

    def forward(self, latents: Tensor) -> Tensor:
        """Latents [B, C, n, h, w] to a correction [B, 3, 1 + group(n-1), h x size, w x size]."""
        batch, _, groups, _, _ = latents.shape
        hidden = latents.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        hidden = self.conv_in(hidden)
        for stage in self.stages:
            hidden = stage(hidden, groups)
        frames = F.pixel_shuffle(self.conv_out(hidden), self.shuffle)
        height, width = frames.shape[-2:]
        frames = frames.reshape(batch, groups, 3, self.group, height, width)
        return frames.transpose(1, 2).flatten(2, 3)[:, :, self.group - 1 :]


class Stage(nn.Module):
    """Residual blocks at one resolution, after doubling that of the stage before unless it is the first."""

    def __init__(self, entering: int, channels: int, blocks: int, *, upsample: bool) -> None:
        super().__init__()
        self.upsample = nn.Conv2d(entering, 4 * channels, 1) if upsample else None
        self.blocks = nn.ModuleList(ResidualBlock(channels) for _ in range(blocks))

    def forward(self, hidden: Tensor, groups: int) -> Tensor:
        """Positions [B x groups, entering, h, w] to [B x groups, channels, (2)h, (2)w]."""
        if self.upsample is not None:
            hidden = F.pixel_shuffle(self.upsample(hidden), 2)
        for block in self.blocks:
            hidden = block(hidden, groups)
        return hidden


class ResidualBlock(nn.Module):
    """Normalise, look at the neighbouring groups, two 3x3 convolutions, add."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels, 1, 1))
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        _zero(self.conv2)

    def forward(self, hidden: Tensor, groups: int) -> Tensor:
        """Positions [B x groups, C, h, w] to the same shape."""
        size = hidden.square().mean(dim=1, keepdim=True)
        normal = (hidden * torch.rsqrt(size + 1e-6) * self.gain).to(hidden.dtype)
        update = F.silu(self.conv1(shift_in_time(normal, groups)))
        correction: Tensor = self.conv2(update)
        return hidden + correction


def shift_in_time(hidden: Tensor, groups: int) -> Tensor:
    """Take a quarter of the channels from the previous group and a quarter from the next; ends repeat.

    Costs no arithmetic, and lets the following convolution use what moved in from the neighbours.
    hidden: [B x groups, C, h, w].
    """
    if groups == 1:
        return hidden
    channels = hidden.shape[1]
    quarter = channels // 4
    # channels last, as convolutions like it on CPUs
    split = hidden.reshape(-1, groups, *hidden.shape[1:]).permute(0, 1, 3, 4, 2)
    past, future, present = torch.split(split, [quarter, quarter, channels - 2 * quarter], dim=-1)
    past = torch.cat([past[:, :1], past[:, :-1]], dim=1)
    future = torch.cat([future[:, 1:], future[:, -1:]], dim=1)
    return torch.cat([past, future, present], dim=-1).permute(0, 1, 4, 2, 3).flatten(0, 1)


def _zero(layer: nn.Conv2d) -> None:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
