"""Several processes make the same video as one: real ranks over gloo on the CPU."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from gamecraft.apply_runtime import apply_runtime
from gamecraft.errors import InputError
from gamecraft.models.vae_tiling import set_vae_tiling
from gamecraft.parallel import agree, ranks_together
from gamecraft.runtime import Runtime
from parallel_worker import chunk, run_cases
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
        {"runtime": {"ulysses": 2}, "published": True},
    ]
    ends, saved = run(2, cases, tmp_path)
    assert [code for code, _ in ends] == [0, 0], ends
    plain, odd = alone(), alone(**ODD)
    for result, expected in zip(saved, (plain, plain, plain, odd, odd), strict=False):
        torch.testing.assert_close(result["latents"], expected, atol=1e-5, rtol=1e-4)
    cached = tiny_pipeline()
    apply_runtime(cached, Runtime(device="cpu", dtype="fp32", branches="sequential", cache="taylorseer"))
    torch.testing.assert_close(saved[5]["latents"], chunk(cached, steps=8), atol=1e-4, rtol=1e-3)

    pipe = published_pipeline()
    latents = alone(published=True)
    torch.testing.assert_close(saved[6]["latents"], latents, atol=1e-5, rtol=1e-4)
    set_vae_tiling(pipe.vae, True, tile_size=32)
    torch.testing.assert_close(saved[6]["video"], pipe.decode_latents(latents[:, :, :2]), atol=1e-4, rtol=1e-3)


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
