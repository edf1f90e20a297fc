import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, FirstBlockCacheConfig
from PIL import Image

from gamecraft.actions import Action, motion, parse_script
from gamecraft.errors import ActionError, InputError
from gamecraft.history import History
from gamecraft.loading import load_pipeline
from gamecraft.pictures import to_frames
from gamecraft.pipeline import GameCraftPipeline
from gamecraft.rollout import PlaySettings, PlayState, chunk_generator, walk
from gamecraft.trajectory import integrate
from tiny import CHUNK, SIZE, tiny_pipeline

SCRIPT = "w 6f, w+left 4f, look:right 30deg over 2f"  # 12 frames: two chunks of 5 and two frames of a third


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def video(pipe: GameCraftPipeline, picture: np.ndarray, **changes: Any) -> np.ndarray:
    arguments = {"image": picture, "prompt": "a village", "actions": SCRIPT, "generator": seeded()} | changes
    frames: np.ndarray = pipe(**arguments).frames[0]
    return frames


@pytest.fixture(scope="module")
def frames(pipe: GameCraftPipeline, picture: np.ndarray) -> np.ndarray:
    return video(pipe, picture)


# --- what a video is -------------------------------------------------------------------------------------------------


def test_there_is_one_frame_for_each_action(frames: np.ndarray) -> None:
    assert frames.shape == (12, *SIZE, 3)
    assert frames.dtype == np.uint8


def test_the_poses_are_those_of_the_whole_walk(pipe: GameCraftPipeline, picture: np.ndarray) -> None:
    poses = pipe(image=picture, actions=SCRIPT, smoothing=0.7).poses
    assert np.array_equal(poses, integrate(motion(parse_script(SCRIPT), smoothing=0.7))[0])


def test_stream_gives_the_frames_of_call_chunk_by_chunk(
    pipe: GameCraftPipeline, picture: np.ndarray, frames: np.ndarray
) -> None:
    stream = pipe.stream(image=picture, prompt="a village", actions=SCRIPT, generator=seeded())
    assert isinstance(stream, Iterator)
    chunks = list(stream)
    assert [len(chunk.frames) for chunk in chunks] == [5, 5, 2]
    assert [chunk.index for chunk in chunks] == [0, 1, 2]
    assert [action for chunk in chunks for action in chunk.actions] == parse_script(SCRIPT)
    assert np.array_equal(np.concatenate([chunk.frames for chunk in chunks]), frames)
    assert all(chunk.seconds > 0 and chunk.latents.shape == (1, 4, 2, 4, 6) for chunk in chunks)


def test_later_chunks_do_not_change_earlier_ones(
    pipe: GameCraftPipeline, picture: np.ndarray, frames: np.ndarray
) -> None:
    assert np.array_equal(video(pipe, picture, actions="w 5f"), frames[:5])


def test_the_first_chunk_comes_before_the_second_is_made(pipe: GameCraftPipeline, picture: np.ndarray) -> None:
    steps: list[float] = []

    def record(*_: Any) -> dict[str, Any]:
        steps.append(time.monotonic())
        return {}

    stream = pipe.stream(image=picture, actions=SCRIPT, callback_on_step_end=record)
    assert not steps
    next(stream)
    assert len(steps) == pipe.config.num_inference_steps


# --- what decides about it -------------------------------------------------------------------------------------------


def test_equal_seeds_give_equal_videos(pipe: GameCraftPipeline, picture: np.ndarray, frames: np.ndarray) -> None:
    used = seeded()
    torch.randn(7, generator=used)  # only the seed of a generator counts
    torch.manual_seed(99)
    assert np.array_equal(video(pipe, picture, generator=used), frames)


@pytest.mark.parametrize(
    "change",
    [
        {"generator": seeded(4)},
        {"prompt": "a dark forest"},
        {"actions": "s 12f"},
        {"num_inference_steps": 3},
        {"guidance_scale": 3.0},
        {"smoothing": 0.5},
        {"image": np.zeros((32, 48, 3), np.uint8)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_everything_else_changes_it(
    pipe: GameCraftPipeline, picture: np.ndarray, frames: np.ndarray, change: dict[str, Any]
) -> None:
    assert not np.array_equal(video(pipe, picture, **change), frames)


def test_without_a_generator_each_video_is_another(pipe: GameCraftPipeline, picture: np.ndarray) -> None:
    state = torch.get_rng_state()
    assert not np.array_equal(video(pipe, picture, generator=None), video(pipe, picture, generator=None))
    assert torch.equal(torch.get_rng_state(), state)


def test_noise_of_a_chunk_depends_on_seed_and_index_alone() -> None:
    draws = {
        (seed, index): torch.randn(4, generator=chunk_generator(seed, index)) for seed in (0, 1) for index in (0, 1)
    }
    assert len({tuple(draw.tolist()) for draw in draws.values()}) == 4
    assert torch.equal(draws[1, 0], torch.randn(4, generator=chunk_generator(1, 0)))
    assert chunk_generator(2**64 - 1, 5).initial_seed() >= 0


def test_the_negative_prompt_matters_with_guidance_alone(pipe: GameCraftPipeline, picture: np.ndarray) -> None:
    plain = [video(pipe, picture, actions="w 5f", negative_prompt=text) for text in ("", "fog")]
    guided = [video(pipe, picture, actions="w 5f", negative_prompt=text, guidance_scale=4.0) for text in ("", "fog")]
    assert np.array_equal(*plain)
    assert not np.array_equal(*guided)


def test_guidance_in_one_pass_equals_two_passes(pipe: GameCraftPipeline, picture: np.ndarray) -> None:
    two = tiny_pipeline(batch_guidance=False)
    arguments = {"actions": "w 5f", "guidance_scale": 4.0, "output_type": "latent"}
    torch.testing.assert_close(video(pipe, picture, **arguments), video(two, picture, **arguments))


def test_guidance_of_two_equal_branches_changes_nothing(pipe: GameCraftPipeline, picture: np.ndarray) -> None:
    still = {"actions": "idle 5f", "negative_prompt": "a village", "output_type": "latent"}
    torch.testing.assert_close(
        video(pipe, picture, guidance_scale=7.0, **still), video(pipe, picture, **still), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("batch_guidance", [True, False])
def test_a_block_cache_works_and_keeps_nothing_between_chunks(picture: np.ndarray, batch_guidance: bool) -> None:
    pipe = tiny_pipeline(batch_guidance=batch_guidance)
    arguments: dict[str, Any] = {"guidance_scale": 3.0, "num_inference_steps": 4}
    plain = video(pipe, picture, **arguments)
    pipe.transformer.enable_cache(FirstBlockCacheConfig(threshold=1e-9))
    assert np.array_equal(video(pipe, picture, **arguments), plain)
    pipe.transformer.disable_cache()
    pipe.transformer.enable_cache(FirstBlockCacheConfig(threshold=1e9))
    cached = video(pipe, picture, **arguments)
    assert not np.array_equal(cached, plain)
    assert np.array_equal(video(pipe, picture, **arguments), cached)
    assert np.array_equal(video(pipe, picture, actions="w 5f", **arguments), cached[:CHUNK])


def test_history_rays_are_seen_by_a_model_that_wants_them(picture: np.ndarray) -> None:
    pipe = tiny_pipeline(history_rays="true")
    assert len(video(pipe, picture)) == 12
    history = pipe.start_state(np.stack([picture] * CHUNK)).history
    turned = History(clips=history.clips, poses=(integrate(motion(parse_script("left 5f")))[0],))
    same = {"image": None, "actions": "w 5f"}
    assert not np.array_equal(
        video(pipe, picture, history=history, **same), video(pipe, picture, history=turned, **same)
    )


# --- starts ----------------------------------------------------------------------------------------------------------


def test_an_image_is_one_latent_and_a_video_its_last_chunk(pipe: GameCraftPipeline, picture: np.ndarray) -> None:
    long = np.random.default_rng(1).integers(0, 256, (9, *SIZE, 3), dtype=np.uint8)
    assert pipe.start_state(pipe.start_frames(image=picture)).history.num_latents == 1
    frames = pipe.start_frames(video=long)
    assert np.array_equal(frames, long[-CHUNK:])
    history = pipe.start_state(frames).history
    assert history.num_latents == 2
    assert history.poses[0].shape == (CHUNK, 4, 4)
    start = {"image": None, "actions": "w 5f"}
    assert np.array_equal(video(pipe, picture, video=long, **start), video(pipe, picture, history=history, **start))


def test_a_history_goes_on_where_its_camera_is(pipe: GameCraftPipeline, picture: np.ndarray) -> None:
    (first,) = pipe.stream(image=picture, prompt="a village", actions="w+right 5f", generator=seeded())
    history = History(clips=(first.latents,), poses=(first.poses,))
    poses = pipe(history=history, actions="w 5f").poses
    whole = integrate(motion(parse_script("w+right 5f, w 5f")))[0]
    np.testing.assert_allclose(poses, whole[5:], atol=1e-12)


def test_any_picture_is_scaled_and_cut_to_the_size(pipe: GameCraftPipeline) -> None:
    for size in ((1, 1), (321, 640), (7, 300), (33, 49)):
        grey = np.full((*size, 3), 200, np.uint8)
        assert (pipe.start_frames(image=grey) == 200).all()  # no black line at an edge
    image = Image.fromarray(np.full((40, 40), 9, np.uint8))
    assert (pipe.start_frames(image=image, height=48, width=16)[0] == 9).all()


def test_other_sizes_than_the_model_s(pipe: GameCraftPipeline, picture: np.ndarray) -> None:
    assert video(pipe, picture, actions="w 5f", height=16, width=32).shape == (5, 16, 32, 3)


def test_the_next_state_knows_the_newest_clips(picture: np.ndarray) -> None:
    pipe = tiny_pipeline(history_clips=2)
    settings = pipe.play_settings(seed=0)
    prompts = pipe.encode_prompts("", "", guided=False)
    state = pipe.start_state(pipe.start_frames(image=picture))
    lengths = []
    for _ in range(3):
        _, state = pipe.play_chunk(state, [Action()] * CHUNK, prompts, settings)
        lengths.append(state.history.num_latents)
    assert lengths == [3, 4, 4]


def test_walking_in_chunks_equals_walking_at_once(pipe: GameCraftPipeline, picture: np.ndarray) -> None:
    actions = parse_script("w+d 3f, look:up 20deg over 4f, left+s 8f")
    state = pipe.start_state(pipe.start_frames(image=picture))
    poses = []
    for i in range(0, 15, 5):
        part, camera, velocity = walk(state, actions[i : i + 5], 0.6)
        poses.append(part)
        state = PlayState(history=state.history, camera=camera, velocity=velocity)
    assert np.array_equal(np.concatenate(poses), integrate(motion(actions, 0.6))[0])


# --- batches and outputs ---------------------------------------------------------------------------------------------


def test_plays_in_a_batch_equal_plays_alone(pipe: GameCraftPipeline, picture: np.ndarray) -> None:
    histories = [pipe.start_state(np.roll(picture, shift)[None]).history for shift in (0, 999)]
    tracks = [integrate(motion(parse_script(script)))[0] for script in ("w 5f", "left 5f")]
    texts = [pipe.encode_prompts(text, "", guided=True) for text in ("a village", "a dark forest at night")]
    alone = [
        pipe.generate_chunk(history, track, text, generator=seeded(i), guidance_scale=2.0)
        for i, (history, track, text) in enumerate(zip(histories, tracks, texts, strict=True))
    ]
    batch = History(
        clips=(torch.cat([history.clips[0] for history in histories]),),
        poses=(np.stack([history.poses[0] for history in histories]),),
    )
    pairs = [tuple(torch.cat(parts) for parts in zip(*both, strict=True)) for both in _columns(texts)]
    both = type(texts[0])(positive=type(texts[0].positive)(*pairs[0]), negative=type(texts[0].positive)(*pairs[1]))
    together = pipe.generate_chunk(batch, np.stack(tracks), both, generator=[seeded(0), seeded(1)], guidance_scale=2.0)
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-4, rtol=1e-4)


def _columns(texts: list[Any]) -> list[list[Any]]:
    return [[text.positive for text in texts], [text.negative for text in texts]]


def test_output_types_are_the_same_video(pipe: GameCraftPipeline, picture: np.ndarray, frames: np.ndarray) -> None:
    tensor = video(pipe, picture, output_type="pt")
    assert tensor.shape == (12, 3, *SIZE)
    assert np.array_equal((tensor * 255).round().byte().permute(0, 2, 3, 1).numpy(), frames)
    assert np.array_equal(np.stack([np.asarray(image) for image in video(pipe, picture, output_type="pil")]), frames)
    latents = video(pipe, picture, output_type="latent")
    assert latents.shape == (4, 6, 4, 6)
    assert np.array_equal(to_frames(pipe.decode_latents(latents[None, :, :2])), frames[:CHUNK])


def test_a_callback_sees_and_may_change_the_latents(pipe: GameCraftPipeline, picture: np.ndarray) -> None:
    def zero(pipe: GameCraftPipeline, step: int, timestep: torch.Tensor, values: dict[str, Any]) -> dict[str, Any]:
        return {"latents": torch.zeros_like(values["latents"])} if step == 1 else {}

    latents = video(pipe, picture, actions="w 5f", callback_on_step_end=zero, output_type="latent")
    assert not latents.any()


# --- what is refused, before anything is computed --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": None}, "exactly one of image, video and history"),
        ({"video": np.zeros((9, 32, 48, 3), np.uint8)}, "exactly one of"),
        ({"image": None, "video": np.zeros((3, 32, 48, 3), np.uint8)}, "has 3 frames, expected at least 5"),
        ({"image": np.zeros((32, 48), np.uint8)}, r"expected uint8 \[H, W, 3\]"),
        ({"height": 33}, "multiples of 16"),
        ({"width": 0}, "multiples of 16"),
        ({"num_inference_steps": 0}, "steps is 0"),
        ({"guidance_scale": 0.5}, "guidance scale is 0.5"),
        ({"guidance_scale": float("nan")}, "guidance scale is nan"),
        ({"smoothing": 1.0}, "smoothing is 1.0"),
        ({"output_type": "gif"}, "output_type is 'gif'"),
        ({"prompt": ["two", "prompts"]}, "a prompt is one text"),
        ({"actions": []}, "received 0 actions"),
        ({"actions": "hop 2s"}, "unknown key"),
        ({"callback_on_step_end_tensor_inputs": ["noise"]}, "a callback can receive"),
    ],
)
def test_bad_arguments(pipe: GameCraftPipeline, picture: np.ndarray, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        pipe.stream(**({"image": picture, "actions": "w 5f"} | change))


def test_chunk_lengths_the_autoencoder_cannot_code() -> None:
    with pytest.raises(InputError, match=r"1 \+ a multiple of 4"):
        tiny_pipeline(chunk_frames=6)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, True])
def test_seeds_out_of_range(seed: Any) -> None:
    with pytest.raises(InputError, match="the seed is"):
        PlaySettings(seed=seed, num_inference_steps=1, guidance_scale=1.0)


def test_no_script_is_longer_than_an_hour(pipe: GameCraftPipeline, picture: np.ndarray) -> None:
    with pytest.raises(ActionError, match="expected 1 to"):
        pipe.stream(image=picture, actions=[Action()] * (24 * 3600 + 1))


# --- folders ---------------------------------------------------------------------------------------------------------


def test_a_saved_pipeline_makes_the_same_video(
    model_folder: Path, pipe: GameCraftPipeline, picture: np.ndarray, frames: np.ndarray
) -> None:
    loaded = load_pipeline(model_folder, dtype=torch.float32)
    assert np.array_equal(video(loaded, picture), frames)
    assert dict(loaded.config)["prompt_settings"] == dict(pipe.config)["prompt_settings"]


def test_bfloat16_is_close(model_folder: Path, picture: np.ndarray, frames: np.ndarray) -> None:
    fast = video(load_pipeline(model_folder, dtype=torch.bfloat16), picture)
    assert 0 < np.abs(fast.astype(int) - frames).mean() < 2


def test_the_generic_loader_of_diffusers_opens_the_folder(
    model_folder: Path, picture: np.ndarray, frames: np.ndarray
) -> None:
    loaded = DiffusionPipeline.from_pretrained(model_folder, trust_remote_code=True)
    assert np.array_equal(video(loaded, picture), frames)
