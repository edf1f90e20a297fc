"""Runs a command line of the published form: writes ``SAVE_PATH/PICTURE.mp4``, and its settings as JSON beside it."""

import dataclasses
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gamecraft.commands.published_flags import PublishedRun
from gamecraft.commands.say import say
from gamecraft.errors import InputError
from gamecraft.files import write_atomically
from gamecraft.output_files import OutputFiles
from gamecraft.runtime import is_writer

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from gamecraft.chunk_pipeline import Prompts
    from gamecraft.pipeline import GameCraftPipeline

__all__ = ["run_published"]


def run_published(run: PublishedRun) -> int:
    """Generate all videos; returns the exit code.

    Raises:
        GameCraftError: something that was given cannot be used.
    """
    # what is wrong with the files is said before the libraries are loaded, which takes seconds
    from gamecraft.pictures import open_picture
    from gamecraft.trajectory_io import read_trajectory

    outputs = [OutputFiles(video=run.output / name) for name in _names(run)]
    outputs[0].check_writable()
    if run.image is not None:
        open_picture(run.image)
    trajectory = None if run.pose_file is None else read_trajectory(run.pose_file)

    from gamecraft.apply_runtime import apply_runtime, resolve_device
    from gamecraft.commands.quiet import quiet_libraries
    from gamecraft.parallel import ranks_together
    from gamecraft.published_play import action_tracks, file_tracks

    quiet_libraries()
    device = resolve_device(run.runtime.device)
    with ranks_together(run.runtime, device):
        pipe = _load(run, device)
        apply_runtime(pipe, run.runtime)
        if trajectory is None:
            tracks = action_tracks(run.actions, pipe.config.chunk_frames)
        else:
            tracks, pipe.intrinsics = file_tracks(trajectory, pipe.config.chunk_frames)
        prompts = pipe.encode_prompts(
            run.prompt, run.negative_prompt, guided=pipe.play_settings(guidance_scale=run.guidance).guided
        )
        for index, output in enumerate(outputs):
            one = dataclasses.replace(run, seed=run.seed + index)
            code = _generate(one, pipe, tracks, prompts, output, writes=is_writer())
            if code:
                return code
    return 0


def _names(run: PublishedRun) -> list[str]:
    start = run.image or run.video
    assert start is not None
    return [f"{start.stem}{f'_{index}' if run.count > 1 else ''}.mp4" for index in range(run.count)]


def _load(run: PublishedRun, device: "torch.device") -> "GameCraftPipeline":
    import torch

    from gamecraft.conversion.in_memory import load_published
    from gamecraft.conversion.layout import PublishedFolder
    from gamecraft.precision import compute_dtype

    settings: dict[str, Any] = {} if run.shift is None else {"flow_shift": run.shift}
    if run.frames is not None:
        if not 5 <= run.frames <= 129 or run.frames % 4 != 1:
            raise InputError(f"--sample-n-frames is {run.frames}, expected 1 + a multiple of 4, from 5 to 129")
        settings["chunk_frames"] = run.frames
    dtype = compute_dtype(run.runtime.dtype, device)
    pipe = load_published(
        PublishedFolder.of(run.checkpoint, run.model_base),
        weights="ema" if run.weights == "ema" else "module",
        rope_axes_dim=run.rope_axes,
        # on the CPU, autocast computes in the type asked for and the stored weights can stay mapped to their file
        dtype=None if device.type == "cpu" and dtype != torch.float32 else dtype,
        **settings,
    )
    pipe.compatibility = run.compatibility
    return pipe


def _generate(
    run: PublishedRun,
    pipe: "GameCraftPipeline",
    tracks: "list[NDArray[np.float64]]",
    prompts: "Prompts",
    output: OutputFiles,
    *,
    writes: bool,
) -> int:
    import torch

    from gamecraft.commands.progress import frame_progress
    from gamecraft.parallel import agree
    from gamecraft.published_play import play_tracks
    from gamecraft.training.run import StopSignal
    from gamecraft.trajectory import CameraState

    settings = pipe.play_settings(seed=run.seed, num_inference_steps=run.steps, guidance_scale=run.guidance)
    if run.compatibility.global_noise or run.compatibility.sample_start:
        torch.manual_seed(run.seed)
    history = pipe.start_history(_start(run, pipe), CameraState())
    length, steps = pipe.config.chunk_frames, settings.num_inference_steps
    total, done, started = length * len(tracks), 0, time.perf_counter()
    bar: Any = frame_progress(total) if writes else nullcontext(lambda frames: None)
    with StopSignal() as stop, _writer(output.video, pipe.config.fps, writes) as add, bar as on_progress:

        def on_step(step: int, timestep: "torch.Tensor", latents: "torch.Tensor") -> "torch.Tensor":
            if agree(stop.requested):
                raise KeyboardInterrupt
            on_progress(done + length * (step + 1) / steps)
            return latents

        with suppress(KeyboardInterrupt):  # what there is by then is kept
            for frames in play_tracks(pipe, history, tracks, prompts, settings, on_step=on_step):
                add(frames)
                done += len(frames)
    seconds = time.perf_counter() - started
    if writes and done:
        _write_settings(run, output.sidecar, done, seconds)
        print(f"{output.video}: {done} frames, {done / pipe.config.fps:.1f} s, at {done / seconds:.2g} frames/s")
    if done < total:
        say(f"gamecraft generate: stopped after {done} of {total} frames")
        return 130
    return 0


def _start(run: PublishedRun, pipe: "GameCraftPipeline") -> "NDArray[np.uint8]":
    from gamecraft.pictures import open_picture
    from gamecraft.video import read_video

    start: dict[str, Any] = {"height": run.height, "width": run.width}
    if run.image is not None:
        start["image"] = open_picture(run.image)
    else:
        assert run.video is not None
        start["video"] = read_video(run.video, last=pipe.config.chunk_frames)[0]
    return pipe.start_frames(**start)


@contextmanager
def _writer(path: Path, fps: int, writes: bool) -> Iterator[Any]:
    """The function that takes frames; processes beside the first one drop them."""
    from gamecraft.video import VideoWriter

    if not writes:
        yield lambda frames: None
        return
    with VideoWriter(path, fps) as writer:
        yield writer.add


def _write_settings(run: PublishedRun, path: Path, frames: int, seconds: float) -> None:
    from gamecraft.sidecar import versions

    values = {"frames": frames, "seconds": seconds, "versions": versions(), "settings": dataclasses.asdict(run)}
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
