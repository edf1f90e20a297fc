"""The Inflated 3D ConvNet on Inception (Carreira and Zisserman 2017, arXiv:1705.07750), RGB, as FVD uses it.

Parameters are named as in the PyTorch weights that go round (``rgb_imagenet.pt``, ``i3d_pretrained_400.pt``), so that
these load strictly. Padding is TensorFlow's "same": as even as possible, the odd one behind.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["KINETICS_CLASSES", "InceptionI3d"]

KINETICS_CLASSES = 400

_EPSILON = 1e-3
# Inception blocks: channels of the 1x1 branch, of the two 3x3 branches (before, after), and of the pooled branch.
_BLOCKS = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
# Kernels and strides of the pools before some of them.
_POOLED_BEFORE = {
    "Mixed_3b": ((1, 3, 3), (1, 2, 2)),
    "Mixed_4b": ((3, 3, 3), (2, 2, 2)),
    "Mixed_5b": ((2, 2, 2), (2, 2, 2)),
}
_LAST_POOL = 2  # latent frames that are averaged before the logits


class InceptionI3d(nn.Module):
    """Video [B, 3, F, H, W] in [-1, 1] (trained on 224 x 224 pixels, at least 9 frames) -> logits [B, classes]."""

    def __init__(self, classes: int = KINETICS_CLASSES) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = _Unit(3, 64, 7, stride=2)
        self.Conv3d_2b_1x1 = _Unit(64, 64, 1)
        self.Conv3d_2c_3x3 = _Unit(64, 192, 3)
        channels = 192
        for name, sizes in _BLOCKS.items():
            self.add_module(name, _Block(channels, sizes))
            channels = sizes[0] + sizes[2] + sizes[4] + sizes[5]
        self.logits = _Unit(channels, classes, 1, last=True)

    def forward(self, video: Tensor) -> Tensor:
        """Mean over time of the logits."""
        x = _pool(self.Conv3d_1a_7x7(video), (1, 3, 3), (1, 2, 2))
        x = self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x))
        for name in _BLOCKS:
            if name in _POOLED_BEFORE:
                x = _pool(x, *_POOLED_BEFORE[name])
            x = self.get_submodule(name)(x)
        x = functional.avg_pool3d(x, (min(_LAST_POOL, x.shape[2]), *x.shape[3:]), stride=1)
        logits: Tensor = self.logits(x)
        return logits.mean(dim=(2, 3, 4))


class _Unit(nn.Module):
    """Convolution, batch norm and ReLU; the ``last`` one has a bias instead."""

    def __init__(self, channels: int, out: int, size: int, *, stride: int = 1, last: bool = False) -> None:
        super().__init__()
        self.size, self.stride = (size,) * 3, (stride,) * 3
        self.conv3d = nn.Conv3d(channels, out, size, stride=stride, bias=last)
        self.bn = None if last else nn.BatchNorm3d(out, eps=_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv3d(_same(x, self.size, self.stride))
        return x if self.bn is None else functional.relu(self.bn(x))


class _Block(nn.Module):
    """Four branches beside one another."""

    def __init__(self, channels: int, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.b0 = _Unit(channels, sizes[0], 1)
        self.b1a, self.b1b = _Unit(channels, sizes[1], 1), _Unit(sizes[1], sizes[2], 3)
        self.b2a, self.b2b = _Unit(channels, sizes[3], 1), _Unit(sizes[3], sizes[4], 3)
        self.b3b = _Unit(channels, sizes[5], 1)

    def forward(self, x: Tensor) -> Tensor:
        branches = [self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(_pool(x, (3, 3, 3), (1, 1, 1)))]
        return torch.cat(branches, dim=1)


def _pool(x: Tensor, size: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    # Everything pooled comes from a ReLU, so zeros around it never win.
    return functional.max_pool3d(_same(x, size, stride), size, stride)


def _same(x: Tensor, size: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    padding: list[int] = []
    for length, kernel, step in zip(reversed(x.shape[2:]), reversed(size), reversed(stride), strict=True):
        whole = max(kernel - (length % step or step), 0)
        padding += [whole // 2, whole - whole // 2]
    return functional.pad(x, padding)
