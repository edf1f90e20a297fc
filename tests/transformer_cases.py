"""The tiny published transformer and the tensors recorded from it, for the tests that check parity.

Recorded in float32 on the CPU by running the published code (commit 07afcd4) with random weights. 9, 10 and 18 latent
frames are a chunk of 9 with no history, one image latent, and nine latents of history.
"""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from gamecraft.checkpoints import convert_transformer_from_official
from gamecraft.models.transformer import GameCraftTransformer3DModel

GOLDENS = Path(__file__).parent / "goldens"
ROPE_AXES = (8, 12, 12)


@cache
def golden(name: str) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = load_file(GOLDENS / f"{name}.safetensors")
    return tensors


def forward_case(latents: int) -> dict[str, Tensor]:
    prefix = f"t{latents}."
    return {key.removeprefix(prefix): value for key, value in golden("dit_forward").items() if key.startswith(prefix)}


def chunk_rays() -> Tensor:
    """[2, 33, 6, 32, 48]: a camera at rest and one turning left."""
    return golden("dit_camera")["cam_latents"].float()


@cache
def published_model() -> GameCraftTransformer3DModel:
    config, state_dict = convert_transformer_from_official(golden("dit_weights"), rope_axes_dim=ROPE_AXES)
    model: GameCraftTransformer3DModel = GameCraftTransformer3DModel(**config)
    model.load_state_dict(state_dict, strict=True)
    model.eval().requires_grad_(False)
    return model


def inputs(case: dict[str, Tensor], items: slice = slice(None), **overrides: Any) -> dict[str, Any]:
    """Arguments of the forward for a recorded case, without the action features."""
    arguments = {
        "hidden_states": case["x"],
        "timestep": case["t"],
        "encoder_hidden_states": case["text_states"],
        "encoder_attention_mask": case["text_mask"],
        "pooled_projections": case["text_states_2"],
    } | overrides
    return {name: None if value is None else value[items] for name, value in arguments.items()}


def tiny_model(**overrides: Any) -> GameCraftTransformer3DModel:
    """Random weights, 2 latent channels, one block of each kind."""
    torch.manual_seed(0)
    config: dict[str, Any] = {
        "in_channels": 5,
        "out_channels": 2,
        "num_attention_heads": 2,
        "attention_head_dim": 16,
        "num_layers": 1,
        "num_single_layers": 1,
        "num_refiner_layers": 1,
        "text_embed_dim": 8,
        "pooled_projection_dim": 6,
        "rope_axes_dim": (4, 6, 6),
        "action_channels": 2,
    }
    model: GameCraftTransformer3DModel = GameCraftTransformer3DModel(**(config | overrides))
    model.eval()
    return model


def tiny_inputs(model: GameCraftTransformer3DModel, *, batch: int = 1, latents: int = 4) -> dict[str, Any]:
    """One history latent and a chunk of 4k + 1 frames at 32x32 pixels, five text tokens."""
    random = torch.Generator().manual_seed(1)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    rays = noise(batch, 4 * (latents - 2) + 1, 6, 32, 32)
    return {
        "hidden_states": noise(batch, 5, latents, 4, 4),
        "timestep": torch.full((batch,), 500.0),
        "encoder_hidden_states": noise(batch, 5, 8),
        "encoder_attention_mask": None,
        "pooled_projections": noise(batch, 6),
        "action_embeds": model.encode_actions(rays, num_history_latents=1),
    }
