"""Rotary positions of image tokens: their place on the grid, as published, or the direction in which they look.

On the grid, a token and what it shows in the next frame lie apart by a distance that the camera's motion decides; the
attention must work it out from the camera features before it can copy. Where positions are directions of sight, tokens
that look at the same far point have the same position whichever way the camera turned. For near points the camera's
displacement matters, so a token can be given the direction of the points on its ray at several depths, each rotating
features of its own: attention then finds what matches at the depth where it matches, as in a plane sweep.
"""

import torch
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import get_1d_rotary_pos_embed
from diffusers.models.transformers.transformer_hunyuan_video import HunyuanVideoAttnProcessor2_0
from torch import Tensor, nn
from torch.nn import functional as F

from gamecraft.models.action_encoder import TEMPORAL_RATIO
from gamecraft.rays import CameraRays

__all__ = [
    "RotaryAttnProcessor",
    "RotaryEmbedding",
    "camera_centres",
    "grid_positions",
    "rotate_pairs",
    "sight_positions",
]


def grid_positions(frames: int, height: int, width: int, device: torch.device | None = None) -> Tensor:
    """(time, row, column) of tokens [1, frames * height * width, 3], as published."""
    axes = (torch.arange(n, device=device, dtype=torch.float32) for n in (frames, height, width))
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(1, -1, 3)


def camera_centres(rays: Tensor | CameraRays) -> Tensor:
    """Where the rays of each frame meet: [..., 6, H, W] (moment, direction) -> [..., 3].

    The least-squares solution of o x d = m over the four corners, for which sum(I - d d^T) o = sum(d x m).
    """
    corners = _rays_at(rays, *(slice(None, None, side - 1) for side in rays.shape[-2:])).flatten(-2).float()
    moment, direction = corners[..., :3, :], corners[..., 3:, :]
    outer = (direction[..., :, None, :] * direction[..., None, :, :]).sum(-1)  # autocast rounds matrix products
    normal = corners.shape[-1] * torch.eye(3, device=rays.device) - outer
    centres: Tensor = torch.linalg.solve(normal, torch.linalg.cross(direction, moment, dim=-2).sum(-1))
    return centres


def sight_positions(
    rays: Tensor | CameraRays, token_pixels: int, depths: tuple[float, ...], per_radian: float
) -> Tensor:
    """Positions of one clip's tokens [B, t*h*w, 2 * len(depths)]: (pitch, yaw) of the point at each depth.

    Angles are those under which the reference camera of the rays, which is at the origin, sees the point. Frames that
    share a latent are averaged.

    Args:
        rays: [B, F, 6, H, W] for F = 1 + 4k frames.
        token_pixels: pixels per token along one side.
        depths: metres along the ray.
        per_radian: units of position per radian.
    """
    batch = rays.shape[0]
    middle = slice(token_pixels // 2, None, token_pixels)
    directions = _rays_at(rays, middle, middle)[:, :, 3:].float().flatten(-2).mT  # [B, F, tokens, 3]
    centres = camera_centres(rays)[:, :, None]
    positions = []
    for depth in depths:
        points = centres + depth * directions
        grouped = points[:, 1:].reshape(batch, -1, TEMPORAL_RATIO, *points.shape[2:]).mean(dim=2)
        x, y, z = torch.cat([points[:, :1], grouped], dim=1).reshape(batch, -1, 3).unbind(-1)
        positions += [torch.atan2(y, torch.hypot(x, z)), torch.atan2(x, z)]
    return per_radian * torch.stack(positions, dim=-1)


def _rays_at(rays: Tensor | CameraRays, rows: slice, columns: slice) -> Tensor:
    """Rays [B, F, 6, h, w] of some pixels."""
    return rays.at(rows, columns).spelled_out() if isinstance(rays, CameraRays) else rays[..., rows, columns]


class RotaryEmbedding(nn.Module):
    """Positions [B, S, axes] -> cosines and sines [S, B, sum(axes_dim)]; B is 1 where all samples share positions.

    Tokens come first because context parallelism splits the first dimension.
    """

    def __init__(self, axes_dim: tuple[int, ...], theta: float) -> None:
        super().__init__()
        self.axes_dim = tuple(axes_dim)
        self.theta = theta

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Rotation by position * theta^(-2i/dim) for the i-th pair of an axis with dim features."""
        batch, tokens, _ = positions.shape
        axes = positions.transpose(0, 1).reshape(tokens * batch, -1).unbind(-1)
        tables = [
            get_1d_rotary_pos_embed(dim, axis, self.theta, use_real=True)
            for dim, axis in zip(self.axes_dim, axes, strict=True)
        ]
        cosines, sines = (torch.cat(parts, dim=-1).reshape(tokens, batch, -1) for parts in zip(*tables, strict=True))
        return cosines, sines


class RotaryAttnProcessor(HunyuanVideoAttnProcessor2_0):  # type: ignore[misc]
    """Joint attention of image and text tokens whose rotary tables may differ between the samples of a batch.

    The base class gives the hooks for attention backends and context parallelism.

    Args:
        values: rotate values too, and what was attended to back by the position of the token that asked. A token then
            gets the others as they lie relative to itself (GTA, arXiv 2310.10375): how far between two tokens the
            content to be copied lies is no longer lost.
    """

    def __init__(self, *, values: bool = False) -> None:
        super().__init__()
        self.values = values

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Image tokens [B, S, D] and text tokens [B, L, D] -> the same; tables [S, B or 1, head]; mask [B, 1, 1, S+L].

        Dual-stream blocks have projections for the text of its own (``add_*``), single-stream blocks share them.
        """
        image_tokens = hidden_states.shape[1]
        dual = attn.add_q_proj is not None
        source = hidden_states if dual else torch.cat([hidden_states, encoder_hidden_states], dim=1)
        query, key, value = (
            layer(source).unflatten(2, (attn.heads, -1)) for layer in (attn.to_q, attn.to_k, attn.to_v)
        )
        query, key = attn.norm_q(query), attn.norm_k(key)
        tokens = image_tokens + encoder_hidden_states.shape[1]
        if image_rotary_emb is not None:
            turns = _turns(*image_rotary_emb, tokens)
            query, key = (rotate_pairs(x, turns).to(value.dtype) for x in (query, key))
            if self.values:
                value = rotate_pairs(value, turns)
        if dual:
            layers = (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj)
            text = [layer(encoder_hidden_states).unflatten(2, (attn.heads, -1)) for layer in layers]
            norms = (attn.norm_added_q, attn.norm_added_k)
            text[:2] = (norm(x).to(value.dtype) for norm, x in zip(norms, text, strict=False))
            query, key, value = (torch.cat(pair, dim=1) for pair in zip((query, key, value), text, strict=True))
        attended = dispatch_attention_fn(
            query,
            key,
            value,
            attn_mask=attention_mask,
            backend=self._attention_backend,
            parallel_config=self._parallel_config,
        )
        if self.values and image_rotary_emb is not None:
            cosines, sines = image_rotary_emb
            attended = rotate_pairs(attended, _turns(cosines, -sines, tokens))
        attended = attended.flatten(2, 3).to(value.dtype)
        image, words = torch.split(attended, [image_tokens, tokens - image_tokens], dim=1)
        return (attn.to_out[0](image), attn.to_add_out(words)) if dual else (image, words)


def _turns(cosines: Tensor, sines: Tensor, tokens: int) -> Tensor:
    """Tables [S, B or 1, D] with a pair of equal entries for each rotation -> [B or 1, tokens, 1, D/2, 2].

    What follows the first S tokens is turned by nothing, which takes less time than to cut it off and put it back.
    """
    rest = (0, 0, 0, 0, 0, tokens - len(cosines))
    parts = (F.pad(cosines[..., ::2], rest, value=1), F.pad(sines[..., ::2], rest))
    return torch.stack(parts, dim=-1).transpose(0, 1)[:, :, None]


def rotate_pairs(features: Tensor, turns: Tensor) -> Tensor:
    """Rotate neighbouring pairs of features [B, S, heads, D] by (cosine, sine) [B or 1, S or more, 1, D/2, 2].

    As a product of complex numbers, which on a CPU takes a fifth of the time of its parts; compiled, parts are fused,
    and complex numbers are not known.
    """
    pairs = features.float().reshape(*features.shape[:-1], -1, 2)
    turns = turns[:, : features.shape[1]]
    if torch.compiler.is_compiling():
        (even, odd), (cosines, sines) = pairs.unbind(-1), turns.unbind(-1)
        turned = torch.stack([even * cosines - odd * sines, odd * cosines + even * sines], dim=-1)
    else:
        turned = torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(turns))
    return turned.flatten(-2).to(features.dtype)
