"""Detail for decoded frames, from what the scene memory shows of them.

Latents hold little of what is fine, and nothing of how it moves from frame to frame. The frames that the scene memory
draws (`gamecraft.scene`) have both, as far as something has been seen before and its depth is right.
"""

from collections.abc import Sequence

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor

from gamecraft.models.unet import PatchUNet, convolve_squares

__all__ = ["FrameRefiner"]


class FrameRefiner(PatchUNet, ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Decoded and drawn videos to refined ones; H and W are multiples of 4. Untrained, it changes nothing.

    A U-Net on squares of 2x2 pixels looks at each frame alone, and says how much of the drawn frame to take at every
    pixel. It can do no more than that: what is drawn shows frames that were refined themselves, and whatever makes a
    picture a little sharper or softer would do so again with every chunk.
    """

    dtype: torch.dtype  # a property of ModelMixin

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, *, channels: Sequence[int] = (32, 64), blocks: Sequence[int] = (0, 1)) -> None:
        super().__init__(7 * 4, 1, patch=2, channels=channels, blocks=blocks)

    def forward(self, decoded: Tensor, drawn: Tensor, covered: Tensor) -> Tensor:
        """Videos [B, 3, F, H, W] in about [-1, 1] to one more; `covered` [B, 1, F, H, W] is 1 where it is drawn."""
        frames = torch.cat([part.transpose(1, 2) for part in (decoded, drawn, covered)], dim=2)
        laid_out = frames.flatten(0, 1).to(self.dtype, memory_format=torch.channels_last)
        hidden = convolve_squares(laid_out, self.conv_in, self.patch)
        share = self.through(hidden).reshape(*frames.shape[:2], 1, *frames.shape[3:]).transpose(1, 2)
        refined: Tensor = decoded + share.float().clamp(0, 1) * covered * (drawn - decoded)
        return refined
