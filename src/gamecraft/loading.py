"""Opens a model folder, after checking that every file of it is there and whole."""

from pathlib import Path

import torch

from gamecraft.apply_runtime import apply_runtime, resolve_device
from gamecraft.errors import CheckpointError, InputError
from gamecraft.memory import check_model_memory
from gamecraft.model_folder import check_model_folder, folder_of, weight_names, weight_sizes
from gamecraft.pipeline import GameCraftPipeline
from gamecraft.precision import COMPUTE_DTYPES, compute_dtype
from gamecraft.runtime import Runtime

__all__ = ["load_pipeline"]


def load_pipeline(
    path: str | Path | None = None,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    runtime: Runtime | None = None,
) -> GameCraftPipeline:
    """The pipeline of a model folder, ready to generate.

    Args:
        path: folder as written by ``save_pretrained``; the embedded model if None.
        device: where it computes.
        dtype: what transformer and VAE compute in, by autocast, so that sums and normalisations stay in float32; by
            default bfloat16, or float32 on a CPU that has no instructions for it. On the CPU only matrices and
            convolutions are kept in it; elsewhere all weights are loaded in this type.
        runtime: all options for running, in place of ``device`` and ``dtype``.

    Raises:
        CheckpointError: a file is missing, truncated, corrupt or of another kind; the message names it.
        InputError: this machine cannot run it like that.
    """
    runtime = runtime or Runtime(device=str(device), dtype=_name_of(dtype))
    device = resolve_device(runtime.device)
    folder = folder_of(path)
    check_model_folder(folder)
    stored = torch.float32 if device.type == "cpu" else compute_dtype(runtime.dtype, device)
    parts = [part.parent for part in folder.glob("*/config.json") if any(part.parent.glob("*.safetensors"))]
    check_model_memory({part.name: sum(weight_sizes(part).values()) for part in parts}, runtime, device, stored)
    try:
        pipe = GameCraftPipeline.from_pretrained(folder, dtype=stored, local_files_only=True)
    except (InputError, OSError, ValueError, TypeError, KeyError, RuntimeError, AttributeError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise CheckpointError(f"the model in {folder} cannot be loaded: {reason[0]}") from error
    for name in ("transformer", "vae"):  # diffusers fills missing weights with random numbers and only logs it
        _check_names(folder / name, getattr(pipe, name))
    loaded: GameCraftPipeline = pipe
    apply_runtime(loaded, runtime)
    return loaded


def _name_of(dtype: torch.dtype | None) -> str:
    if dtype is None:
        return "auto"
    for name, known in COMPUTE_DTYPES.items():
        if known == dtype:
            return name
    raise InputError(f"dtype is {dtype}, expected one of {', '.join(map(str, COMPUTE_DTYPES.values()))}")


def _check_names(part: Path, model: torch.nn.Module) -> None:
    if wrong := sorted(weight_names(part) ^ set(model.state_dict())):
        raise CheckpointError(f"the weights in {part} do not fit its config.json: {wrong[0]} is missing or unknown")
