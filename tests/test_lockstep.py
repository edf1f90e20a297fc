"""A server's model in two processes: real ranks over gloo on the CPU."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from gamecraft.actions import parse_script
from gamecraft.apply_runtime import apply_runtime
from gamecraft.parallel import ranks_together
from gamecraft.pipeline import GameCraftPipeline
from gamecraft.runtime import Runtime, is_writer
from gamecraft.serving.lockstep import follow, lead
from gamecraft.session import Session
from ranks import in_ranks
from tiny import CHUNK, tiny_pipeline


class GivenUpError(Exception):
    pass


def play(pipe: GameCraftPipeline) -> list[np.ndarray]:
    """Frames of two chunks, of which the second is given up once before, and the first chunk's decoded again."""
    session = Session(pipe)
    session.reset(image="village", prompt="a village", negative_prompt="a dark forest", seed=3, guidance_scale=2.0)
    first, second = (parse_script(f"{key} {CHUNK}f") for key in ("w", "left"))
    frames = [session.step(first).frames]

    def give_up(step: int, timestep: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        raise GivenUpError

    with pytest.raises(GivenUpError):
        session.step(second, on_step=give_up)
    return [*frames, session.step(second).frames, session.frames(0)]


def rank(folder: Path, options: dict[str, object], *, dies: bool = False) -> None:
    runtime = Runtime(device="cpu", dtype="fp32", **options)  # type: ignore[arg-type]
    with ranks_together(runtime, torch.device("cpu")):
        pipe = tiny_pipeline()
        apply_runtime(pipe, runtime)
        if not is_writer():
            follow(pipe)
            return
        with lead(pipe) as beat:
            beat()
            np.savez(folder / "frames.npz", *play(pipe))
            if dies:
                os._exit(3)
        assert "play_chunk" not in vars(pipe)


@pytest.mark.parametrize("options", [{"ulysses": 2}, {"branches": "parallel"}])
def test_two_processes_play_as_one(options: dict[str, object], tmp_path: Path) -> None:
    ends = in_ranks(2, rank, tmp_path, options, folder=tmp_path)
    assert [code for code, _ in ends] == [0, 0], ends
    with np.load(tmp_path / "frames.npz") as saved:
        for name, expected in zip(saved.files, play(tiny_pipeline()), strict=True):
            assert np.abs(saved[name].astype(int) - expected).max() <= 1, "the sums are in another order"


def test_the_others_end_when_the_first_dies(tmp_path: Path) -> None:
    def dying(folder: Path) -> None:
        rank(folder, {"ulysses": 2}, dies=True)

    (first, _), (other, said) = in_ranks(2, dying, tmp_path, folder=tmp_path)
    assert first == 3
    assert other == 2
    assert "lost another one" in said
