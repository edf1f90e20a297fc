"""Predictions are counted from the networks themselves, and the doctor's advice follows from them."""

import dataclasses
from typing import Any

import pytest
import torch

from gamecraft.cli import main
from gamecraft.commands.doctor import choose_preset
from gamecraft.devices import DEVICES, device_named
from gamecraft.errors import InputError
from gamecraft.estimate import Assumptions, Costs, Work, _LiveBytes, count_transformer, estimate
from gamecraft.runtime import PRESETS, Runtime
from transformer_cases import tiny_model

DEVICE = Assumptions(peak_tflops=100, memory_gb=24)
WORK = Work(
    transformer=Costs(flop=1e15, weight_bytes=20e9, quantisable_bytes=16e9, live_bytes=5e9, largest_group=1e9),
    vae=Costs(flop=1e14, weight_bytes=1e9, live_bytes=4e9, largest_group=0.1e9),
    text=Costs(weight_bytes=15e9, largest_group=0.5e9),
)


def total(runtime: Runtime, *, guided: bool = True, steps: int = 10) -> tuple[float, float]:
    """GB and seconds."""
    found = estimate(WORK, runtime, DEVICE, steps=steps, guided=guided)
    return sum(found.memory.values()) / 1e9, sum(found.seconds.values())


def test_blocks_are_counted_as_a_whole_model_would_be() -> None:
    config = dict(tiny_model().config)
    small, large = (count_transformer({**config, "num_layers": n, "num_single_layers": n}, 4, 4, 4) for n in (1, 3))
    with torch.device("meta"):
        whole = sum(p.numel() for p in tiny_model(num_layers=3, num_single_layers=3).parameters())
    assert large.weight_bytes == 2 * whole
    assert large.flop > small.flop
    assert large.live_bytes == small.live_bytes


def test_memory_that_is_freed_counts_no_longer() -> None:
    with _LiveBytes() as live:
        first = torch.empty(1000, device="meta") + 1
        view = first.view(10, 100)
        second = view * 2
        del first, view, second
        torch.empty(500, device="meta")
    assert live.peak == 2 * 4000  # the empty tensor and the sum, later the sum and the product; a view costs nothing
    assert live.now == 0


def test_options_save_what_they_promise() -> None:
    memory, seconds = total(Runtime())
    assert memory == pytest.approx(20 + 1 + 15 + 2 * 5 + 1.5)
    assert seconds == pytest.approx((20 * 1e15 + 1e14) / 45e12)
    assert total(Runtime(weights="fp8"))[0] == pytest.approx(memory - 8)
    assert total(Runtime(branches="sequential"))[0] == pytest.approx(memory - 5)
    assert total(Runtime(offload="model", branches="sequential"))[0] == pytest.approx(20 + 5 + 1.5)
    assert total(Runtime(offload="group", branches="sequential"))[0] == pytest.approx(2 + 5 + 1.5)
    assert total(Runtime(), guided=False)[1] < 0.51 * seconds
    assert total(Runtime(branches="parallel"))[1] == pytest.approx(total(Runtime(), guided=False)[1])
    assert total(Runtime(ulysses=4))[1] == pytest.approx(seconds / (4 * 0.85))
    caches = ("none", "published", "taylorseer-lite")
    full, cached, extrapolated = (total(Runtime(cache=cache), steps=50)[1] for cache in caches)
    assert (full - cached) / full == pytest.approx(0.3, abs=0.01)  # 15 of 50 steps
    assert extrapolated / full == pytest.approx(13 / 50, abs=0.01)  # the first three and every fifth


def test_the_first_preset_that_fits_is_chosen() -> None:
    chosen = [choose_preset(WORK, gigabytes * 1e9)[0] for gigabytes in (100, 40, 25, 12, 2)]
    assert chosen == ["full", "balanced", "compact", "low-vram", None]
    assert list(choose_preset(WORK, 1e9)[1]) == list(PRESETS)


def test_a_preset_needs_main_memory_for_what_it_keeps_there() -> None:
    chosen = [choose_preset(WORK, 12e9, gigabytes * 1e9)[0] for gigabytes in (64, 28, 16)]
    assert chosen == ["low-vram", "low-vram", None]  # 20 - 8 + 1 + 15 GB
    assert choose_preset(WORK, 100e9, 1e9)[0] == "full"


def test_a_cache_needs_room_for_what_it_keeps() -> None:
    work = dataclasses.replace(WORK, transformer=dataclasses.replace(WORK.transformer, token_bytes=1e9, layers=3))

    def kept(cache: str, **options: Any) -> float:
        found = estimate(work, Runtime(cache=cache, **options), DEVICE, steps=50, guided=True)
        return found.memory.get("step cache", 0.0) / 1e9

    assert [kept(cache) for cache in ("none", "published", "taylorseer-lite", "taylorseer")] == [0, 2, 0, 12]
    assert kept("taylorseer", branches="parallel") == 6
    assert kept("taylorseer", ulysses=2) == 6


def test_cards_are_found_by_their_full_names() -> None:
    assert device_named("NVIDIA GeForce RTX 4090") is DEVICES["rtx4090"]
    assert device_named("h100") is DEVICES["h100"]
    with pytest.raises(InputError, match="no figures for 'voodoo 2'; known: rtx3060"):
        device_named("voodoo 2")


def test_the_embedded_model_is_predicted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", "--model", "mini", "--gpu", "RTX 4090", "--steps", "4"]) == 0
    printed = capsys.readouterr().out
    assert "mini, 9 frames of 160x96, 4 steps" in printed
    assert "fits" in printed
    assert "assumed: 165 TFLOP/s (datasheet) x 0.45 used" in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--gpu", "voodoo"], "no figures for 'voodoo'"),
        (["--gpu", "a100", "--model", "7b"], "the model is '7b', expected one of 13b, mini"),
        (["--gpu", "a100", "--steps", "0"], "--steps is 0"),
        (["--gpu", "a100", "--resolution", "big"], "expected WIDTHxHEIGHT"),
        (["--gpu", "a100", "--model", "mini", "--resolution", "160x100"], "160x100 pixels; expected multiples of 16"),
        (["--gpu", "a100", "--gpus", "0"], "--gpus is 0"),
        (["--gpu", "a100", "--gpus", "5"], "ulysses 5 does not divide the 24 heads; 1, 2, 3, 4, 6, 8, 12, 24 do"),
        (["--gpu", "a100", "--gpus", "3", "--branches", "parallel"], "ulysses 1 x ring 1 x 2 for branches parallel"),
        (["--gpu", "a100", "--utilisation", "2"], "--utilisation is 2"),
    ],
)
def test_bad_input_is_one_line(capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    assert main(["estimate", *words]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]
