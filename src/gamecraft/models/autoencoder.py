"""The embedded model's video autoencoder: a fixed linear code with a trained convolutional decoder.

Because the encoder is only a projection on principal components, latents can be cached before, and stay valid while,
the decoder is trained. The interface is that of the video autoencoders of diffusers.
"""

from collections.abc import Sequence
from typing import Any, Self

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor

from gamecraft.models.patch_code import PatchBasis, from_patches, latent_scale, to_patches
from gamecraft.models.residual_decoder import ResidualDecoder

__all__ = ["AutoencoderPatchCode"]

_SURE = -30.0  # log-variance of a deterministic code: the smallest that diffusers' distribution allows


class AutoencoderPatchCode(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Video [B, 3, 1 + 4(n-1), H, W] in [-1, 1] to latents [B, C, n, H/8, W/8] and back.

    The latents are principal components (`from_basis`), divided by their standard deviation to `whitening_power`
    and brought to an overall mean square of 1 on the videos of the fit. `stage_channels` and `stage_blocks` give width
    and number of residual blocks of the decoder at 1, 2, 4... times the latent grid.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        *,
        latent_channels: int = 24,
        temporal_compression_ratio: int = 4,
        spatial_compression_ratio: int = 8,
        whitening_power: float = 0.5,
        stage_channels: Sequence[int] = (192, 96, 48),
        stage_blocks: Sequence[int] = (3, 4, 3),
        scaling_factor: float = 1.0,
    ) -> None:
        super().__init__()
        self.temporal_compression_ratio = temporal_compression_ratio
        self.spatial_compression_ratio = spatial_compression_ratio
        values = 3 * temporal_compression_ratio * spatial_compression_ratio**2
        self.register_buffer("basis", torch.eye(values)[:latent_channels].clone())
        self.register_buffer("mean", torch.zeros(values))
        self.register_buffer("stds", torch.ones(latent_channels))
        self.decoder = ResidualDecoder(
            latent_channels, stage_channels, stage_blocks, temporal_compression_ratio, spatial_compression_ratio
        )

    @classmethod
    def from_basis(cls, basis: PatchBasis, **config: Any) -> Self:
        """A model with the code of `basis` and an untrained decoder, which adds nothing to the linear decoding."""
        model: Self = cls(latent_channels=len(basis.basis), **config)
        model.basis.copy_(basis.basis)
        model.mean.copy_(basis.mean)
        model.stds.copy_(basis.stds)
        return model

    @apply_forward_hook  # type: ignore[untyped-decorator]
    def encode(self, x: Tensor, return_dict: bool = True) -> AutoencoderKLOutput | tuple[DiagonalGaussianDistribution]:
        """The latents of a video [B, 3, 1 + 4(n-1), H, W] as a distribution without spread: sampling gives the mode."""
        patches = to_patches(x, self.temporal_compression_ratio, self.spatial_compression_ratio)
        coefficients = (patches - self.mean) @ self.basis.T
        latents = (coefficients * self._scale()).permute(0, 4, 1, 2, 3)
        parameters = torch.cat([latents, torch.full_like(latents, _SURE)], dim=1)
        posterior = DiagonalGaussianDistribution(parameters, deterministic=True)
        return AutoencoderKLOutput(latent_dist=posterior) if return_dict else (posterior,)

    @apply_forward_hook  # type: ignore[untyped-decorator]
    def decode(self, z: Tensor, return_dict: bool = True) -> DecoderOutput | tuple[Tensor]:
        """The video [B, 3, 1 + 4(n-1), H, W], about [-1, 1], of latents [B, C, n, H/8, W/8]."""
        sample = self.decode_linear(z) + self.decoder(z)
        return DecoderOutput(sample=sample) if return_dict else (sample,)

    def decode_linear(self, z: Tensor) -> Tensor:
        """The video [B, 3, 1 + 4(n-1), H, W] that is closest among the span of the basis."""
        coefficients = z.permute(0, 2, 3, 4, 1) / self._scale()
        patches = coefficients @ self.basis + self.mean
        return from_patches(patches, self.temporal_compression_ratio, self.spatial_compression_ratio)

    def forward(self, sample: Tensor) -> Tensor:
        """Encode and decode a video."""
        decoded: Tensor = self.decode(self.encode(sample).latent_dist.mode()).sample
        return decoded

    def _scale(self) -> Tensor:
        return latent_scale(self.stds.float(), self.config.whitening_power).to(self.stds.dtype)
