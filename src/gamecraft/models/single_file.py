"""Loading a published ``.pt`` file without converting it first."""

from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch

__all__ = ["OfficialSingleFile"]


class OfficialSingleFile:
    """A base before the transformer's: `from_single_file` for the published checkpoints."""

    _keep_in_fp32_modules: ClassVar[list[str]]

    @classmethod
    def from_single_file(
        cls,
        pretrained_model_link_or_path_or_dict: str | Path,
        *,
        weights: Literal["module", "ema"] = "module",
        rope_axes_dim: tuple[int, int, int] = (16, 56, 56),
        dtype: torch.dtype | None = None,
    ) -> Self:
        """The model of a published ``.pt`` file, in evaluation mode; its sizes are read from the weights.

        Args:
            pretrained_model_link_or_path_or_dict: local file, or folder with a ``*_model_states.pt``. Its weights stay
                mapped to the file and are read when they are first used, unless they change type.
            weights: the trained weights or their moving average, where the file has both.
            rope_axes_dim: rotary dimensions of (time, row, column), which the weights do not show.
            dtype: of the weights beside the action encoder, which keeps the stored one as published; None keeps all.

        Raises:
            CheckpointError: the file cannot be read, or is not a published transformer.
            InputError: weights that change type do not fit into main memory.
        """
        from gamecraft.checkpoints import convert_transformer_from_official, read_official_transformer
        from gamecraft.memory import check_main_memory

        published = read_official_transformer(Path(pretrained_model_link_or_path_or_dict), weights=weights)
        config, state_dict = convert_transformer_from_official(published, rope_axes_dim=rope_axes_dim)
        with torch.device("meta"):
            model: Any = cls(**config)
        changed = {
            name: tensor
            for name, tensor in state_dict.items()
            if dtype not in (None, tensor.dtype) and name.partition(".")[0] not in cls._keep_in_fp32_modules
        }
        if dtype is not None:
            numbers = sum(tensor.numel() for tensor in changed.values())
            check_main_memory(numbers * dtype.itemsize, f"the transformer as {dtype}")
            for name, tensor in changed.items():
                state_dict[name] = tensor.to(dtype)
        model.load_state_dict(state_dict, strict=True, assign=True)
        loaded: Self = model.eval()
        return loaded
