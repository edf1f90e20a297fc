"""Opens a model folder, after checking that every file of it is there and whole."""

from pathlib import Path

import torch

from gamecraft.errors import CheckpointError, InputError
from gamecraft.model_folder import check_model_folder, embedded_model, model_digest, weight_names
from gamecraft.pipeline import GameCraftPipeline

__all__ = ["check_model_folder", "embedded_model", "load_pipeline", "model_digest"]


def load_pipeline(
    path: str | Path | None = None, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.bfloat16
) -> GameCraftPipeline:
    """The pipeline of a model folder, ready to generate.

    Args:
        path: folder as written by ``save_pretrained``; the embedded model if None.
        device: where it computes.
        dtype: what transformer and VAE compute in, by autocast, so that sums and normalisations stay in float32. On the
            CPU the weights are kept in float32; elsewhere they are loaded in this type.

    Raises:
        CheckpointError: a file is missing, truncated, corrupt or of another kind; the message names it.
    """
    folder = embedded_model() if path is None else Path(path)
    check_model_folder(folder)
    device = torch.device(device)
    try:
        pipe = GameCraftPipeline.from_pretrained(
            folder, dtype=torch.float32 if device.type == "cpu" else dtype, local_files_only=True
        )
    except (InputError, OSError, ValueError, TypeError, KeyError, RuntimeError, AttributeError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise CheckpointError(f"the model in {folder} cannot be loaded: {reason[0]}") from error
    for name in ("transformer", "vae"):  # diffusers fills missing weights with random numbers and only logs it
        _check_names(folder / name, getattr(pipe, name))
    loaded: GameCraftPipeline = pipe.to(device)
    loaded.autocast_dtype = None if dtype == torch.float32 else dtype
    return loaded


def _check_names(part: Path, model: torch.nn.Module) -> None:
    if wrong := sorted(weight_names(part) ^ set(model.state_dict())):
        raise CheckpointError(f"the weights in {part} do not fit its config.json: {wrong[0]} is missing or unknown")
