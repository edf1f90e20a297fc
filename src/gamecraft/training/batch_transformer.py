"""The transformer with the camera features of its batches as one module: what is compiled and run on many processes."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn

from gamecraft.denoising import Conditioning, denoise
from gamecraft.history import History, model_input, show_scene
from gamecraft.models.text import PromptEmbeds
from gamecraft.models.transformer import GameCraftTransformer3DModel
from gamecraft.rays import CameraRays
from gamecraft.scene import Scene
from gamecraft.training.chunk_batches import ChunkBatch
from gamecraft.training.objectives import TIMESTEPS

__all__ = ["BatchTransformer", "Conditions", "initialize"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Conditions:
    """Camera and text of a batch: poses [B, frames, 4, 4] of history and chunk, seen from the last history frame;
    text [B, L, D] with mask [B, L] and pooled text [B, P]; what past frames show of the chunks, or None."""

    poses: Tensor
    text: Tensor
    mask: Tensor
    pooled: Tensor
    scene: Scene | None = None

    @classmethod
    def of(cls, batch: ChunkBatch, text: PromptEmbeds) -> "Conditions":
        """The conditions of a batch whose captions were encoded as `text`."""
        return cls(
            poses=batch.relative_poses().float(),
            text=text.embeds,
            mask=text.mask.bool(),
            pooled=text.pooled,
            scene=batch.scene,
        )

    @classmethod
    def unconditional(cls, batch: ChunkBatch, text: PromptEmbeds) -> "Conditions":
        """A camera that stands still where the history ends, and `text` encoded from empty prompts, as published.

        A model with a scene memory sees nothing of it.
        """
        still = np.broadcast_to(batch.history.last_pose[:, None], batch.poses.shape)
        nothing = batch.scene.masked(torch.zeros(len(still))) if batch.scene else None
        return cls.of(replace(batch, poses=still, scene=nothing), text)

    def to(self, device: torch.device) -> "Conditions":
        """The same on a device."""
        scene = None if self.scene is None else self.scene.to(device)
        tensors = {name: getattr(self, name).to(device) for name in ("poses", "text", "mask", "pooled")}
        return Conditions(scene=scene, **tensors)


class BatchTransformer(nn.Module):
    """A transformer on batches of chunks; rays are computed from poses on the device.

    Args:
        transformer: the model to train or to compare with.
        directions: unit directions [3, H, W] of the pixels, from `pixel_directions`.
        compiled: compile everything, once for each kind of history; otherwise everything runs eagerly.
    """

    directions: Tensor

    def __init__(self, transformer: GameCraftTransformer3DModel, directions: Tensor, *, compiled: bool) -> None:
        super().__init__()
        self.transformer = transformer
        self.register_buffer("directions", directions, persistent=False)
        self._run = torch.compile(self._velocity, dynamic=False) if compiled else self._velocity
        self.compiled = compiled

    def forward(
        self, noisy: Tensor, sigmas: Tensor, history: History, conditions: Conditions, guidance: Tensor | None = None
    ) -> Tensor:
        """Velocity [B, C, t, h, w] float32 of chunks noisy [B, C, t, h, w] at noise levels sigmas [B].

        guidance: scales [B], for a model with guidance_embeds.
        """
        device = self.directions.device
        conditions = conditions.to(device)
        inputs = model_input(noisy, history).to(device)
        if conditions.scene is not None:
            inputs = show_scene(inputs, conditions.scene)
        velocity: Tensor = self._run(
            inputs=inputs,
            sigmas=sigmas.to(device),
            poses=conditions.poses,
            text=conditions.text,
            mask=conditions.mask,
            pooled=conditions.pooled,
            frames=tuple(poses.shape[1] for poses in history.poses),
            history_latents=history.num_latents,
            guidance=None if guidance is None else guidance.to(device),
        )
        return velocity

    @cached_property
    def _sampler(self) -> Any:
        """The transformer as it is called for sampling; a property, so that it is no second submodule."""
        return torch.compile(self.transformer, dynamic=False) if self.compiled else self.transformer

    @torch.no_grad()
    def sample(
        self,
        batch: ChunkBatch,
        noise: Tensor,
        conditions: Conditions,
        scheduler: FlowMatchEulerDiscreteScheduler,
        *,
        steps: int,
        autocast: torch.dtype | None,
    ) -> Tensor:
        """What the model makes of the chunks' histories, actions and captions: latents [B, C, t, h, w] on the CPU."""
        device = self.directions.device
        conditions = conditions.to(device)
        with torch.autocast(device.type, autocast, enabled=autocast is not None):
            actions, positions = self.encode_camera(conditions.poses, batch.history_frames, batch.history.num_latents)
        conditioning = Conditioning(
            embeds=conditions.text,
            mask=conditions.mask,
            pooled=conditions.pooled,
            action_embeds=actions,
            positions=positions,
            scene=conditions.scene,
        )
        return denoise(
            self._sampler,
            scheduler,
            noise.to(device),
            History(clips=tuple(clip.to(device) for clip in batch.history.clips), poses=batch.history.poses),
            [("cond", conditioning)],
            num_inference_steps=steps,
            autocast=autocast,
        ).cpu()

    def encode_camera(
        self, poses: Tensor, frames: tuple[int, ...], history_latents: int
    ) -> tuple[Tensor, Tensor | None]:
        """Action features and token positions of relative poses [B, all frames, 4, 4].

        The history's clips have `frames` frames and together `history_latents` latents.
        """
        if self.transformer.config.history_rays == "zero":
            rays = CameraRays.along(poses[:, sum(frames) :], self.directions)
            return self.transformer.encode_actions(rays, num_history_latents=history_latents), None
        lengths = [*frames, poses.shape[1] - sum(frames)]
        *history, rays = (CameraRays.along(part, self.directions) for part in torch.split(poses, lengths, dim=1))
        features: Tensor = self.transformer.encode_actions(rays, history_rays=history)
        return features, self.transformer.locate_tokens(rays, history_rays=history)

    def _velocity(
        self,
        *,
        inputs: Tensor,
        sigmas: Tensor,
        poses: Tensor,
        text: Tensor,
        mask: Tensor,
        pooled: Tensor,
        frames: tuple[int, ...],
        history_latents: int,
        guidance: Tensor | None,
    ) -> Tensor:
        actions, positions = self.encode_camera(poses, frames, history_latents)
        (velocity,) = self.transformer(
            hidden_states=inputs,
            timestep=sigmas * TIMESTEPS,
            encoder_hidden_states=text,
            encoder_attention_mask=mask,
            pooled_projections=pooled,
            action_embeds=actions,
            positions=positions,
            guidance=None if guidance is None else guidance * TIMESTEPS,
            return_dict=False,
        )
        chunk: Tensor = velocity[:, :, history_latents:].float()
        return chunk


@torch.no_grad()
def initialize(transformer: GameCraftTransformer3DModel) -> None:
    """Let every block start as the identity and the last layer at zero (adaLN-zero of the DiT paper)."""
    for name, module in transformer.named_modules():
        modulation = isinstance(module, nn.Linear) and ".norm" in f".{name}" and name.endswith("linear")
        if modulation or name == "proj_out":
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
