"""Whole plays equal those of the published code, recorded in float32 with random weights; and what is put right."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from gamecraft.chunk_pipeline import Prompts
from gamecraft.compatibility import Compatibility
from gamecraft.conversion.vae import load_official_vae
from gamecraft.denoising import Conditioning, denoise
from gamecraft.errors import InputError
from gamecraft.history import History
from gamecraft.models.step_cache import apply_published_step_cache, is_skipped
from gamecraft.models.text import PromptEmbeds
from gamecraft.models.transformer import GameCraftTransformer3DModel
from gamecraft.models.vae_tiling import set_vae_tiling
from gamecraft.pipeline import GameCraftPipeline
from gamecraft.published import TRANSLATION_SCALE, PublishedAction, chunk_trajectory, published_poses
from gamecraft.published_pictures import published_fit, published_frames
from gamecraft.published_play import action_tracks, file_tracks, play_tracks
from gamecraft.trajectory import CameraState, Trajectory
from transformer_cases import GOLDENS, golden, published_model

ACTIONS = [
    PublishedAction(name="w", speed=0.2),
    PublishedAction(name="d", speed=0.5),
    PublishedAction(name="up_rot", speed=2.0),
]
SEED = 20251714


def prompt(branch: str) -> PromptEmbeds:
    recorded = golden("denoising")
    return PromptEmbeds(*(recorded[f"{name}_{branch}"][None] for name in ("text_states", "text_mask", "text_states_2")))


PROMPTS = Prompts(positive=prompt("cond"), negative=prompt("uncond"))


@cache
def published_pipeline() -> GameCraftPipeline:
    """The networks that were recorded; the prompts were recorded as embeddings."""
    parts: dict[str, Any] = dict.fromkeys(("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"))
    return GameCraftPipeline(
        vae=load_official_vae(GOLDENS / "vae"),
        transformer=published_model(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
        chunk_frames=33,
        height=32,
        width=48,
        num_inference_steps=4,
        guidance_scale=2.0,
        **parts,
    )


@pytest.fixture
def pipe() -> Iterator[GameCraftPipeline]:
    pipe = published_pipeline()
    set_vae_tiling(pipe.vae, True, tile_size=32)  # as recorded: two tiles beside each other
    yield pipe
    pipe.compatibility = Compatibility()


class Recorder:
    """Keeps the latents after the last step of every chunk."""

    def __init__(self, steps: int) -> None:
        self.steps, self.chunks = steps, list[Tensor]()

    def __call__(self, step: int, timestep: Tensor, latents: Tensor) -> Tensor:
        if step == self.steps - 1:
            self.chunks.append(latents)
        return latents


def test_three_chunks_from_a_picture_equal_the_published_ones(pipe: GameCraftPipeline) -> None:
    pipe.compatibility = replace(Compatibility.published(), published_pictures=False)
    recorded, recorder = golden("rollout"), Recorder(4)
    torch.manual_seed(SEED)
    latent = pipe.vae.encode(recorded["image"]).latent_dist.sample() * pipe.vae.config.scaling_factor
    torch.testing.assert_close(latent, recorded["image_latent"], atol=1e-5, rtol=1e-4)
    history = History(clips=(latent,), poses=(np.eye(4)[None],))
    settings = pipe.play_settings(seed=1)
    frames = list(play_tracks(pipe, history, action_tracks(ACTIONS, 33), PROMPTS, settings, on_step=recorder))
    assert [chunk.shape for chunk in frames] == [(33, 32, 48, 3)] * 3
    for index, latents in enumerate(recorder.chunks):
        torch.testing.assert_close(latents, recorded[f"chunk{index}.latents"], atol=1e-4, rtol=1e-3)
    shown = torch.from_numpy(np.concatenate(frames)[::11]).movedim(3, 0)[None] / 255
    assert float((shown - recorded["frames"].float()).abs().max()) < 0.6 / 255


def test_a_play_starts_with_a_sample_from_the_global_generator(pipe: GameCraftPipeline) -> None:
    pipe.compatibility = Compatibility(sample_start=True)
    frames = np.full((1, 32, 48, 3), 100, np.uint8)
    latents = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        latents.append(pipe.start_history(frames, CameraState()).latents)
    assert torch.equal(latents[0], latents[1])
    assert not torch.equal(latents[0], latents[2])
    pipe.compatibility = Compatibility()
    assert torch.equal(*(pipe.start_history(frames, CameraState()).latents for _ in range(2)))


# --- step cache ------------------------------------------------------------------------------------------------------

# name: action, guidance scale
CACHED = {
    "image_cfg_50_cache": (ACTIONS[0], 2.0),
    "image_nocfg_50_cache": (ACTIONS[0], 1.0),
    "continuation_cfg_50_cache": (PublishedAction(name="left_rot", speed=1.0), 2.0),
}


@cache
def cached_model() -> GameCraftTransformer3DModel:
    model: GameCraftTransformer3DModel = GameCraftTransformer3DModel.from_config(published_model().config)
    model.load_state_dict(published_model().state_dict())
    apply_published_step_cache(model)
    return model.eval().requires_grad_(False)


def fifty_steps(model: GameCraftTransformer3DModel, name: str, *, batched: bool = True, shared: bool = False) -> Tensor:
    recorded = golden("rollout")
    action, scale = CACHED[name]
    clip = recorded[f"{name}.history"]
    history = History(clips=(clip,), poses=(np.tile(np.eye(4), (4 * clip.shape[2] - 3, 1, 1)),))
    pipe = published_pipeline()
    pipe.compatibility = Compatibility(bfloat16_rays=True)
    still = np.tile(np.eye(4), (33, 1, 1))
    moving = np.concatenate([still[:1], action_tracks([action], 33)[0][:-1]])
    parts = [(PROMPTS.positive, pipe._encode_camera(history, moving)[0])]
    if scale > 1:
        assert PROMPTS.negative is not None
        parts.insert(0, (PROMPTS.negative, pipe._encode_camera(history, still)[0]))
    if batched:
        parts = [([text for text, _ in parts], torch.cat([tokens for _, tokens in parts]))]
    branches = [
        ("shared" if shared else str(number), Conditioning.of(texts if batched else [texts], tokens))
        for number, (texts, tokens) in enumerate(parts)
    ]
    pipe.compatibility = Compatibility()
    noise = recorded[f"{name}.noise"][:, :, clip.shape[2] :]
    scheduler = FlowMatchEulerDiscreteScheduler(shift=5.0)
    with torch.no_grad():
        return denoise(model, scheduler, noise, history, branches, num_inference_steps=50, guidance_scale=scale)


@pytest.mark.parametrize("name", CACHED)
def test_fifty_steps_with_the_step_cache_equal_the_published_ones(name: str) -> None:
    recorded = golden("rollout")
    skipped = [step for step in range(50) if is_skipped(step, 50)]
    assert recorded[f"{name}.is_cache"].nonzero().flatten().tolist() == skipped
    latents, expected = fifty_steps(cached_model(), name), recorded[f"{name}.latents"]
    assert float((latents - expected).norm() / expected.norm()) < 1e-5


def test_halves_of_guidance_have_a_cache_each_unless_it_is_shared_as_published() -> None:
    name, model = "image_cfg_50_cache", cached_model()
    expected = golden("rollout")[f"{name}.latents"]
    torch.testing.assert_close(fifty_steps(model, name, batched=False), expected, atol=1e-4, rtol=1e-3)
    assert float((fifty_steps(model, name, batched=False, shared=True) - expected).abs().max()) > 0.1


def test_other_numbers_of_steps_are_computed_in_full() -> None:
    assert not any(is_skipped(step, 49) for step in range(49))


# --- compatibility settings ------------------------------------------------------------------------------------------


def test_the_whole_action_is_shown_unless_the_first_pose_is_repeated(pipe: GameCraftPipeline) -> None:
    (track,) = action_tracks([PublishedAction(name="right_rot", speed=10)], 33)
    angle = np.degrees(np.arctan2(track[:, 0, 2], track[:, 2, 2]))
    np.testing.assert_allclose(angle, np.arange(1, 34) * 10 / 33, atol=1e-9)
    seen: list[Any] = []
    encode = pipe._encode_camera
    history = History(clips=(torch.zeros(1, 16, 1, 4, 6),), poses=(np.eye(4)[None],))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipe, "_encode_camera", lambda history, poses: (seen.append(poses), encode(history, poses))[1])
        for repeat in (False, True):
            pipe.compatibility = Compatibility(repeat_first_pose=repeat)
            generator = torch.Generator().manual_seed(0)
            pipe.generate_chunk(history, track, PROMPTS, generator=generator, num_inference_steps=1, guidance_scale=1.0)
    np.testing.assert_array_equal(seen[0], track)
    np.testing.assert_array_equal(seen[1], np.concatenate([np.eye(4)[None], track[:-1]]))


def test_padding_has_no_effect_unless_it_is_attended_to() -> None:
    model, mask = published_model(), (torch.arange(12) < 7).long()[None]
    text = PROMPTS.positive._replace(mask=mask)
    other = text._replace(embeds=text.embeds + 3 * (1 - mask[..., None]))
    inputs = torch.randn(1, 33, 9, 4, 6, generator=torch.Generator().manual_seed(0))
    tokens = torch.zeros(1, 54, model.config.num_attention_heads * model.config.attention_head_dim)
    for attend in (False, True):
        both = [Conditioning.of([each], tokens, attend_to_padding=attend) for each in (text, other)]
        first, second = (
            model(
                inputs,
                torch.tensor([500.0]),
                branch.embeds,
                branch.mask,
                branch.pooled,
                action_embeds=tokens,
                attend_to_padding=attend,
            ).sample
            for branch in both
        )
        assert torch.equal(first, second) is not attend


def test_settings_are_named_in_text() -> None:
    assert Compatibility.parse("") == Compatibility()
    assert Compatibility.parse("global-noise, repeat_first_pose") == Compatibility(
        global_noise=True, repeat_first_pose=True
    )
    assert Compatibility.parse("published") == Compatibility.published()
    assert Compatibility.parse("published,attend-to-padding").attend_to_padding
    assert not Compatibility.published().shared_step_cache
    with pytest.raises(InputError, match="unknown compatibility setting 'noise'; known: published, attend_to_padding"):
        Compatibility.parse("noise")


@pytest.mark.parametrize("case", [0, 1, 2])
def test_pictures_are_fitted_as_published(case: int) -> None:
    recorded = golden("rollout")
    fitted = published_fit(recorded[f"picture.{case}.image_u8"].numpy(), 32, 48)
    np.testing.assert_array_equal(fitted, recorded[f"picture.{case}.crop_u8"].numpy())


def test_frames_are_cut_to_whole_numbers_as_published() -> None:
    recorded = golden("rollout")
    frames = published_frames(recorded["picture.video_in"] * 2 - 1)
    difference = np.abs(frames.astype(int) - recorded["picture.video_frames_u8"].numpy().astype(int))
    assert difference.max() <= 1  # the round trip through [-1, 1] moves values that lie on a whole number
    assert difference.mean() < 0.01


# --- pose files ------------------------------------------------------------------------------------------------------


def test_a_pose_file_gives_as_many_chunks_as_it_has_rows_for() -> None:
    poses = np.tile(np.eye(4), (67, 1, 1))
    poses[:, 2, 3] = np.arange(67)
    tracks, lens = file_tracks(Trajectory(poses=poses), 33)
    assert len(tracks) == 2
    for track in tracks:
        np.testing.assert_allclose(track[:, 2, 3], TRANSLATION_SCALE * np.arange(1, 34))
    assert (lens.cx, lens.cy) == (0.5, 0.5)
    (single,), _ = file_tracks(Trajectory(poses=poses[:33]), 33)
    np.testing.assert_allclose(single[:, 2, 3], TRANSLATION_SCALE * np.array([*range(1, 33), 32]))


def test_an_action_and_its_pose_file_are_the_same_track() -> None:
    action = PublishedAction(name="left_rot", speed=30)
    whole = chunk_trajectory(action)
    np.testing.assert_allclose(file_tracks(whole, 33)[0][0], action_tracks([action], 33)[0], atol=1e-12)
    np.testing.assert_allclose(published_poses(whole.poses)[0], np.eye(4), atol=1e-12)


@pytest.mark.parametrize(("rows", "message"), [(32, "32 rows, expected at least 33"), (40, "the lens changes")])
def test_pose_files_that_cannot_be_played_are_refused(rows: int, message: str) -> None:
    lens = np.tile([0.5, 0.9, 0.5, 0.5], (rows, 1))
    lens[-1, 0] = 0.7
    with pytest.raises(InputError, match=message):
        file_tracks(Trajectory(poses=np.tile(np.eye(4), (rows, 1, 1)), intrinsics=lens), 33)
