"""Camera rays of a chunk -> one feature per image token, added to the token after the patch embedding.

The network is the published camera network: rays are unshuffled to the latent grid, two 1x1 stages each halve the time
axis, a last 1x1 convolution and a patch embedding produce the tokens, one learned factor scales them. Group statistics
are taken frame by frame, so frames meet only in the temporal pooling.
"""

import torch
from diffusers.models.transformers.transformer_hunyuan_video import HunyuanVideoPatchEmbed
from torch import Tensor, nn
from torch.nn import functional as F

from gamecraft.errors import InputError
from gamecraft.rays import CameraRays

__all__ = ["RAY_CHANNELS", "TEMPORAL_RATIO", "ActionEncoder", "RayProjection"]

RAY_CHANNELS = 6  # Pluecker: moment (3), direction (3)
TEMPORAL_RATIO = 4  # two halvings; the temporal ratio of the VAE this encoder is used with must be the same


def halve_time(features: Tensor, frames: int) -> Tensor:
    """[B*F, C, h, w] -> [B*(F+1)/2, C, h, w] for odd F: keep the first frame, average the others in pairs."""
    if frames == 1:
        return features
    per_clip = features.reshape(-1, frames, *features.shape[1:])
    first, pairs = per_clip[:, :1], (per_clip[:, 1::2] + per_clip[:, 2::2]) / 2
    return torch.cat([first, pairs], dim=1).flatten(0, 1)


class RayProjection(nn.Conv2d):
    """The first layer: rays are unshuffled to the latent grid, each position is projected to half as many numbers.

    Args:
        spatial_ratio: pixels per latent position along one side.
    """

    def __init__(self, spatial_ratio: int) -> None:
        unshuffled = RAY_CHANNELS * spatial_ratio**2
        super().__init__(unshuffled, unshuffled // 2, kernel_size=1)
        self.spatial_ratio = spatial_ratio

    def forward(self, rays: Tensor | CameraRays) -> Tensor:
        """[B, F, 6, H, W] -> [B*F, 3 * ratio^2, H/ratio, W/ratio]."""
        if isinstance(rays, CameraRays):
            return self._project_cameras(rays)
        return super().forward(F.pixel_unshuffle(rays.to(self.weight.dtype).flatten(0, 1), self.spatial_ratio))

    def _project_cameras(self, rays: CameraRays) -> Tensor:
        """The same without spelling the rays out.

        They and this layer are linear, so the layer is applied to the directions once, for all frames; what a frame
        adds is its matrix. Autocast would round metres.
        """
        dtype = self.weight.dtype
        directions = F.pixel_unshuffle(rays.directions.to(dtype)[:, None], self.spatial_ratio)  # [3, ratio^2, h, w]
        grid = directions.shape[2:]
        weight = self.weight.reshape(len(self.weight), RAY_CHANNELS, -1).transpose(0, 1)  # [6, out, ratio^2]
        matrix = rays.matrix.to(dtype).flatten(0, -3)  # [B*F, 6, 3]
        bias = torch.zeros_like(self.weight[:, 0, 0, 0]) if self.bias is None else self.bias
        with torch.autocast(directions.device.type, enabled=False):
            result = bias.repeat_interleave(grid.numel()).repeat(len(matrix), 1)
            for axis, along in enumerate(directions.flatten(2)):
                result = result.addmm_(matrix[:, :, axis], (weight @ along).flatten(1))
        return result.reshape(len(result), -1, *grid)


class ActionEncoder(nn.Module):
    """Rays [B, F, 6, H, W] -> tokens [B, t*h*w, hidden] with t = 1 + (F-1)/4, h = H/(ratio*patch), w = W/(ratio*patch).

    Args:
        hidden_size: width of the transformer.
        spatial_ratio: pixels per latent position along one side (that of the VAE).
        channels: features per latent position before the patch embedding.
        patch_size: latent positions per token along one side.
    """

    def __init__(self, hidden_size: int, spatial_ratio: int = 8, channels: int = 16, patch_size: int = 2) -> None:
        super().__init__()
        unshuffled = RAY_CHANNELS * spatial_ratio**2
        self.spatial_ratio = spatial_ratio
        self.patch_size = patch_size
        self.conv_in = RayProjection(spatial_ratio)
        self.norm_in = nn.GroupNorm(2, unshuffled // 2)
        self.conv_mid = nn.Conv2d(unshuffled // 2, unshuffled // 4, kernel_size=1)
        self.norm_mid = nn.GroupNorm(2, unshuffled // 4)
        self.conv_out = nn.Conv2d(unshuffled // 4, channels, kernel_size=1)
        self.patch_embed = HunyuanVideoPatchEmbed((1, patch_size, patch_size), channels, hidden_size)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, rays: Tensor | CameraRays) -> Tensor:
        """Rays [B, F, 6, H, W] of any float type -> tokens [B, t*h*w, hidden], ordered by time, row, column.

        Rays that are not spelled out need a third of the memory at the published size, and less time.

        Raises:
            InputError: F is not 1 + 4k, or H or W is not a multiple of spatial_ratio * patch_size.
        """
        self._check(rays)
        frames = rays.shape[1]
        features = F.relu(self.norm_in(self.conv_in(rays)))
        features = halve_time(features, frames)
        features = F.relu(self.norm_mid(self.conv_mid(features)))
        features = halve_time(features, (frames + 1) // 2)
        features = self.conv_out(features)
        clips = features.reshape(rays.shape[0], -1, *features.shape[1:]).transpose(1, 2)  # [B, channels, t, h, w]
        tokens: Tensor = self.patch_embed(clips) * self.scale
        return tokens

    def _check(self, rays: Tensor | CameraRays) -> None:
        step = self.spatial_ratio * self.patch_size
        if (
            len(rays.shape) != 5
            or rays.shape[2] != RAY_CHANNELS
            or rays.shape[1] % TEMPORAL_RATIO != 1
            or rays.shape[3] % step
            or rays.shape[4] % step
        ):
            raise InputError(
                f"rays have shape {list(rays.shape)}; expected [B, F, {RAY_CHANNELS}, H, W] with "
                f"F = 1 + {TEMPORAL_RATIO}k frames and H, W multiples of {step} pixels"
            )
