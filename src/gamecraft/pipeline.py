"""The pipeline: an image or video, a prompt and actions become a video, chunk by chunk."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from diffusers.loaders import HunyuanVideoLoraLoaderMixin
from diffusers.utils import BaseOutput
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from gamecraft.actions import Action, parse_script
from gamecraft.chunk_pipeline import ChunkPipeline, Prompts
from gamecraft.denoising import StepCallback
from gamecraft.errors import InputError
from gamecraft.history import History
from gamecraft.packaging import PackagedPipeline
from gamecraft.pictures import Picture, fit_picture, to_frames
from gamecraft.published_pictures import published_fit, published_frames
from gamecraft.rollout import Chunk, PlaySettings, PlayState, chunk_generator, in_chunks, walk, whole_chunk
from gamecraft.trajectory import CameraState

__all__ = ["GameCraftPipeline", "GameCraftPipelineOutput", "OutputType"]

OutputType = Literal["np", "pt", "pil", "latent"]
StepEndCallback = Callable[["GameCraftPipeline", int, Tensor, dict[str, Any]], Mapping[str, Any] | None]


@dataclass
class GameCraftPipelineOutput(BaseOutput):  # type: ignore[misc]
    """A generated video.

    Attributes:
        frames: a list with the one video: uint8 [F, H, W, 3] ("np"), float [F, 3, H, W] in [0, 1] ("pt"), a list of PIL
            images ("pil"), or the latents [C, t, h, w] of the whole chunks ("latent").
        poses: [F, 4, 4] camera-to-world, metres.
    """

    frames: list[Any]
    poses: NDArray[np.float64]


class GameCraftPipeline(PackagedPipeline, ChunkPipeline, HunyuanVideoLoraLoaderMixin):  # type: ignore[misc]
    """Hunyuan-GameCraft of any size. ``pipe(...)`` gives a whole video, ``pipe.stream(...)`` its chunks as they appear.

    The modules and settings are those of ``ChunkPipeline``. ``load_lora_weights`` takes what a training with LoRA left.
    """

    @torch.no_grad()
    def __call__(self, *, output_type: OutputType = "np", **arguments: Any) -> GameCraftPipelineOutput:
        """Generate a video; the arguments are those of ``stream``.

        Raises:
            InputError: an argument is not valid.
        """
        chunks = list(self.stream(output_type=output_type, **arguments))
        frames: Any
        match output_type:
            case "latent":
                frames = torch.cat([chunk.latents for chunk in chunks], dim=2)[0]
            case "pil":
                frames = [image for chunk in chunks for image in chunk.frames]
            case "pt":
                frames = torch.cat([chunk.frames for chunk in chunks])
            case _:
                frames = np.concatenate([chunk.frames for chunk in chunks])
        return GameCraftPipelineOutput(frames=[frames], poses=np.concatenate([chunk.poses for chunk in chunks]))

    def stream(
        self,
        *,
        actions: Sequence[Action] | str,
        image: Picture | None = None,
        video: NDArray[np.uint8] | None = None,
        history: History | None = None,
        prompt: str = "",
        negative_prompt: str = "",
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        generator: torch.Generator | None = None,
        smoothing: float = 0.0,
        height: int | None = None,
        width: int | None = None,
        callback_on_step_end: StepEndCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        output_type: OutputType = "np",
    ) -> Iterator[Chunk]:
        """Generate a video and yield each chunk when it is done.

        Args:
            actions: one action per frame, or a script such as ``"w 2s, left 10f"``; filled up with idle frames to whole
                chunks, and the video is cut to their number.
            image: the picture before the first frame; scaled and cut to the size.
            video: frames uint8 [F, H, W, 3], of which the last ``chunk_frames`` go before the first frame.
            history: latents and poses instead of an image or a video; the walk goes on from its last pose.
            prompt, negative_prompt: the world, and what guidance leads away from.
            num_inference_steps, guidance_scale: those of the model if None.
            generator: its initial seed makes the noise of all chunks, however often it has been used; a random seed if
                None.
            smoothing: see ``gamecraft.actions.smooth``.
            height, width: pixels, those of the model if None.
            callback_on_step_end: called as ``callback(pipe, step, timestep, {"latents": ...})`` after each step; may
                return other latents.
            callback_on_step_end_tensor_inputs: names among "latents".
            output_type: form of the frames, see ``Chunk``.

        Raises:
            InputError: an argument is not valid; raised by this call, before the first chunk.
        """
        if unknown := set(callback_on_step_end_tensor_inputs) - set(self._callback_tensor_inputs):
            raise InputError(f"a callback can receive {self._callback_tensor_inputs}, not {sorted(unknown)}")
        if output_type not in ("np", "pt", "pil", "latent"):
            raise InputError(f"output_type is {output_type!r}; expected np, pt, pil or latent")
        if sum(start is not None for start in (image, video, history)) != 1:
            raise InputError("expected exactly one of image, video and history to start from")
        settings = self.play_settings(
            seed=torch.Generator().seed() if generator is None else generator.initial_seed(),
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            smoothing=smoothing,
        )
        scripted = parse_script(actions, self.config.fps) if isinstance(actions, str) else actions
        chunks = in_chunks(scripted, self.config.chunk_frames)
        if history is None:
            state = self.start_state(self.start_frames(image=image, video=video, height=height, width=width))
        elif history.last_pose.shape == (4, 4) and len(history.clips[0]) == 1:
            state = PlayState(history=history, camera=CameraState.from_pose(history.last_pose))
        else:
            raise InputError("expected the history of one play; generate_chunk takes batches")
        prompts = self.encode_prompts(prompt, negative_prompt, guided=settings.guided)
        on_step = _step_callback(self, callback_on_step_end, callback_on_step_end_tensor_inputs)
        return self._stream(state, chunks, prompts, settings, output_type=output_type, on_step=on_step)

    def _stream(
        self,
        state: PlayState,
        chunks: Iterator[tuple[Action, ...]],
        prompts: Prompts,
        settings: PlaySettings,
        *,
        output_type: OutputType,
        on_step: StepCallback | None,
    ) -> Iterator[Chunk]:
        try:
            for actions in chunks:
                chunk, state = self.play_chunk(
                    state, actions, prompts, settings, output_type=output_type, on_step=on_step
                )
                yield chunk
        finally:
            self.maybe_free_model_hooks()

    @torch.no_grad()
    def play_chunk(
        self,
        state: PlayState,
        actions: Sequence[Action],
        prompts: Prompts,
        settings: PlaySettings,
        *,
        output_type: OutputType = "np",
        on_step: StepCallback | None = None,
        on_chunk: Callable[[Chunk], None] | None = None,
    ) -> tuple[Chunk, PlayState]:
        """One chunk from a state on, and the state after it.

        Args:
            actions: 1 to ``chunk_frames``; the chunk is filled up with idle frames and shown without them.
            on_chunk: called with the chunk before the state is worked out, which takes a scene memory a moment.
        """
        started = time.perf_counter()
        shown, whole = len(actions), self.config.chunk_frames
        if not 1 <= shown <= whole:
            raise InputError(f"received {shown} actions for a chunk, expected 1 to {whole}")
        padded = whole_chunk(actions, whole)
        poses, _, _ = walk(state, padded, settings.smoothing)
        drawing = self.draw(state.history, poses)
        latents = self.generate_chunk(
            state.history,
            poses,
            prompts,
            drawing=drawing,
            generator=chunk_generator(settings.seed, state.index),
            num_inference_steps=settings.num_inference_steps,
            guidance_scale=settings.guidance_scale,
            on_step=on_step,
        )
        decoded = None if output_type == "latent" else self.decode_latents(latents, drawing)
        frames = None if decoded is None else self._as_output(decoded[:, :, :shown], output_type)
        chunk = Chunk(
            index=state.index,
            frames=frames,
            latents=latents,
            poses=poses[:shown],
            actions=tuple(actions),
            seconds=time.perf_counter() - started,
        )
        if on_chunk is not None:
            on_chunk(chunk)
        return chunk, self.next_state(state, padded, latents, settings, decoded)

    def next_state(
        self,
        state: PlayState,
        actions: Sequence[Action],
        latents: Tensor,
        settings: PlaySettings,
        decoded: Tensor | None = None,
    ) -> PlayState:
        """The state after a chunk of actions that led to ``latents`` [1, C, t, h, w].

        Args:
            decoded: what ``decode_latents`` gives for them, if it is there already; models with a scene memory need it.
        """
        poses, camera, velocity = walk(state, actions, settings.smoothing)
        view = None
        if self.depth_estimator is not None:
            if decoded is None:
                decoded = self.decode_latents(latents, self.draw(state.history, poses))
            view = self.remember(decoded, poses)
        history = state.history.append(
            latents,
            poses,
            max_clips=self.config.history_clips,
            view=view,
            max_views=self.config.remembered_views,
        )
        return PlayState(history=history, camera=camera, index=state.index + 1, velocity=velocity)

    def play_settings(
        self, *, num_inference_steps: int | None = None, guidance_scale: float | None = None, **others: Any
    ) -> PlaySettings:
        """Settings with the model's own values for those that are None."""
        steps = self.config.num_inference_steps if num_inference_steps is None else num_inference_steps
        scale = self.config.guidance_scale if guidance_scale is None else guidance_scale
        return PlaySettings(num_inference_steps=steps, guidance_scale=scale, **others)

    def start_frames(
        self,
        *,
        image: Picture | None = None,
        video: NDArray[np.uint8] | None = None,
        height: int | None = None,
        width: int | None = None,
    ) -> NDArray[np.uint8]:
        """The frames before the first chunk in the size of the result, uint8 [1 or chunk_frames, H, W, 3].

        Args:
            image, video: exactly one of them, as for ``stream``.

        Raises:
            InputError: the size does not fit the model, or the video is shorter than a chunk.
        """
        if (image is None) == (video is None):
            raise InputError("expected either an image or a video to start from")
        size = [self.config.height if height is None else height, self.config.width if width is None else width]
        step = self.vae.spatial_compression_ratio * self.transformer.config.patch_size
        if any(side < step or side % step for side in size):
            raise InputError(f"the size is {size[1]}x{size[0]} pixels; expected multiples of {step} for both sides")
        frames: list[Picture] = [image] if image is not None else []
        if video is not None:
            frames = list(video[-self.config.chunk_frames :])
            if len(frames) < self.config.chunk_frames:
                raise InputError(
                    f"the video to start from has {len(frames)} frames, expected at least {self.config.chunk_frames}; "
                    "start from its last frame as an image"
                )
        fit = published_fit if self.compatibility.published_pictures else fit_picture
        return np.stack([fit(frame, size[0], size[1]) for frame in frames])

    def start_state(self, frames: NDArray[np.uint8]) -> PlayState:
        """The state before the first chunk, after frames from ``start_frames``; the camera is level, at the origin."""
        camera = CameraState()
        return PlayState(history=self.start_history(frames, camera), camera=camera)

    def to_frames(self, video: Tensor) -> NDArray[np.uint8]:
        """What ``decode_latents`` gave for one play, as frames uint8 [F, H, W, 3]."""
        return published_frames(video) if self.compatibility.published_pictures else to_frames(video)

    def _as_output(self, video: Tensor, output_type: OutputType) -> Any:
        if output_type == "pt":
            return video[0].transpose(0, 1).add(1).div(2).clamp(0, 1)
        frames = self.to_frames(video)
        return [Image.fromarray(frame) for frame in frames] if output_type == "pil" else frames


def _step_callback(
    pipe: GameCraftPipeline, callback: StepEndCallback | None, names: Sequence[str]
) -> StepCallback | None:
    if callback is None:
        return None

    def on_step(step: int, timestep: Tensor, latents: Tensor) -> Tensor:
        result = callback(pipe, step, timestep, {"latents": latents} if names else {})
        changed: Tensor = (result or {}).get("latents", latents)
        return changed

    return on_step
