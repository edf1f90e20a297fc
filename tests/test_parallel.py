"""Several processes make the same video as one: real ranks over gloo on the CPU."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from gamecraft.apply_runtime import apply_runtime
from gamecraft.cli import main
from gamecraft.conversion.layout import TRANSFORMER_FILES
from gamecraft.errors import GameCraftError, InputError
from gamecraft.models.vae_tiling import set_vae_tiling
from gamecraft.parallel import agree, ranks_together
from gamecraft.runtime import Runtime
from gamecraft.video import read_video
from parallel_worker import chunk, run_cases
from published_folder import write_published_folder
from ranks import in_ranks
from test_published_play import published_pipeline
from tiny import tiny_pipeline


def run(ranks: int, cases: list[dict[str, Any]], folder: Path) -> tuple[list[tuple[int, str]], list[dict[str, Tensor]]]:
    """Exit code and stderr of each rank, and what the first saved for each case."""
    ends = in_ranks(ranks, run_cases, cases, folder, folder=folder)
    return ends, [load_file(file) for file in sorted(folder.glob("*.safetensors"))]


def alone(published: bool = False, **arguments: Any) -> Tensor:
    pipe = published_pipeline() if published else tiny_pipeline()
    return chunk(pipe, **arguments)


ODD = {"text": (11, 5), "rows": 6}  # 3 x 3 tokens in each of 3 latents: 27; no number of ranks divides them


def test_two_ranks_equal_one(tmp_path: Path) -> None:
    cases: list[dict[str, Any]] = [
        {"runtime": {"ulysses": 2}},
        {"runtime": {"ring": 2}},
        {"runtime": {"branches": "parallel"}},
        {"runtime": {"ulysses": 2}, "chunk": ODD},
        {"runtime": {"ring": 2}, "chunk": ODD},
        {"runtime": {"ulysses": 2, "cache": "taylorseer"}, "chunk": {"steps": 8}},
        {"runtime": {"ulysses": 2, "cache": "taylorseer-lite"}, "chunk": {"steps": 8}},
        {"runtime": {"ulysses": 2}, "published": True},
    ]
    ends, saved = run(2, cases, tmp_path)
    assert [code for code, _ in ends] == [0, 0], ends
    plain, odd = alone(), alone(**ODD)
    for result, expected in zip(saved, (plain, plain, plain, odd, odd), strict=False):
        torch.testing.assert_close(result["latents"], expected, atol=1e-5, rtol=1e-4)
    for result, cache in zip(saved[5:7], ("taylorseer", "taylorseer-lite"), strict=True):
        cached = tiny_pipeline()
        apply_runtime(cached, Runtime(device="cpu", dtype="fp32", branches="sequential", cache=cache))
        torch.testing.assert_close(result["latents"], chunk(cached, steps=8), atol=1e-4, rtol=1e-3)

    pipe = published_pipeline()
    latents = alone(published=True)
    torch.testing.assert_close(saved[7]["latents"], latents, atol=1e-5, rtol=1e-4)
    set_vae_tiling(pipe.vae, True, tile_size=32)
    torch.testing.assert_close(saved[7]["video"], pipe.decode_latents(latents[:, :, :2]), atol=1e-4, rtol=1e-3)


def test_four_ranks_equal_one(tmp_path: Path) -> None:
    cases: list[dict[str, Any]] = [
        {"runtime": {"ulysses": 2, "branches": "parallel"}, "chunk": ODD},
        {"runtime": {"ring": 4}, "chunk": ODD},
        {"runtime": {"ulysses": 2, "ring": 2}, "chunk": {"rows": 8, "text": (12, 8)}},
    ]
    ends, saved = run(4, cases, tmp_path)
    assert [code for code, _ in ends] == [0] * 4, ends
    expected = [alone(**ODD), alone(**ODD), alone(rows=8, text=(12, 8))]
    for result, latents in zip(saved, expected, strict=True):
        torch.testing.assert_close(result["latents"], latents, atol=1e-5, rtol=1e-4)


def test_a_rank_that_dies_ends_the_others_with_a_message(tmp_path: Path) -> None:
    (code, errors), (died, _) = run(2, [{"runtime": {"ulysses": 2}, "dies": 1}], tmp_path)[0]
    assert died == 3
    assert code == 2
    assert "error: process 0 of 2 lost another one, which ended or stopped answering" in errors


def test_lengths_that_ring_and_ulysses_cannot_share_are_refused(tmp_path: Path) -> None:
    ends, _ = run(4, [{"runtime": {"ulysses": 2, "ring": 2}, "chunk": ODD}], tmp_path)
    assert [code for code, _ in ends] == [2] * 4
    assert "error: ring and ulysses together need lengths that 4 divides, not 27 image" in ends[0][1]


def test_a_prompt_too_short_to_share_is_refused(tmp_path: Path) -> None:
    ends, _ = run(2, [{"runtime": {"ulysses": 2}, "chunk": {"text": (12, 1)}}], tmp_path)
    assert "error: 2 ranks cannot share 18 image and 1 text tokens" in ends[0][1]


def test_heads_that_cannot_be_divided_are_refused(tmp_path: Path) -> None:
    ends, _ = run(4, [{"runtime": {"ulysses": 4}}], tmp_path)
    assert "error: ulysses 4 does not divide the 2 heads; 1, 2 do" in ends[0][1]


def test_a_wrong_number_of_processes_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    runtime = Runtime(ulysses=2, branches="parallel")
    with (
        pytest.raises(InputError, match="3 processes were started, but ulysses 2 x ring 1 x 2 for branches"),
        ranks_together(runtime, torch.device("cpu")),
    ):
        pass


def test_one_process_agrees_with_itself() -> None:
    assert agree(True)
    assert not agree(False)


# --- the command line ------------------------------------------------------------------------------------------------


def command(words: list[str]) -> None:
    """`gamecraft`; what it prints goes where the rank's output goes."""
    code = main(words)
    sys.stdout.flush()
    if code:
        raise GameCraftError(f"exit code {code}")


def test_the_command_line_writes_one_video(
    model_folder: Path, picture: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(picture).save("start.png")
    words = ["generate", "--model", str(model_folder), "--image", "start.png", "--actions", "w 7f", "--guidance", "2"]
    words += ["--dtype", "fp32", "--device", "cpu", "--prompt", "a village", "--negative-prompt", "night"]
    assert main([*words, "--output", "one.mp4"]) == 0
    ends = in_ranks(2, command, [*words, "--ulysses", "2", "--output", "two.mp4"], folder=tmp_path)
    assert [code for code, _ in ends] == [0, 0], ends
    assert sum("two.mp4: 7 frames" in text for _, text in ends) == 1
    assert {path.name for path in tmp_path.glob("two.*")} == {"two.mp4", "two.png", "two.json"}
    one, two = (read_video(name)[0].astype(int) for name in ("one.mp4", "two.mp4"))
    assert np.abs(one - two).max() <= 2  # a last bit before rounding and compression


def test_the_published_command_line_shares_the_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_published_folder(tmp_path / "weights")
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.full((20, 40, 3), 90, np.uint8)).save("start.png")
    words = ["generate", "--image-path", "start.png", "--ckpt", f"weights/{TRANSFORMER_FILES['standard']}"]
    words += ["--action-list", "w", "--sample-n-frames", "5", "--infer-steps", "2", "--cfg-scale", "2"]
    words += ["--video-size", "16", "32", "--rope-axes", "4", "6", "6", "--precision", "fp32"]
    assert main([*words, "--save-path", "one"]) == 0
    ends = in_ranks(2, command, [*words, "--save-path", "two"], folder=tmp_path)
    assert [code for code, _ in ends] == [0, 0], ends
    one, two = (read_video(f"{name}/start.mp4")[0].astype(int) for name in ("one", "two"))
    assert np.abs(one - two).max() <= 2
