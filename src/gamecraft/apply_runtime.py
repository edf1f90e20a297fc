"""Puts the options of a ``Runtime`` onto a pipeline: the only place where they take effect."""

import importlib.util
import logging
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLHunyuanVideo, FirstBlockCacheConfig, TaylorSeerCacheConfig
from diffusers.hooks import apply_group_offloading
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from gamecraft.errors import CheckpointError, InputError
from gamecraft.models.fp8_weights import keep_in_fp8
from gamecraft.models.step_cache import apply_published_step_cache
from gamecraft.models.transformer import GameCraftTransformer3DModel
from gamecraft.models.vae_tiling import set_vae_tiling
from gamecraft.pipeline import GameCraftPipeline
from gamecraft.precision import autocast_dtype, compute_dtype, quicken_gelu
from gamecraft.runtime import Runtime

logger = logging.getLogger(__name__)

__all__ = ["apply_runtime", "block_linears", "resolve_device", "set_step_cache"]

_BLOCKS = ("transformer_blocks", "single_transformer_blocks", "context_embedder.token_refiner.refiner_blocks")
_PACKAGES = {"flash": "flash-attn", "_flash_3": "flash-attn (version 3)", "sage": "sageattention"}


def resolve_device(name: str) -> torch.device:
    """The device that an option names.

    Raises:
        InputError: there is no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r:.40} cannot be used: {str(error).splitlines()[0]:.120}") from None
    return device


def apply_runtime(pipe: GameCraftPipeline, runtime: Runtime) -> None:
    """Make a freshly loaded pipeline run as asked for; once, because quantisation and merged weights stay.

    With several ranks, call it in each of them after ``gamecraft.parallel.start_ranks``.

    Raises:
        InputError: the machine or a package that is not installed cannot do it; says what to install.
        CheckpointError: LoRA weights cannot be read or belong to another model.
    """
    device = resolve_device(runtime.device)
    for file in runtime.lora:
        _merge_lora(pipe.transformer, Path(file))
    pipe.autocast_dtype = autocast_dtype(runtime.dtype, device)
    if device.type == "cpu" and pipe.autocast_dtype is not None:
        _suit_cpu(pipe, pipe.autocast_dtype)
    _store_weights(pipe.transformer, runtime, compute_dtype(runtime.dtype, device))
    _set_attention(pipe.transformer, runtime.attention)
    _set_vae(pipe, runtime)
    if runtime.branches != "auto" or runtime.maskless:
        pipe.register_to_config(batch_guidance=runtime.branches == "batched")
    if runtime.ranks > 1:
        from gamecraft.parallel import share_work

        share_work(pipe, runtime)
    set_step_cache(pipe.transformer, runtime)
    if runtime.compile:
        pipe.transformer.compile_repeated_blocks(dynamic=True)
    _place(pipe, runtime, device)


def block_linears(transformer: GameCraftTransformer3DModel) -> dict[str, nn.Linear]:
    """The layers that the published code quantises: the matrices of all blocks, but not those of the modulation."""
    return {
        name: module
        for name, module in transformer.named_modules()
        if isinstance(module, nn.Linear) and name.startswith(_BLOCKS) and not _is_modulation(name)
    }


def set_step_cache(transformer: GameCraftTransformer3DModel, runtime: Runtime) -> None:
    """Put the step cache of ``runtime`` onto a transformer; its calls then need ``cache_context``, as in `denoise`."""
    match runtime.cache:
        case "first-block":
            transformer.enable_cache(FirstBlockCacheConfig(threshold=runtime.cache_threshold))
        case "taylorseer" | "taylorseer-lite":
            # what is extrapolated is small differences, which bfloat16 would lose
            lite = runtime.cache == "taylorseer-lite"
            transformer.enable_cache(TaylorSeerCacheConfig(taylor_factors_dtype=torch.float32, use_lite_mode=lite))
        case "published":
            apply_published_step_cache(transformer)


def _is_modulation(name: str) -> bool:
    return name.endswith(("norm1.linear", "norm1_context.linear", "norm.linear", "norm_out.linear"))


def _suit_cpu(pipe: GameCraftPipeline, dtype: torch.dtype) -> None:
    """Store as it is used what autocast would round, and convolutions lay out, anew at each use."""
    for part in (pipe.transformer, pipe.vae.decoder, pipe.depth_estimator, pipe.refiner):
        for name, module in part.named_modules() if part is not None else ():
            if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d) and not name.startswith("action_encoder"):
                module.to(dtype)
                if isinstance(module, nn.Conv2d):
                    module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
    quicken_gelu(pipe.transformer, dtype)


def _merge_lora(transformer: GameCraftTransformer3DModel, file: Path) -> None:
    _need("peft", "LoRA weights need it")
    if not file.is_file():
        raise CheckpointError(f"no LoRA weights at {file}")
    try:
        tensors = load_file(file)
        transformer.load_lora_adapter(tensors, prefix=_lora_prefix(tensors), adapter_name="merged")
    except (SafetensorError, ValueError, RuntimeError, LookupError) as error:
        raise CheckpointError(f"{file}: no LoRA weights for this transformer: {str(error).splitlines()[0]}") from error
    if not getattr(transformer, "peft_config", None):
        raise CheckpointError(f"{file}: no LoRA weights for this transformer: no name in it is known")
    transformer.fuse_lora(adapter_names=["merged"])
    transformer.unload_lora()


def _lora_prefix(tensors: dict[str, Any]) -> str | None:
    return "transformer" if all(name.startswith("transformer.") for name in tensors) else None


def _store_weights(transformer: GameCraftTransformer3DModel, runtime: Runtime, dtype: torch.dtype) -> None:
    if runtime.weights == "full":
        return
    linears = block_linears(transformer)
    if runtime.weights == "fp8":
        keep_in_fp8(linears.values(), dtype)
        return
    _need("torchao", f"weights {runtime.weights} need it")
    from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig, quantize_

    config = Int8WeightOnlyConfig() if runtime.weights == "int8" else Float8WeightOnlyConfig()
    quantize_(transformer, config, filter_fn=lambda module, name: name in linears)


def _set_attention(transformer: GameCraftTransformer3DModel, backend: str) -> None:
    if backend == "auto":
        return
    try:
        transformer.set_attention_backend(backend)
    except (RuntimeError, ValueError, ImportError) as error:
        package = _PACKAGES.get(backend, "kernels" if backend.endswith("_hub") else backend)
        reason = str(error).splitlines()[0]
        raise InputError(f"attention {backend} cannot be used: install {package} ({reason:.160})") from error


def _set_vae(pipe: GameCraftPipeline, runtime: Runtime) -> None:
    published = isinstance(pipe.vae, AutoencoderKLHunyuanVideo)
    if published:
        set_vae_tiling(pipe.vae, runtime.tiling != "off")
    elif runtime.tiling == "on":
        raise InputError(f"this model's {type(pipe.vae).__name__} has no tiles; leave tiling at auto")
    if runtime.slicing:
        if not published:
            raise InputError(f"this model's {type(pipe.vae).__name__} has no slicing")
        pipe.vae.enable_slicing()


def _place(pipe: GameCraftPipeline, runtime: Runtime, device: torch.device) -> None:
    match runtime.offload:
        case "none":
            pipe.to(device)
        case "model" | "sequential" if device.type == "cpu":
            logger.warning("offload %s has no effect without a GPU", runtime.offload)
        case "model":
            pipe.enable_model_cpu_offload(device=device)
        case "sequential":
            pipe.enable_sequential_cpu_offload(device=device)
        case _:
            _offload_groups(pipe, runtime, device)


def _offload_groups(pipe: GameCraftPipeline, runtime: Runtime, device: torch.device) -> None:
    settings: dict[str, Any] = {"onload_device": device, "use_stream": device.type == "cuda"}
    for name in ("transformer", "vae", "text_encoder", "text_encoder_2", "depth_estimator", "refiner"):
        if (part := getattr(pipe, name)) is None:
            continue
        if runtime.offload_folder is not None:
            settings["offload_to_disk_path"] = str(Path(runtime.offload_folder) / name)
        if name == "transformer" and runtime.offload != "leaf":
            # the action encoder is called by itself, before the forward that would bring it along
            blocks: dict[str, Any] = {"block_modules": ["action_encoder", "context_embedder"]}
            apply_group_offloading(part, offload_type="block_level", num_blocks_per_group=1, **blocks, **settings)
        else:
            apply_group_offloading(part, offload_type="leaf_level", **settings)


def _need(package: str, why: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise InputError(f"{package} is not installed; {why}: pip install {package}")
