"""A chunk is denoised as by the published code, step by step; recorded there in float32 with random weights."""

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from gamecraft.denoising import Conditioning, denoise
from gamecraft.history import History
from gamecraft.intrinsics import Intrinsics
from gamecraft.models.text import PromptEmbeds
from gamecraft.published import PublishedAction, chunk_trajectory, published_rays, select_rows
from gamecraft.rays import plucker_rays
from transformer_cases import golden, published_model

# name: action, speed, guidance scale
CASES = {"image_cfg": ("w", 0.2, 2.0), "image_nocfg": ("w", 0.2, 1.0), "continuation_cfg": ("left_rot", 1.0, 2.0)}


def prompt(branch: str) -> PromptEmbeds:
    recorded = golden("denoising")
    return PromptEmbeds(*(recorded[f"{name}_{branch}"][None] for name in ("text_states", "text_mask", "text_states_2")))


def features(rays: Tensor, history: History) -> Tensor:
    """The published code rounds the rays to bfloat16 before the network."""
    tokens: Tensor = published_model().encode_actions(
        rays.bfloat16().float()[None], num_history_latents=history.num_latents
    )
    return tokens


def run(name: str, *, batched: bool = True) -> tuple[list[Tensor], list[Tensor]]:
    """Latents after each step, and the timesteps."""
    action, speed, scale = CASES[name]
    recorded = golden("denoising")
    clip = recorded[f"{name}.history"]
    history = History(clips=(clip,), poses=(np.tile(np.eye(4), (4 * clip.shape[2] - 3, 1, 1)),))
    moving = published_rays(select_rows(chunk_trajectory(PublishedAction(name=action, speed=speed))), 32, 48)
    still = plucker_rays(torch.eye(4).expand(33, 4, 4), Intrinsics(), 32, 48)
    parts = [(prompt("cond"), features(moving, history))]
    if scale > 1:
        parts.insert(0, (prompt("uncond"), features(still, history)))
    if batched:
        branches = [("all", Conditioning.of([text for text, _ in parts], torch.cat([tokens for _, tokens in parts])))]
    else:
        branches = [(str(i), Conditioning.of([text], tokens)) for i, (text, tokens) in enumerate(parts)]
    steps, times = [], []

    def on_step(step: int, timestep: Tensor, latents: Tensor) -> Tensor:
        steps.append(latents)
        times.append(timestep)
        return latents

    with torch.no_grad():
        denoise(
            published_model(),
            FlowMatchEulerDiscreteScheduler(shift=5.0),
            recorded[f"{name}.noise"],
            history,
            branches,
            num_inference_steps=4,
            guidance_scale=scale,
            on_step=on_step,
        )
    return steps, times


@pytest.mark.parametrize("name", CASES)
def test_every_step_equals_the_published_one(name: str) -> None:
    steps, times = run(name)
    torch.testing.assert_close(torch.stack(times), golden("denoising")[f"{name}.timesteps"])
    torch.testing.assert_close(torch.stack(steps), golden("denoising")[f"{name}.steps"], atol=1e-4, rtol=1e-3)


def test_two_passes_equal_one() -> None:
    torch.testing.assert_close(run("image_cfg", batched=False)[0], run("image_cfg")[0], atol=1e-5, rtol=1e-4)


def test_only_the_shared_padding_of_prompts_is_cut() -> None:
    short, long = prompt("uncond"), prompt("cond")
    lengths = [int(text.mask.sum()) for text in (short, long)]
    tokens = torch.zeros(2, 1, 1)
    both = Conditioning.of([short, long], tokens)
    assert both.embeds.shape[:2] == (2, max(lengths))
    assert (both.mask is None) == (lengths[0] == lengths[1])
    assert Conditioning.of([long], tokens[:1]).mask is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sums_are_float32_whatever_the_network_computes_in(dtype: torch.dtype) -> None:
    class Constant(torch.nn.Module):
        """Velocity 1/3 in its own type, after checking what comes in."""

        def __init__(self) -> None:
            super().__init__()
            self.dtype = dtype

        def _reset_stateful_cache(self) -> None:
            pass

        def cache_context(self, name: str, **_: Any) -> Any:
            return torch.no_grad()

        def forward(self, inputs: Tensor, timestep: Tensor, *_: Any, **__: Any) -> tuple[Tensor]:
            assert inputs.dtype == dtype
            assert timestep.dtype == torch.float32
            return (torch.full_like(inputs[:, :2], 1 / 3),)

    noise = torch.randn(1, 2, 3, 4, 4)
    history = History(clips=(torch.ones(1, 2, 1, 4, 4),), poses=(np.eye(4)[None],))
    branch = Conditioning(embeds=torch.zeros(1, 1, 1), mask=None, pooled=torch.zeros(1, 1), action_embeds=noise)
    result = denoise(
        Constant(), FlowMatchEulerDiscreteScheduler(), noise, history, [("cond", branch)], num_inference_steps=7
    )
    assert result.dtype == torch.float32
    third = torch.tensor(1 / 3, dtype=dtype).float()
    torch.testing.assert_close(result, noise - third, atol=1e-5, rtol=1e-5)
