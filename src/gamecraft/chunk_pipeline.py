"""Everything a pipeline needs for one chunk: its networks, their settings, coding, prompts and denoising."""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import AutoencoderKLHunyuanVideo, DiffusionPipeline, FlowMatchEulerDiscreteScheduler
from diffusers.utils.torch_utils import randn_tensor
from numpy.typing import NDArray
from torch import Tensor
from transformers import CLIPTextModel, LlamaModel, PreTrainedTokenizerBase

from gamecraft.compatibility import Compatibility
from gamecraft.denoising import Conditioning, GuidanceRanks, StepCallback, denoise
from gamecraft.errors import InputError
from gamecraft.history import History
from gamecraft.intrinsics import Intrinsics
from gamecraft.models.autoencoder import AutoencoderPatchCode
from gamecraft.models.depth import DepthEstimator
from gamecraft.models.refiner import FrameRefiner
from gamecraft.models.text import PromptEmbeds, PromptSettings, encode_prompt
from gamecraft.models.transformer import GameCraftTransformer3DModel
from gamecraft.models.vae_tiling import keep_clips_whole
from gamecraft.pictures import to_video
from gamecraft.precision import autocasting, entering
from gamecraft.rays import CameraRays, pixel_directions
from gamecraft.scene import Drawing, View
from gamecraft.scene_encoder import SceneEncoder
from gamecraft.trajectory import CameraState, relative_to

__all__ = ["ChunkPipeline", "Prompts"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Prompts:
    """An encoded prompt and, where guidance needs it, the encoded negative prompt."""

    positive: PromptEmbeds
    negative: PromptEmbeds | None = None


class ChunkPipeline(DiffusionPipeline):  # type: ignore[misc]
    """Generates single chunks, for batches of plays.

    Args:
        chunk_frames: frames generated at a time, 1 + a multiple of the VAE's temporal ratio; each chunk is coded alone.
        fps: frames per second of the training videos, so of the result.
        height, width: default size in pixels.
        history_clips: past chunks (or the start) that the model sees.
        num_inference_steps, guidance_scale: defaults for sampling.
        batch_guidance: compute both halves of guidance in one forward pass; two passes need less memory and no
            attention mask for prompts of different lengths.
        intrinsics: the lens, values of ``Intrinsics``.
        prompt_settings: how prompts are fed to the language model, values of ``PromptSettings``.
        depth_estimator: gives the model a memory of the scene (`gamecraft.scene`), if it was trained with one.
        scene_views, remembered_views: of that memory: views a chunk is drawn from, and views that are kept.
        refiner: gives decoded frames the detail of what the scene memory shows of them.

    Attributes:
        autocast_dtype: type in which transformer and VAE compute; that of their weights if None.
        compatibility: defects of the published code to reproduce; none by default.
        guidance_ranks: the ranks that compute one half of guidance each; None = this one computes both.
    """

    model_cpu_offload_seq: ClassVar[str] = "text_encoder->text_encoder_2->depth_estimator->transformer->vae->refiner"
    _optional_components: ClassVar[list[str]] = ["depth_estimator", "refiner"]
    _callback_tensor_inputs: ClassVar[list[str]] = ["latents"]

    def __init__(
        self,
        *,
        vae: AutoencoderPatchCode | AutoencoderKLHunyuanVideo,
        text_encoder: LlamaModel,
        tokenizer: PreTrainedTokenizerBase,
        text_encoder_2: CLIPTextModel,
        tokenizer_2: PreTrainedTokenizerBase,
        transformer: GameCraftTransformer3DModel,
        scheduler: FlowMatchEulerDiscreteScheduler,
        depth_estimator: DepthEstimator | None = None,
        refiner: FrameRefiner | None = None,
        chunk_frames: int = 9,
        fps: int = 24,
        height: int = 96,
        width: int = 160,
        history_clips: int = 1,
        num_inference_steps: int = 12,
        guidance_scale: float = 1.0,
        batch_guidance: bool = True,
        intrinsics: dict[str, float] | None = None,
        prompt_settings: dict[str, Any] | None = None,
        scene_views: int = 3,
        remembered_views: int = 48,
    ) -> None:
        super().__init__()
        self.register_modules(
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            text_encoder_2=text_encoder_2,
            tokenizer_2=tokenizer_2,
            transformer=transformer,
            scheduler=scheduler,
            depth_estimator=depth_estimator,
            refiner=refiner,
        )
        self.register_to_config(
            chunk_frames=chunk_frames,
            fps=fps,
            height=height,
            width=width,
            history_clips=history_clips,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            batch_guidance=batch_guidance,
            intrinsics=asdict(Intrinsics(**(intrinsics or {}))),
            prompt_settings=asdict(PromptSettings(**(prompt_settings or {}))),
            scene_views=scene_views,
            remembered_views=remembered_views,
        )
        self.autocast_dtype: torch.dtype | None = None
        self.compatibility = Compatibility()
        self.guidance_ranks: GuidanceRanks | None = None
        keep_clips_whole(vae)
        if (chunk_frames - 1) % vae.temporal_compression_ratio:
            raise InputError(
                f"chunk_frames is {chunk_frames}; expected 1 + a multiple of {vae.temporal_compression_ratio}"
            )
        self.intrinsics = Intrinsics(**self.config.intrinsics)
        self.prompt_settings = PromptSettings(**self.config.prompt_settings)
        self.num_chunk_latents = 1 + (chunk_frames - 1) // vae.temporal_compression_ratio

    @torch.no_grad()
    def generate_chunk(
        self,
        history: History,
        poses: NDArray[np.float64],
        prompts: Prompts,
        *,
        generator: torch.Generator | list[torch.Generator],
        drawing: Drawing | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        on_step: StepCallback | None = None,
    ) -> Tensor:
        """Latents of the chunk that follows a history, for a batch of B plays.

        Args:
            history: clips [B, C, t_i, h, w].
            poses: camera-to-world [F, 4, 4], or [B, F, 4, 4], in the world of the history, after each frame's action.
            prompts: B encoded prompts; the negative ones are needed with guidance.
            generator: source of the noise, or one for each play.
            drawing: what ``draw`` gives for history and poses, if it is there already.

        Returns:
            [B, C, t, h, w] float32, VAE latents * scaling_factor.
        """
        device = self._execution_device
        scale = self.config.guidance_scale if guidance_scale is None else guidance_scale
        last_pose = history.last_pose[..., None, :, :]
        batch, channels, _, height, width = history.clips[0].shape
        noise = self._noise((batch, channels, self.num_chunk_latents, height, width), history, generator)
        if self.compatibility.repeat_first_pose:
            poses = np.concatenate([np.broadcast_to(last_pose, poses[..., :1, :, :].shape), poses[..., :-1, :, :]], -3)
        features, positions = self._encode_camera(history, poses)
        padding: dict[str, Any] = {"attend_to_padding": self.compatibility.attend_to_padding}
        drawing = drawing or self.draw(history, poses)
        encoder = self._scene_encoder()
        scene = None if encoder is None or drawing is None else encoder.scene(drawing)
        branches = [("cond", Conditioning.of([prompts.positive], features, positions, scene=scene, **padding))]
        if scale > 1.0:
            if prompts.negative is None:
                raise InputError(f"a guidance scale of {scale:g} needs an encoded negative prompt, which may be empty")
            # As published, the unconditional camera stands still (where the history ends); it sees no scene.
            still, looking = self._encode_camera(history, np.broadcast_to(last_pose, poses.shape))
            if self.config.batch_guidance:
                texts = [prompts.negative, prompts.positive]
                both = None if positions is None or looking is None else torch.cat([looking, positions])
                camera = torch.cat([still, features])
                scenes = None if scene is None else scene.beside_nothing()
                branches = [("cond_uncond", Conditioning.of(texts, camera, both, scene=scenes, **padding))]
            else:
                branches.insert(0, ("uncond", Conditioning.of([prompts.negative], still, looking, **padding)))
        if self.compatibility.shared_step_cache:
            branches = [("shared", branch) for _, branch in branches]
        ranks = self.guidance_ranks if scale > 1.0 else None
        return denoise(
            self.transformer,
            self.scheduler,
            noise.to(device),
            history,
            branches if ranks is None else [branches[ranks.half]],
            num_inference_steps=num_inference_steps or self.config.num_inference_steps,
            guidance_scale=scale,
            autocast=self.autocast_dtype,
            gather=None if ranks is None else ranks.gather,
            on_step=on_step,
        )

    def remember(self, video: Tensor, poses: NDArray[np.float64]) -> View | None:
        """The last frame of a decoded chunk [B, 3, F, H, W] with poses [..., F, 4, 4]; None without a scene memory."""
        encoder = self._scene_encoder()
        return None if encoder is None else encoder.view(video[:, :, -1], poses[..., -1, :, :])

    def draw(self, history: History, poses: NDArray[np.float64]) -> Drawing | None:
        """What the views of a history show of the chunk with poses [..., F, 4, 4]; None without a scene memory."""
        encoder = self._scene_encoder()
        return encoder.draw(history, poses) if encoder and history.views else None

    def _scene_encoder(self) -> SceneEncoder | None:
        if self.depth_estimator is None:
            return None
        return SceneEncoder(
            vae=self.vae,
            depth_estimator=self.depth_estimator,
            intrinsics=self.intrinsics,
            views=self.config.scene_views,
            autocast=self.autocast_dtype,
        )

    def _noise(
        self, shape: tuple[int, ...], history: History, generator: torch.Generator | list[torch.Generator]
    ) -> Tensor:
        """Noise for a chunk's latents, float32 on the CPU."""
        cpu = torch.device("cpu")
        if not self.compatibility.global_noise:
            noise: Tensor = randn_tensor(shape, generator=generator, device=cpu, dtype=torch.float32)
            return noise
        whole = (*shape[:2], history.num_latents + shape[2], *shape[3:])
        return torch.randn(whole, device=cpu)[:, :, history.num_latents :]

    def _encode_camera(self, history: History, poses: NDArray[np.float64]) -> tuple[Tensor, Tensor | None]:
        """Action features [B, tokens, hidden] of history and chunk, and the tokens' positions if rays give them.

        Rays are as seen from the last history frame.
        """
        batch, _, _, rows, columns = history.clips[0].shape
        ratio = self.vae.spatial_compression_ratio
        reference = history.last_pose[..., None, :, :]
        directions = pixel_directions(self.intrinsics, rows * ratio, columns * ratio, self._execution_device)

        def rays(track: NDArray[np.float64]) -> Tensor | CameraRays:
            relative = torch.from_numpy(relative_to(track, reference))
            found = CameraRays.along(relative.expand(batch, *relative.shape[-3:]), directions)
            return found.spelled_out().bfloat16().float() if self.compatibility.bfloat16_rays else found

        features: Tensor
        new = rays(poses)
        if self.transformer.config.history_rays == "zero":
            features = self.transformer.encode_actions(new, num_history_latents=history.num_latents)
            return features, None
        past = [rays(track) for track in history.poses]
        features = self.transformer.encode_actions(new, history_rays=past)
        return features, self.transformer.locate_tokens(new, history_rays=past)

    def encode_prompts(self, prompt: str, negative_prompt: str, *, guided: bool) -> Prompts:
        """Encode a prompt for all its chunks, and the negative one if it will be needed."""
        if self.compatibility.drop_prompt_additions:
            negative_prompt = ""
        return Prompts(
            positive=self._encode_prompt(prompt), negative=self._encode_prompt(negative_prompt) if guided else None
        )

    @torch.no_grad()
    def start_history(
        self, frames: NDArray[np.uint8], camera: CameraState, poses: NDArray[np.float64] | None = None
    ) -> History:
        """Start frames uint8 [1 + k * ratio, H, W, 3] as a history.

        Args:
            camera: where the play starts.
            poses: [frames, 4, 4] camera-to-world if they are known; otherwise the camera is taken to have stood still.
        """
        video = to_video(frames).to(self._execution_device)
        if poses is None:
            poses = np.tile(camera.pose(), (len(frames), 1, 1))
        with autocasting(self.autocast_dtype, video.device):
            found = self.vae.encode(entering(video, self.vae, self.autocast_dtype)).latent_dist
        latents = found.sample() if self.compatibility.sample_start else found.mode()
        scaled = latents.float() * self.vae.config.scaling_factor
        view = self.remember(video, poses)
        return History(clips=(scaled,), poses=(poses,), views=() if view is None else (view,))

    def _encode_prompt(self, prompt: str) -> PromptEmbeds:
        if not isinstance(prompt, str):
            raise InputError(f"a prompt is one text, received {type(prompt).__name__}")
        return encode_prompt(
            prompt,
            self.tokenizer,
            self.text_encoder,
            self.tokenizer_2,
            self.text_encoder_2,
            self.prompt_settings,
            self._execution_device,
            self.transformer.dtype if self.autocast_dtype is None else torch.float32,
        )

    @torch.no_grad()
    def decode_latents(self, latents: Tensor, drawing: Drawing | None = None) -> Tensor:
        """Latents [B, C, t, h, w] of one chunk as video [B, 3, F, H, W] float32, about [-1, 1].

        Args:
            drawing: of that chunk, for the refiner; without it frames stay as decoded.
        """
        scaled = entering(latents / self.vae.config.scaling_factor, self.vae, self.autocast_dtype)
        with autocasting(self.autocast_dtype, latents.device):
            video: Tensor = self.vae.decode(scaled).sample
        return self.refine(video.float(), drawing)

    @torch.no_grad()
    def refine(self, video: Tensor, drawing: Drawing | None) -> Tensor:
        """A decoded video [B, 3, F, H, W] with what was drawn of it; as it is without a refiner or a drawing."""
        if self.refiner is None or drawing is None:
            return video
        with autocasting(self.autocast_dtype, video.device):
            refined: Tensor = self.refiner(video, *drawing)
        return refined
