"""Options for running a model leave its result as it is, within stated tolerances, or are refused with a reason."""

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from gamecraft.apply_runtime import apply_runtime, block_linears, resolve_device
from gamecraft.checkpoints import official_layout
from gamecraft.commands.runtime_options import add_runtime_options, runtime_from
from gamecraft.errors import CheckpointError, InputError
from gamecraft.loading import load_pipeline
from gamecraft.models.transformer import GameCraftTransformer3DModel
from gamecraft.runtime import PRESETS, Runtime
from parallel_worker import chunk
from tiny import tiny_pipeline


def latents(*, steps: int = 2, setup: Callable[[Any], None] = lambda pipe: None, **options: Any) -> Tensor:
    pipe = tiny_pipeline()
    setup(pipe)
    apply_runtime(pipe, Runtime(**{"device": "cpu", "dtype": "fp32", **options}))
    return chunk(pipe, steps=steps)


@pytest.fixture(scope="module")
def plain() -> Tensor:
    return chunk(tiny_pipeline())


# --- results ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"offload": "group"},
        {"offload": "leaf"},
        {"offload": "model"},  # nothing to do on a CPU
        {"tiling": "off"},
        {"branches": "batched"},
        {"cache": "published"},  # two steps: nothing is skipped
    ],
    ids=str,
)
def test_the_result_is_the_same_bit_for_bit(plain: Tensor, options: dict[str, Any]) -> None:
    assert torch.equal(latents(**options), plain)


def test_weights_on_disk_give_the_same_result(plain: Tensor, tmp_path: Path) -> None:
    # weights lie elsewhere in memory there, and some processors' products depend on where in their last bits
    torch.testing.assert_close(latents(offload="disk", offload_folder=str(tmp_path)), plain, atol=1e-5, rtol=1e-5)
    assert list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize(
    "options",
    [
        {"branches": "sequential"},
        {"attention": "native"},
        {"cache": "first-block", "cache_threshold": 1e-6},
        {"cache": "taylorseer"},  # its first steps are computed in full
        {"cache": "taylorseer-lite", "offload": "group"},
        {"offload": "group", "branches": "sequential", "cache": "published"},
        {"offload": "leaf", "branches": "sequential", "cache": "first-block", "cache_threshold": 1e-6},
    ],
    ids=str,
)
def test_the_result_is_the_same_up_to_rounding(plain: Tensor, options: dict[str, Any]) -> None:
    torch.testing.assert_close(latents(**options), plain, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ({"weights": "fp8"}, 0.15),
        ({"weights": "fp8", "offload": "group", "branches": "sequential"}, 0.15),
        ({"dtype": "bf16"}, 0.15),
        ({"dtype": "bf16", "weights": "fp8"}, 0.2),
        ({**PRESETS["low-vram"], "tiling": "auto", "dtype": "bf16", "cache": "published"}, 0.2),
    ],
    ids=str,
)
def test_rounded_weights_change_the_result_a_little(plain: Tensor, options: dict[str, Any], tolerance: float) -> None:
    difference = latents(**options) - plain
    assert 0 < float(difference.std() / plain.std()) < tolerance


@pytest.mark.parametrize("weights", ["int8", "fp8-scaled"])
def test_scaled_weights_change_the_result_less(plain: Tensor, weights: str) -> None:
    pytest.importorskip("torchao")
    difference = latents(weights=weights) - plain
    assert 0 < float(difference.std() / plain.std()) < 0.05


def test_caches_that_skip_change_the_result_and_need_the_same_for_both_branches() -> None:
    full = latents(steps=12)
    skipped = latents(steps=12, cache="first-block", cache_threshold=0.9)
    assert not torch.allclose(skipped, full, atol=1e-3)
    for cache in ("taylorseer", "taylorseer-lite"):
        apart = latents(steps=12, cache=cache, branches="sequential")
        torch.testing.assert_close(apart, latents(steps=12, cache=cache), atol=1e-4, rtol=1e-3)
        assert not torch.allclose(apart, full, atol=1e-6)
        # skipping is close to not skipping only if each half of guidance goes on from its own results
        assert float((apart - full).norm() / full.norm()) < 0.1


def test_a_cache_forgets_the_chunk_before() -> None:
    pipe = tiny_pipeline()
    apply_runtime(pipe, Runtime(device="cpu", dtype="fp32", cache="taylorseer-lite"))
    assert torch.equal(chunk(pipe, steps=8), chunk(pipe, steps=8))


def test_compiled_blocks_are_the_blocks_that_run(plain: Tensor) -> None:
    """What the compiler makes is PyTorch's to test; here it only says which modules it was given."""
    given: list[str] = []

    def keep(module: torch.nn.Module, *_: Any, **settings: Any) -> None:
        given.append(type(module).__name__)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.Module, "compile", keep)
        assert torch.equal(latents(compile=True), plain)
    assert {"HunyuanVideoTransformerBlock", "HunyuanVideoSingleTransformerBlock"} <= set(given)


def test_lora_weights_are_merged(plain: Tensor, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    name = "transformer_blocks.0.attn.to_q"
    layer = tiny_pipeline().transformer.get_submodule(name)
    random = torch.Generator().manual_seed(0)
    down, up = (torch.randn(*shape, generator=random) for shape in ((4, layer.in_features), (layer.out_features, 4)))
    save_file(
        {f"transformer.{name}.lora_A.weight": down, f"transformer.{name}.lora_B.weight": up}, tmp_path / "a.safetensors"
    )

    def by_hand(pipe: Any) -> None:
        with torch.no_grad():
            pipe.transformer.get_submodule(name).weight += up @ down

    merged = latents(lora=(str(tmp_path / "a.safetensors"),))
    torch.testing.assert_close(merged, latents(setup=by_hand), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(merged, plain, atol=1e-3)


def test_wrong_lora_weights_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    save_file({"transformer.nothing.lora_A.weight": torch.zeros(2, 2)}, tmp_path / "a.safetensors")
    (tmp_path / "b.safetensors").write_bytes(b"no weights")
    for name, message in (("a", "no LoRA weights for"), ("b", "no LoRA weights for"), ("c", "no LoRA weights at")):
        with pytest.raises(CheckpointError, match=message):
            latents(lora=(str(tmp_path / f"{name}.safetensors"),))


def test_a_folder_is_loaded_with_options(model_folder: Path) -> None:
    pipe = load_pipeline(model_folder, runtime=Runtime(dtype="fp32", branches="sequential", weights="fp8"))
    assert pipe.autocast_dtype is None
    assert pipe.config.batch_guidance is False
    assert pipe.transformer.transformer_blocks[0].ff.net[2].weight.dtype == torch.float8_e4m3fn


# --- the published choice of layers ----------------------------------------------------------------------------------


def test_the_layers_that_are_rounded_are_the_published_ones() -> None:
    """Published: every matrix whose name has "block" and not "mod"; 248 at full size, before fused ones are split."""
    with torch.device("meta"):
        model = GameCraftTransformer3DModel(num_layers=2, num_single_layers=1)
    layout = official_layout(model.config)
    published = [name for name in layout if "block" in name and "mod" not in name and name.endswith(".weight")]
    shapes = {name: layout[name].shape for name in published}
    ours = {each.removesuffix(".weight") for name in published if len(shapes[name]) == 2 for each in layout[name].ours}
    assert set(block_linears(model)) == ours
    fused = [name for name in published if len(shapes[name]) == 2]
    assert len(fused) == 2 * 8 + 1 * 2 + 2 * 4


# --- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "fp4"}, "weights is 'fp4', expected one of full, fp8"),
        ({"cache": "magcache"}, "cache is 'magcache', expected one of none, first-block, taylorseer"),
        ({"ulysses": 0}, "expected at least 1"),
        ({"cache_threshold": 2.0}, "expected a number between 0 and 1"),
        ({"offload": "disk"}, "offload disk and offload_folder go together"),
        ({"offload_folder": "x"}, "go together"),
        ({"cache": "first-block", "ulysses": 2}, "each rank would decide by itself"),
        ({"compile": True, "offload": "leaf"}, "compile cannot be combined with offload leaf"),
        ({"compile": True, "weights": "fp8"}, "cannot be compiled"),
        ({"weights": "int8", "offload": "sequential"}, "cannot be moved by offload sequential"),
        ({"weights": "fp8", "offload": "sequential"}, "use leaf"),
        ({"branches": "batched", "attention": "flash"}, "need a mask"),
    ],
    ids=str,
)
def test_options_that_exclude_each_other_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Runtime(**options)


@pytest.mark.parametrize("attention", ["flash", "_flash_3", "sage", "sage_hub"])
def test_attention_that_is_not_installed_says_what_to_install(attention: str) -> None:
    with pytest.raises(InputError, match=f"attention {attention} cannot be used: install "):
        latents(attention=attention)


def test_options_a_model_does_not_have_are_refused() -> None:
    with pytest.raises(InputError, match="has no tiles"):
        latents(tiling="on")
    with pytest.raises(InputError, match="has no slicing"):
        latents(slicing=True)
    with pytest.raises(InputError, match="device 'cuda:9' cannot be used"):
        resolve_device("cuda:9")


def test_every_option_is_a_flag_and_presets_give_way_to_flags() -> None:
    parser = argparse.ArgumentParser()
    add_runtime_options(parser)
    assert runtime_from(parser.parse_args([])) == Runtime()
    assert runtime_from(parser.parse_args(["--runtime", "low-vram"])) == Runtime.preset("low-vram")
    args = parser.parse_args(["--runtime", "low-vram", "--weights", "int8", "--lora", "a", "--lora", "b"])
    assert runtime_from(args) == Runtime.preset("low-vram", weights="int8", lora=("a", "b"))
    flags = {flag for action in parser._actions for flag in action.option_strings}
    assert {"--" + option.name.replace("_", "-") for option in dataclasses.fields(Runtime)} < flags
    assert all(Runtime.preset(name) for name in PRESETS)
    with pytest.raises(InputError, match="there is no preset 'tiny'"):
        Runtime.preset("tiny")
