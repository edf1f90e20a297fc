"""The published command lines, on a tiny random model in the published layout."""

import json
import os
import shlex
import signal
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gamecraft.cli import main
from gamecraft.commands import generate as command
from gamecraft.commands.published_flags import PublishedRun, published_run
from gamecraft.compatibility import Compatibility
from gamecraft.conversion.folder import run_plan
from gamecraft.conversion.from_official import plan_from_official
from gamecraft.conversion.in_memory import load_published
from gamecraft.conversion.layout import TRANSFORMER_FILES, PublishedFolder
from gamecraft.conversion.plan import Options
from gamecraft.errors import CheckpointError, InputError
from gamecraft.pipeline import GameCraftPipeline
from gamecraft.published import PublishedAction
from gamecraft.published_play import action_tracks, play_tracks
from gamecraft.trajectory import CameraState
from gamecraft.trajectory_io import write_trajectory
from gamecraft.video import read_video, write_video
from published_folder import ROPE_AXES, write_published_folder

NEGATIVE = (
    "overexposed, low quality, deformation, a poor composition, bad hands, bad teeth, bad eyes, bad limbs, distortion, "
    "blurring, text, subtitles, static, picture, black border."
)
PROMPT = "A charming medieval village with cobblestone streets, thatched-roof houses, and vibrant flower gardens."
STANDARD, DISTILLED = TRANSFORMER_FILES["standard"], TRANSFORMER_FILES["distilled"]

# the words after the script's name, as published
EIGHT_GPUS = f"""--image-path "asset/village.png" --prompt "{PROMPT}" --add-pos-prompt "Realistic, High-quality."
    --add-neg-prompt "{NEGATIVE}" --ckpt weights/{STANDARD} --video-size 704 1216 --cfg-scale 2.0 --image-start
    --action-list w s d a --action-speed-list 0.2 0.2 0.2 0.2 --seed 250160 --infer-steps 50
    --flow-shift-eval-video 5.0 --save-path './results/'"""
ACCELERATED = f"""--image-path "asset/village.png" --prompt "{PROMPT}" --add-neg-prompt "{NEGATIVE}"
    --ckpt weights/{DISTILLED} --video-size 704 1216 --cfg-scale 1.0 --image-start --action-list w s d a
    --action-speed-list 0.2 0.2 0.2 0.2 --seed 250160 --infer-steps 8 --use-fp8 --flow-shift-eval-video 5.0
    --save-path './results_distill/'"""
LOW_VRAM = f"""--image-path "asset/village.png" --prompt "{PROMPT}" --add-neg-prompt "{NEGATIVE}"
    --ckpt weights/{STANDARD} --video-size 704 1216 --cfg-scale 2.0 --image-start --action-list w a d s
    --action-speed-list 0.2 0.2 0.2 0.2 --seed 250160 --sample-n-frames 33 --infer-steps 50
    --flow-shift-eval-video 5.0 --cpu-offload --use-fp8 --save-path './results/'"""
START = f"--image-path asset/village.png --ckpt weights/{STANDARD} --action-list w"
TINY = "--rope-axes 4 6 6 --dtype fp32 --infer-steps 1 --video-size 16 32"


def parse(line: str) -> Namespace:
    parser = ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(shlex.split(line))


def run_of(line: str, **environment: str) -> PublishedRun:
    return published_run(parse(line), environment)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_published_folder(tmp_path_factory.mktemp("published") / "weights")


@pytest.fixture
def folder(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a user of the published code stands: ``asset/village.png`` and ``weights``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").symlink_to(weights)
    (tmp_path / "asset").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (20, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save("asset/village.png")
    monkeypatch.setenv("MODEL_BASE", "weights/stdmodels")
    return tmp_path


def generate(line: str) -> int:
    return main(["generate", *shlex.split(line)])


# --- what the flags mean ---------------------------------------------------------------------------------------------


def test_the_command_for_eight_gpus() -> None:
    run = run_of(EIGHT_GPUS, MODEL_BASE="weights/stdmodels", WORLD_SIZE="8")
    assert run.prompt == f"{PROMPT} Realistic, High-quality."
    assert run.negative_prompt == NEGATIVE
    assert run.actions == tuple(PublishedAction(name=name, speed=0.2) for name in "wsda")
    assert (run.height, run.width, run.frames, run.shift) == (704, 1216, None, 5.0)
    assert (run.steps, run.guidance, run.seed, run.count) == (50, 2.0, 250160, 1)
    assert (run.image, run.video) == (Path("asset/village.png"), None)
    assert (run.checkpoint, run.model_base) == (Path("weights") / STANDARD, Path("weights/stdmodels"))
    assert run.output == Path("results")
    assert (run.runtime.ulysses, run.runtime.cache, run.runtime.weights) == (8, "published", "full")
    assert run.compatibility == Compatibility()


def test_the_command_for_the_accelerated_model() -> None:
    run = run_of(ACCELERATED, WORLD_SIZE="8")
    assert (run.steps, run.guidance, run.output) == (8, 1.0, Path("results_distill"))
    assert (run.runtime.weights, run.runtime.ulysses) == ("fp8", 8)
    assert run.model_base == Path("weights/stdmodels")  # beside the checkpoint, without MODEL_BASE


def test_the_command_for_little_memory() -> None:
    run = run_of(LOW_VRAM, DISABLE_SP="1", CPU_OFFLOAD="1", WORLD_SIZE="1")
    assert (run.frames, run.runtime.ulysses) == (33, 1)
    assert (run.runtime.offload, run.runtime.weights, run.runtime.branches) == ("group", "fp8", "sequential")


def test_the_environment_is_read() -> None:
    assert run_of(START).runtime.offload == "none"
    assert run_of(START, CPU_OFFLOAD="1").runtime.offload == "group"
    assert run_of(START, CPU_OFFLOAD="0").runtime.offload == "none"
    with pytest.raises(InputError, match="DISABLE_SP is set, so the other 7 processes have nothing to do"):
        run_of(START, DISABLE_SP="1", WORLD_SIZE="8")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("--use-sage", {"attention": "sage"}),
        ("--use-deepcache 0", {"cache": "none"}),
        ("--precision fp16", {"dtype": "fp16"}),
        ("--use-fp8 --weights int8", {"weights": "int8"}),
        ("--runtime low-vram", {"offload": "group", "weights": "fp8"}),
    ],
)
def test_flags_become_runtime_options(words: str, wanted: dict[str, Any]) -> None:
    runtime = run_of(f"{START} {words}").runtime
    assert {name: getattr(runtime, name) for name in wanted} == wanted


def test_additions_to_the_prompt_are_dropped_only_for_compatibility() -> None:
    line = f"{START} --prompt a --pos-prompt b --add-pos-prompt c --neg-prompt d --add-neg-prompt e"
    assert (run_of(line).prompt, run_of(line).negative_prompt) == ("a b c", "d e")
    assert run_of(f"{line} --compatibility published").prompt == "a"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--image-path a.png --action-list w", "--ckpt is missing"),
        ("--ckpt a.pt --action-list w", "--image-path is missing"),
        ("--ckpt a.pt --image-path a.png", "--action-list is missing"),
        ("--ckpt a.pt --image-path a.png --video-path b.mp4 --action-list w", "give one of them"),
        (f"{START} --action-speed-list 0.2 0.3", "1 actions and 2 speeds"),
        (f"{START} --action-speed-list 4", "expected 0 to 3"),
        (f"{START} --pose a.txt", "--pose takes the place of --action-list"),
        (f"{START} --video-size 1 2 3", "--video-size has 3 numbers"),
        (f"{START} --flow-shift-eval-video 0", "expected a number above 0"),
        (f"{START} --num-images 0", "--num-images is 0"),
        (f"{START} --flow-solver heun", "--flow-solver is 'heun', but the released models know 'euler' alone"),
        (f"{START} --output a.mp4", "--output is not a flag of the published command lines"),
        (f"{START} --compatibility seed", "unknown compatibility setting 'seed'"),
        (f"{START} --cache first-block --ulysses 2", "each rank would decide by itself"),
    ],
)
def test_what_cannot_be_done_is_said(line: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        run_of(line)


# --- running them ----------------------------------------------------------------------------------------------------


def test_the_weights_are_loaded_as_if_they_had_been_converted(weights: Path, tmp_path: Path) -> None:
    options = Options()
    run_plan(plan_from_official(weights, tmp_path / "m", options, rope_axes_dim=ROPE_AXES), tmp_path / "m", options)
    converted = GameCraftPipeline.from_pretrained(tmp_path / "m")
    direct = load_published(PublishedFolder.of(weights / STANDARD, weights / "stdmodels"), rope_axes_dim=ROPE_AXES)
    for part in ("transformer", "vae", "text_encoder", "text_encoder_2"):
        expected, found = (getattr(pipe, part).state_dict() for pipe in (converted, direct))
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert {k: v for k, v in direct.config.items() if k[0] != "_" and not isinstance(v, tuple | list)} == {
        k: v for k, v in converted.config.items() if k[0] != "_" and not isinstance(v, tuple | list)
    }
    one, two = (pipe.encode_prompts("a village", "", guided=False).positive for pipe in (converted, direct))
    assert torch.equal(one.embeds, two.embeds)


def test_the_published_command_makes_the_video(folder: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        LOW_VRAM.replace("704 1216", "16 32").replace("--infer-steps 50", "--infer-steps 2").replace("w a d s", "w a")
    )
    words = words.replace("0.2 0.2 0.2 0.2", "0.2 0.4").replace("--use-fp8", "")
    assert generate(f"{words} --rope-axes 4 6 6 --dtype fp32") == 0
    assert "results/village.mp4: 66 frames" in capsys.readouterr().out
    video, rate = read_video("results/village.mp4")
    assert (video.shape, rate) == ((66, 16, 32, 3), 24)
    settings = json.loads(Path("results/village.json").read_text())["settings"]
    assert (settings["seed"], settings["runtime"]["offload"]) == (250160, "group")

    pipe = load_published(PublishedFolder.of(weights / STANDARD, weights / "stdmodels"), rope_axes_dim=ROPE_AXES)
    pipe.register_to_config(batch_guidance=False)
    history = pipe.start_history(
        pipe.start_frames(image=Image.open("asset/village.png"), height=16, width=32), CameraState()
    )
    actions = [PublishedAction(name="w", speed=0.2), PublishedAction(name="a", speed=0.4)]
    prompts = pipe.encode_prompts(PROMPT, NEGATIVE, guided=True)
    play = pipe.play_settings(seed=250160, num_inference_steps=2, guidance_scale=2.0)
    write_video(
        Path("expected.mp4"),
        np.concatenate(list(play_tracks(pipe, history, action_tracks(actions, 33), prompts, play))),
        24,
    )
    assert np.array_equal(read_video("expected.mp4")[0], video)


def test_chunk_length_pose_file_and_start_video_are_honoured(folder: Path) -> None:
    write_trajectory(action_file("left_rot"), "turn.txt")
    clip = np.random.default_rng(1).integers(0, 256, (9, 16, 32, 3), dtype=np.uint8)
    write_video(Path("before.mp4"), clip, 24)
    line = f"--video-path before.mp4 --pose turn.txt --sample-n-frames 9 --ckpt weights/{STANDARD} {TINY} --seed 3"
    assert generate(f"{line} --cfg-scale 1 --save-path turned --num-images 2") == 0
    one, two = (read_video(f"turned/before_{index}.mp4")[0] for index in range(2))
    assert one.shape == (27, 16, 32, 3)  # 33 rows are three chunks of 9
    assert not np.array_equal(one, two)


def action_file(name: str) -> Any:
    from gamecraft.published import chunk_trajectory

    return chunk_trajectory(PublishedAction(name=name, speed=30))


def test_ctrl_c_keeps_the_chunks_that_are_done(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = GameCraftPipeline.decode_latents

    def press(self: GameCraftPipeline, latents: torch.Tensor) -> torch.Tensor:
        os.kill(os.getpid(), signal.SIGINT)
        return decode(self, latents)

    monkeypatch.setattr(GameCraftPipeline, "decode_latents", press)
    assert generate(f"{START} w w {TINY} --cfg-scale 1 --sample-n-frames 5") == 130
    assert read_video("results/village.mp4")[0].shape[0] == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("--image-path asset/village.png", "--image-path asset/town.png"), "no image at asset/town.png"),
        ((f"weights/{STANDARD}", "weights/none.pt"), "there is no checkpoint weights/none.pt"),
        (("--action-list w", "--action-list w --sample-n-frames 34"), "--sample-n-frames is 34, expected 1"),
        (("--action-list w", "--action-list w --load-key ema"), "expected an entry 'ema' with the tensors"),
        (("--action-list w", "--action-list w --video-size 17"), "the size is 17x17 pixels"),
        (("--action-list w", "--action-list w --cfg-scale 0.5"), "the guidance scale is 0.5"),
        (("--action-list w", "--action-list w --device cuda:7"), "device 'cuda:7' cannot be used"),
    ],
)
def test_bad_input_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], change: tuple[str, str], message: str
) -> None:
    assert generate(f"{START.replace(*change)} --rope-axes 4 6 6") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]


def test_a_wrong_model_base_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match="MODEL_BASE must name the published folder stdmodels"):
        PublishedFolder.of(Path("weights") / STANDARD, Path("asset"))
