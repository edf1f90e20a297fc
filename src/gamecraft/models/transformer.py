"""The video transformer: diffusers' HunyuanVideo blocks, history beside the noise in the input, actions on the tokens.

The stock block classes are kept because caches, offloading and regional compilation look them up by class.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.models._modeling_parallel import ContextParallelInput, ContextParallelOutput
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from diffusers.models.modeling_utils import ModelMixin  # noqa: F401  (pipelines look for it here to load the class)
from diffusers.models.transformers.transformer_hunyuan_video import HunyuanVideoTransformer3DModel
from diffusers.utils import apply_lora_scale
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn

from gamecraft.errors import InputError
from gamecraft.models.action_encoder import RAY_CHANNELS, ActionEncoder
from gamecraft.models.rotary import RotaryAttnProcessor, RotaryEmbedding, grid_positions, sight_positions
from gamecraft.models.single_file import OfficialSingleFile
from gamecraft.rays import CameraRays

__all__ = ["GameCraftTransformer3DModel", "linear_velocity", "trim_text"]


def linear_velocity(
    noisy: Tensor, residual: Tensor, sigma: Tensor, mean: Tensor | float = 0.0, variance: Tensor | float = 1.0
) -> Tensor:
    """Velocity from the best linear guess for clean latents of known mean and variance, plus what a network adds to it.

    For noisy = (1 - sigma) clean + sigma noise and clean = mean + rest, the guess of noise - rest is
    (sigma - (1 - sigma) variance) / d * (noisy - (1 - sigma) mean) with d = (1 - sigma)^2 variance + sigma^2, and what
    it misses has variance variance / d.

    Args:
        noisy, residual: [B, C, T, h, w]; the residual is in units of that standard deviation.
        sigma: noise levels [B] in [0, 1].
        mean, variance: of the clean latents, what broadcasts to their shape.
    """
    sigma = sigma[:, None, None, None, None]
    spread = (1 - sigma).square() * variance + sigma.square()
    guess = (sigma - (1 - sigma) * variance) / spread * (noisy - (1 - sigma) * mean) - mean
    return guess + residual * (variance / spread) ** 0.5


def trim_text(embeds: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
    """Cut the padding that all prompts of a batch share; the mask becomes None when no padding is left.

    Args:
        embeds: token embeddings [B, L, D].
        mask: 1 on valid tokens, 0 on padding, [B, L], padding on the right.

    Returns:
        embeds [B, l, D] and mask [B, l] (bool) or None, where l is the longest prompt.

    Raises:
        InputError: wrong shape, a prompt without a valid token, or padding that is not on the right.
    """
    if mask.shape != embeds.shape[:2]:
        raise InputError(
            f"the text mask has shape {list(mask.shape)}; expected {list(embeds.shape[:2])} as the embeddings"
        )
    valid = mask.bool()
    positions = torch.arange(1, valid.shape[1] + 1, device=valid.device)
    # one transfer to the host for both: number of valid tokens and position of the last one
    counts, lasts = torch.stack([valid.sum(dim=1), (valid * positions).amax(dim=1)]).tolist()
    if counts != lasts or min(counts) == 0:
        raise InputError(
            f"text mask with {counts} valid tokens, the last at {lasts}; expected at least one valid token "
            "per prompt and padding on the right only"
        )
    longest = max(counts)
    return embeds[:, :longest], None if min(counts) == longest else valid[:, :longest]


class GameCraftTransformer3DModel(OfficialSingleFile, HunyuanVideoTransformer3DModel):  # type: ignore[misc]
    """Velocity of noisy latents beside their clean history, given text and per-frame camera rays.

    Args:
        in_channels: 2C+1 (latents, condition, mask) for C = out_channels.
        out_channels: latent channels C of the VAE.
        num_attention_heads, attention_head_dim: the width is their product.
        num_layers, num_single_layers, num_refiner_layers: dual-stream, single-stream and text refiner blocks.
        mlp_ratio: width of the feed-forward layers over the width of the model.
        patch_size: latent positions per token along one side.
        guidance_embeds: whether the guidance scale is an input.
        text_embed_dim, pooled_projection_dim: widths of the token and the pooled text embeddings.
        rope_theta, rope_axes_dim: rotary embedding over (time, row, column); the axes sum to attention_head_dim.
        rope_depths: with depths in metres, rows and columns are not those of the grid but pitch and yaw of the point
            which the token's ray reaches at each depth (see `gamecraft.models.rotary`); rope_axes_dim is then
            (time, pitch, yaw, pitch, yaw, ...). Needs history_rays="true".
        rope_per_radian: units of position per radian of pitch and yaw.
        rope_values: rotate values and attended values as well as queries and keys, see `RotaryAttnProcessor`.
        action_channels: channels of the action encoder before its patch embedding.
        spatial_ratio: pixels per latent position along one side.
        history_rays: "zero" gives history frames the feature of an all-zero ray map, as published; "true" encodes
            the rays of the history frames.
        action_fusion: how a token gets its action feature. "add" is the published way. "channels" puts it beside the
            token's own channels, and a linear layer brings both back to the width of the model; the paper's ablation.
        prediction: what the last layer computes. "velocity" is the published way. "residual" leaves to the network only
            what `linear_velocity` cannot tell from the noisy latents alone (the preconditioning of EDM, arXiv
            2206.00364, for rectified flow): noise then need not be carried through the blocks, which matters where a
            token holds about as many numbers as the model is wide. ``forward`` returns the velocity in both cases.
        scene_trust: share of a latent's variance that the condition explains where the mask is 1, for "residual" models
            with a scene memory (`gamecraft.scene`): the guess then starts from what past frames show. 0 = not used.
    """

    _skip_layerwise_casting_patterns: ClassVar[list[str]] = ["x_embedder", "context_embedder", "norm"]
    _no_split_modules: ClassVar[list[str]] = [*HunyuanVideoTransformer3DModel._no_split_modules, "ActionEncoder"]
    # as published: the camera network stays in float32 beside bfloat16 blocks, also under layerwise casting
    _keep_in_fp32_modules: ClassVar[list[str]] = ["action_encoder"]
    _cp_plan: ClassVar[dict[str, Any]] = {
        "rope": {
            0: ContextParallelInput(split_dim=0, expected_dims=3, split_output=True),
            1: ContextParallelInput(split_dim=0, expected_dims=3, split_output=True),
        },
        "transformer_blocks.0": {
            "hidden_states": ContextParallelInput(split_dim=1, expected_dims=3, split_output=False),
            "encoder_hidden_states": ContextParallelInput(split_dim=1, expected_dims=3, split_output=False),
        },
        "proj_out": ContextParallelOutput(gather_dim=1, expected_dims=3),
    }
    # arguments of the base class that are constant here
    ignore_for_config: ClassVar[list[str]] = ["patch_size_t", "qk_norm", "image_condition_type"]

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        *,
        in_channels: int = 33,
        out_channels: int = 16,
        num_attention_heads: int = 24,
        attention_head_dim: int = 128,
        num_layers: int = 20,
        num_single_layers: int = 40,
        num_refiner_layers: int = 2,
        mlp_ratio: float = 4.0,
        patch_size: int = 2,
        guidance_embeds: bool = False,
        text_embed_dim: int = 4096,
        pooled_projection_dim: int = 768,
        rope_theta: float = 256.0,
        rope_axes_dim: tuple[int, ...] = (16, 56, 56),
        rope_depths: tuple[float, ...] = (),
        rope_per_radian: float = 8.0,
        rope_values: bool = False,
        action_channels: int = 16,
        spatial_ratio: int = 8,
        history_rays: Literal["zero", "true"] = "zero",
        action_fusion: Literal["add", "channels"] = "add",
        prediction: Literal["velocity", "residual"] = "velocity",
        scene_trust: float = 0.0,
    ) -> None:
        if in_channels != 2 * out_channels + 1:
            raise InputError(f"in_channels is {in_channels}; expected 2 * out_channels + 1 = {2 * out_channels + 1}")
        if sum(rope_axes_dim) != attention_head_dim:
            raise InputError(
                f"rope_axes_dim {tuple(rope_axes_dim)} must sum to attention_head_dim {attention_head_dim}"
            )
        axes = 1 + 2 * max(1, len(rope_depths))
        if len(rope_axes_dim) != axes:
            raise InputError(f"rope_axes_dim {tuple(rope_axes_dim)} has {len(rope_axes_dim)} axes; expected {axes}")
        if rope_depths and history_rays != "true":
            raise InputError("rope_depths need the rays of the history: set history_rays to 'true'")
        if history_rays not in ("zero", "true"):
            raise InputError(f"history_rays is {history_rays!r}; expected 'zero' or 'true'")
        if action_fusion not in ("add", "channels"):
            raise InputError(f"action_fusion is {action_fusion!r}; expected 'add' or 'channels'")
        if prediction not in ("velocity", "residual"):
            raise InputError(f"prediction is {prediction!r}; expected 'velocity' or 'residual'")
        if not 0 <= scene_trust < 1:
            raise InputError(f"scene_trust is {scene_trust!r}; expected a share from 0 to below 1")
        super().__init__(
            in_channels=in_channels,
            out_channels=out_channels,
            num_attention_heads=num_attention_heads,
            attention_head_dim=attention_head_dim,
            num_layers=num_layers,
            num_single_layers=num_single_layers,
            num_refiner_layers=num_refiner_layers,
            mlp_ratio=mlp_ratio,
            patch_size=patch_size,
            guidance_embeds=guidance_embeds,
            text_embed_dim=text_embed_dim,
            pooled_projection_dim=pooled_projection_dim,
            rope_theta=rope_theta,
            rope_axes_dim=rope_axes_dim,
        )
        self.rope = RotaryEmbedding(rope_axes_dim, rope_theta)
        for block in (*self.transformer_blocks, *self.single_transformer_blocks):
            block.attn.set_processor(RotaryAttnProcessor(values=rope_values))
        hidden_size = num_attention_heads * attention_head_dim
        self.action_encoder = ActionEncoder(hidden_size, spatial_ratio, action_channels, patch_size)
        if action_fusion == "channels":
            self.fuse_actions = nn.Linear(2 * hidden_size, hidden_size)

    @apply_forward_hook  # type: ignore[untyped-decorator]
    def encode_actions(
        self,
        rays: Tensor | CameraRays,
        *,
        num_history_latents: int = 0,
        history_rays: Sequence[Tensor | CameraRays] = (),
    ) -> Tensor:
        """Action features of history and chunk, constant over the denoising steps: compute them once per chunk.

        Args:
            rays: rays of the chunk [B, F, 6, H, W].
            num_history_latents: history length when the config says history_rays="zero".
            history_rays: rays [B, F_i, 6, H, W] of each history clip, oldest first, when it says "true".

        Returns:
            [B, T*h*w, hidden], history first; h and w count tokens.
        """
        if (self.config.history_rays == "zero" and len(history_rays)) or (
            self.config.history_rays == "true" and num_history_latents
        ):
            raise InputError(
                f"this model was made with history_rays={self.config.history_rays!r}: give "
                + ("num_history_latents" if self.config.history_rays == "zero" else "the rays of the history clips")
            )
        parts = [self.action_encoder(clip) for clip in history_rays]
        if num_history_latents:
            # without rays every token of every frame is the same: one is computed
            pixels: int = self.config.spatial_ratio * self.config.patch_size
            zero = self.action_encoder(torch.zeros(1, 1, RAY_CHANNELS, pixels, pixels, device=rays.device))
            tokens = num_history_latents * (rays.shape[-2] // pixels) * (rays.shape[-1] // pixels)
            parts.append(zero.expand(rays.shape[0], tokens, -1))
        return torch.cat([*parts, self.action_encoder(rays)], dim=1)

    def locate_tokens(
        self, rays: Tensor | CameraRays, *, history_rays: Sequence[Tensor | CameraRays] = ()
    ) -> Tensor | None:
        """Rotary positions of the tokens of history and chunk, constant over the denoising steps too.

        Args:
            rays, history_rays: as for ``encode_actions``.

        Returns:
            [B, T*h*w, axes], or None where the grid gives the positions.
        """
        if not self.config.rope_depths:
            return None
        pixels: int = self.config.spatial_ratio * self.config.patch_size
        depths, per_radian = tuple(self.config.rope_depths), self.config.rope_per_radian
        sights = torch.cat([sight_positions(clip, pixels, depths, per_radian) for clip in (*history_rays, rays)], dim=1)
        tokens = (rays.shape[-2] // pixels) * (rays.shape[-1] // pixels)
        time = torch.arange(sights.shape[1] // tokens, device=sights.device, dtype=sights.dtype)
        return torch.cat([time.repeat_interleave(tokens)[None, :, None].expand(len(sights), -1, 1), sights], dim=-1)

    @apply_lora_scale("attention_kwargs")  # type: ignore[untyped-decorator]
    def forward(
        self,
        hidden_states: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        encoder_attention_mask: Tensor | None,
        pooled_projections: Tensor,
        *,
        action_embeds: Tensor,
        positions: Tensor | None = None,
        attend_to_padding: bool = False,
        guidance: Tensor | None = None,
        attention_kwargs: dict[str, Any] | None = None,
        return_dict: bool = True,
    ) -> Transformer2DModelOutput | tuple[Tensor]:
        """Velocity for every latent frame; callers keep the part after the history.

        Args:
            hidden_states: [B, 2C+1, T, h, w], see `gamecraft.history.model_input`.
            timestep: [B], sigma * 1000.
            encoder_hidden_states: text tokens [B, L, text_embed_dim].
            encoder_attention_mask: [B, L], 1 on valid tokens, padding on the right; None means all are valid.
                Padding never influences an image token. Trim it beforehand with `trim_text` where the call must
                not wait for the device: under torch.compile the mask is applied as it is.
            pooled_projections: [B, pooled_projection_dim].
            action_embeds: [B, T*h*w/patch^2, hidden] from `encode_actions`.
            positions: [B, T*h*w/patch^2, axes] from `locate_tokens`.
            attend_to_padding: let image tokens see the padding of the text, as published with SageAttention.
            guidance: [B], guidance scale * 1000, only with guidance_embeds.
            attention_kwargs: {"scale": LoRA scale}.

        Returns:
            sample [B, C, T, h, w].
        """
        _, _, frames, height, width = hidden_states.shape
        ranks = self._ranks_with_equal_pieces()
        keep = attend_to_padding or ranks > 1 or torch.compiler.is_compiling()
        if encoder_attention_mask is not None and not keep:
            encoder_hidden_states, encoder_attention_mask = trim_text(encoder_hidden_states, encoder_attention_mask)

        if (positions is None) == bool(self.config.rope_depths):
            raise InputError("positions from locate_tokens belong to rope_depths; give them if and only if it is set")
        if positions is None:
            patch = self.config.patch_size
            positions = grid_positions(frames, height // patch, width // patch, hidden_states.device)
        rotary = self.rope(positions)
        temb, _ = self.time_text_embed(timestep, pooled_projections, guidance)
        image = self.x_embedder(hidden_states)
        if action_embeds.shape != image.shape:
            raise InputError(
                f"action_embeds have shape {list(action_embeds.shape)}; expected {list(image.shape)}, "
                "one per image token: encode the actions of the whole history and chunk"
            )
        actions = action_embeds.to(image.dtype)
        fused = self.config.action_fusion == "channels"
        image = self.fuse_actions(torch.cat([image, actions], dim=-1)) if fused else image + actions
        text = self.context_embedder(encoder_hidden_states, timestep, encoder_attention_mask)

        mask = None
        if encoder_attention_mask is not None and not attend_to_padding:
            everywhere = encoder_attention_mask.new_ones(image.shape[:2], dtype=torch.bool)
            # keys come as each rank has them, image before text
            pieces = zip(everywhere.chunk(ranks, dim=1), encoder_attention_mask.bool().chunk(ranks, dim=1), strict=True)
            mask = torch.cat([part for piece in pieces for part in piece], dim=1)[:, None, None]  # [B, 1, 1, keys]
        checkpointing = torch.is_grad_enabled() and self.gradient_checkpointing
        for block in (*self.transformer_blocks, *self.single_transformer_blocks):
            if checkpointing:
                image, text = self._gradient_checkpointing_func(block, image, text, temb, mask, rotary)
            else:
                image, text = block(image, text, temb, mask, rotary)

        patches = self.proj_out(self.norm_out(image, temb))
        sample = self._unpatchify(patches, frames, height, width)
        if self.config.prediction == "residual":
            sample = self._add_guess(sample.float(), hidden_states.float(), timestep.float() / 1000)
        return Transformer2DModelOutput(sample=sample) if return_dict else (sample,)

    def _add_guess(self, residual: Tensor, inputs: Tensor, sigma: Tensor) -> Tensor:
        channels, trust = self.config.out_channels, self.config.scene_trust
        noisy, condition, mask = torch.split(inputs, [channels, channels, 1], dim=1)
        if not trust:
            return linear_velocity(noisy, residual, sigma)
        return linear_velocity(noisy, residual, sigma, mean=mask * condition, variance=1 - trust * mask)

    def _ranks_with_equal_pieces(self) -> int:
        """Processes that share the tokens in pieces of one length, as training does; 1 where pieces may differ."""
        parallel = getattr(self, "_parallel_config", None)
        context = parallel.context_parallel_config if parallel else None
        if context is None or context.ring_degree > 1 or context.ulysses_anything:
            return 1
        ranks: int = context.ulysses_degree
        return ranks

    def _unpatchify(self, patches: Tensor, frames: int, height: int, width: int) -> Tensor:
        """[B, T*h*w/p^2, C*p*p] -> [B, C, T, h, w]."""
        p: int = self.config.patch_size
        grid = patches.reshape(-1, frames, height // p, width // p, self.config.out_channels, p, p)
        return grid.permute(0, 4, 1, 2, 5, 3, 6).flatten(5, 6).flatten(3, 4)
