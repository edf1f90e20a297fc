"""The published transformer checkpoint <-> our (diffusers) layout, in memory, strict both ways.

One table names every module of both layouts; from it and a configuration follows the complete list of tensors on either
side, so a missing, unexpected or misshapen tensor is always an error. Fused projections are split without copying.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from gamecraft.errors import CheckpointError
from gamecraft.models.action_encoder import RAY_CHANNELS
from gamecraft.models.transformer import GameCraftTransformer3DModel
from gamecraft.torch_files import load_torch_file, named_tensors

__all__ = [
    "check_tensors",
    "convert_transformer_from_official",
    "convert_transformer_to_official",
    "official_layout",
    "read_official_transformer",
    "tensor_shapes",
    "without_memory",
]

Model = TypeVar("Model", bound=nn.Module)

StateDict = Mapping[str, Tensor]

WEIGHT_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn)

# Published module -> ours. Several of ours: the published tensor is their concatenation along dimension 0.
# "{}" is a block number.
MODULES: dict[str, tuple[str, ...]] = {
    "img_in.proj": ("x_embedder.proj",),
    "time_in.mlp.0": ("time_text_embed.timestep_embedder.linear_1",),
    "time_in.mlp.2": ("time_text_embed.timestep_embedder.linear_2",),
    "vector_in.in_layer": ("time_text_embed.text_embedder.linear_1",),
    "vector_in.out_layer": ("time_text_embed.text_embedder.linear_2",),
    "guidance_in.mlp.0": ("time_text_embed.guidance_embedder.linear_1",),
    "guidance_in.mlp.2": ("time_text_embed.guidance_embedder.linear_2",),
    "final_layer.linear": ("proj_out",),
    "final_layer.adaLN_modulation.1": ("norm_out.linear",),
    "camera_net.encode_first.0": ("action_encoder.conv_in",),
    "camera_net.encode_first.1": ("action_encoder.norm_in",),
    "camera_net.encode_second.0": ("action_encoder.conv_mid",),
    "camera_net.encode_second.1": ("action_encoder.norm_mid",),
    "camera_net.final_proj": ("action_encoder.conv_out",),
    "camera_net.camera_in.proj": ("action_encoder.patch_embed.proj",),
    "camera_net.scale": ("action_encoder.scale",),
    "txt_in.input_embedder": ("context_embedder.proj_in",),
    "txt_in.t_embedder.mlp.0": ("context_embedder.time_text_embed.timestep_embedder.linear_1",),
    "txt_in.t_embedder.mlp.2": ("context_embedder.time_text_embed.timestep_embedder.linear_2",),
    "txt_in.c_embedder.linear_1": ("context_embedder.time_text_embed.text_embedder.linear_1",),
    "txt_in.c_embedder.linear_2": ("context_embedder.time_text_embed.text_embedder.linear_2",),
}
REFINER_BLOCK: dict[str, tuple[str, ...]] = {
    "norm1": ("norm1",),
    "norm2": ("norm2",),
    "self_attn_qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "self_attn_proj": ("attn.to_out.0",),
    "mlp.fc1": ("ff.net.0.proj",),
    "mlp.fc2": ("ff.net.2",),
    "adaLN_modulation.1": ("norm_out.linear",),
}
DUAL_BLOCK: dict[str, tuple[str, ...]] = {
    "img_mod.linear": ("norm1.linear",),
    "img_attn_qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "img_attn_q_norm": ("attn.norm_q",),
    "img_attn_k_norm": ("attn.norm_k",),
    "img_attn_proj": ("attn.to_out.0",),
    "img_mlp.fc1": ("ff.net.0.proj",),
    "img_mlp.fc2": ("ff.net.2",),
    "txt_mod.linear": ("norm1_context.linear",),
    "txt_attn_qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "txt_attn_q_norm": ("attn.norm_added_q",),
    "txt_attn_k_norm": ("attn.norm_added_k",),
    "txt_attn_proj": ("attn.to_add_out",),
    "txt_mlp.fc1": ("ff_context.net.0.proj",),
    "txt_mlp.fc2": ("ff_context.net.2",),
}
SINGLE_BLOCK: dict[str, tuple[str, ...]] = {
    "modulation.linear": ("norm.linear",),
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    "linear2": ("proj_out",),
    "q_norm": ("attn.norm_q",),
    "k_norm": ("attn.norm_k",),
}
BLOCKS: dict[str, tuple[str, dict[str, tuple[str, ...]]]] = {
    "txt_in.individual_token_refiner.blocks": ("context_embedder.token_refiner.refiner_blocks", REFINER_BLOCK),
    "double_blocks": ("transformer_blocks", DUAL_BLOCK),
    "single_blocks": ("single_transformer_blocks", SINGLE_BLOCK),
}
# published: (shift, scale); ours: (scale, shift)
HALVES_SWAPPED = "final_layer.adaLN_modulation.1"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One published tensor: the tensors of ours it consists of, and the length of each along dimension 0."""

    ours: tuple[str, ...]
    shapes: tuple[torch.Size, ...]
    halves_swapped: bool = False

    @property
    def shape(self) -> list[int]:
        """Shape of the published tensor."""
        return [sum(shape[0] for shape in self.shapes), *self.shapes[0][1:]]

    def split(self, published: Tensor) -> list[Tensor]:
        """The published tensor -> ours, in the order of `ours`; they share its memory unless halves are swapped."""
        tensor = _swap_halves(published) if self.halves_swapped else published
        return list(torch.split_with_sizes(tensor, [shape[0] for shape in self.shapes]))

    def join(self, ours: Sequence[Tensor]) -> Tensor:
        """Ours, in the order of `ours` -> the published tensor."""
        tensor = torch.cat(list(ours)) if len(ours) > 1 else ours[0]
        return _swap_halves(tensor) if self.halves_swapped else tensor


def convert_transformer_from_official(
    state_dict: StateDict, *, rope_axes_dim: tuple[int, int, int] = (16, 56, 56)
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Published names -> (configuration, state dict) for ``GameCraftTransformer3DModel(**configuration)``.

    Args:
        state_dict: the published tensors, names as in the released file under "module".
        rope_axes_dim: rotary dimensions of (time, row, column), the one size the weights do not show.

    Returns:
        The configuration read from the shapes, and our state dict; its tensors share memory with the input, except one.

    Raises:
        CheckpointError: a tensor is missing, unexpected or of a shape that does not fit the others.
    """
    config = _infer_config(state_dict, rope_axes_dim)
    layout = official_layout(config)
    check_tensors(state_dict, {name: entry.shape for name, entry in layout.items()}, "published transformer")
    converted: dict[str, Tensor] = {}
    for name, entry in layout.items():
        converted.update(zip(entry.ours, entry.split(state_dict[name]), strict=True))
    return config, converted


def convert_transformer_to_official(config: Mapping[str, Any], state_dict: StateDict) -> dict[str, Tensor]:
    """(configuration, our state dict) -> published names. The inverse of ``convert_transformer_from_official``.

    Raises:
        CheckpointError: a tensor is missing, unexpected or of a shape that does not fit the configuration.
    """
    layout = official_layout(config)
    expected = {name: shape for entry in layout.values() for name, shape in zip(entry.ours, entry.shapes, strict=True)}
    check_tensors(state_dict, expected, "transformer")
    return {name: entry.join([state_dict[ours] for ours in entry.ours]) for name, entry in layout.items()}


def read_official_transformer(path: Path, *, weights: Literal["module", "ema"] = "module") -> dict[str, Tensor]:
    """The tensors of a published ``.pt`` file, or of the first ``*_model_states.pt`` in a folder; no pickled code runs.

    Args:
        path: file or folder.
        weights: the trained weights ("module") or their moving average ("ema"), where the file has both.

    Raises:
        CheckpointError: nothing to read, not a weights-only torch file, or no such entry in it.
    """
    files = sorted(path.glob("*_model_states.pt")) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise CheckpointError(f"{path}: expected a .pt file, or a folder with a *_model_states.pt file")
    content = load_torch_file(files[0])
    if not isinstance(content, Mapping) or not isinstance(content.get(weights), Mapping):
        found = list(content)[:10] if isinstance(content, Mapping) else type(content).__name__
        raise CheckpointError(f"{files[0]}: expected an entry {weights!r} with the tensors; found {found}")
    return named_tensors(content[weights], f"{files[0]}, entry {weights!r}")


def _swap_halves(tensor: Tensor) -> Tensor:
    first, second = tensor.chunk(2)
    return torch.cat([second, first])


def _module_pairs(config: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """All (published module, our modules) of a model with this configuration."""
    for theirs, ours in MODULES.items():
        if config["guidance_embeds"] or not theirs.startswith("guidance_in"):
            yield theirs, ours
    counts = (config["num_refiner_layers"], config["num_layers"], config["num_single_layers"])
    for count, (their_stack, (our_stack, modules)) in zip(counts, BLOCKS.items(), strict=True):
        for number in range(count):
            for theirs, ours in modules.items():
                yield f"{their_stack}.{number}.{theirs}", tuple(f"{our_stack}.{number}.{name}" for name in ours)


def official_layout(config: Mapping[str, Any]) -> dict[str, Entry]:
    """Published tensor name -> what it consists of, for the model of this configuration."""
    model = without_memory(lambda: GameCraftTransformer3DModel.from_config(dict(config)), "transformer")
    shapes = tensor_shapes(model)
    layout: dict[str, Entry] = {}
    for theirs, modules in _module_pairs(config):
        for suffix in ("", ".weight", ".bias"):
            ours = tuple(module + suffix for module in modules)
            if ours[0] in shapes:
                layout[theirs + suffix] = Entry(
                    ours=ours,
                    shapes=tuple(shapes.pop(name) for name in ours),
                    halves_swapped=theirs == HALVES_SWAPPED,
                )
    assert not shapes, f"tensors without a published name: {sorted(shapes)[:10]}"
    return layout


def _infer_config(state_dict: StateDict, rope_axes_dim: tuple[int, int, int]) -> dict[str, Any]:
    """Every size that shows in the shapes of the published tensors."""

    def shape(name: str, dimensions: int) -> torch.Size:
        if name not in state_dict:
            raise CheckpointError(
                f"not a published GameCraft transformer: {name!r} is missing among {len(state_dict)} tensors, "
                f"which start with {list(state_dict)[:10]}"
            )
        found = state_dict[name].shape
        if len(found) != dimensions or 0 in found:
            raise CheckpointError(f"{name!r} has shape {list(found)}; expected {dimensions} dimensions above 0")
        return found

    def count(stack: str) -> int:
        numbers = [re.match(rf"{re.escape(stack)}\.(\d+)\.", name) for name in state_dict]
        return max((int(found[1]) for found in numbers if found), default=-1) + 1

    hidden, in_channels, _, patch, _ = shape("img_in.proj.weight", 5)
    (head_dim,) = shape("double_blocks.0.img_attn_q_norm.weight", 1)
    if any(axis < 2 or axis % 2 for axis in rope_axes_dim):
        raise CheckpointError(f"rope_axes_dim is {rope_axes_dim}; expected three even numbers above 0")
    if sum(rope_axes_dim) != head_dim:
        raise CheckpointError(
            f"the heads have {head_dim} dimensions, but rope_axes_dim {rope_axes_dim} sums to {sum(rope_axes_dim)}; "
            "give the rotary dimensions this model was trained with"
        )
    refiner, dual, single = (count(stack) for stack in BLOCKS)
    return {
        "in_channels": in_channels,
        "out_channels": shape("final_layer.linear.weight", 2)[0] // patch**2,
        "num_attention_heads": hidden // head_dim,
        "attention_head_dim": head_dim,
        "num_layers": dual,
        "num_single_layers": single,
        "num_refiner_layers": refiner,
        "mlp_ratio": shape("double_blocks.0.img_mlp.fc1.weight", 2)[0] / hidden,
        "patch_size": patch,
        "guidance_embeds": "guidance_in.mlp.0.weight" in state_dict,
        "text_embed_dim": shape("txt_in.input_embedder.weight", 2)[1],
        "pooled_projection_dim": shape("vector_in.in_layer.weight", 2)[1],
        "rope_axes_dim": rope_axes_dim,
        "action_channels": shape("camera_net.final_proj.weight", 4)[0],
        "spatial_ratio": round((shape("camera_net.encode_first.0.weight", 4)[1] / RAY_CHANNELS) ** 0.5),
    }


def without_memory(build: Callable[[], Model], what: str) -> Model:
    """A model on the meta device.

    Args:
        build: makes it, with settings that may be damaged.
        what: the model, for the message.

    Raises:
        CheckpointError: it cannot be built with its settings.
    """
    try:
        with torch.device("meta"):
            return build()
    except Exception as error:  # the libraries raise many types for settings of the wrong kind
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise CheckpointError(f"{what}: settings that belong to no model of this kind: {reason}") from error


def tensor_shapes(model: nn.Module) -> dict[str, torch.Size]:
    """Names and shapes of a model's tensors."""
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


def check_tensors(state_dict: StateDict, expected: Mapping[str, Sequence[int]], what: str) -> None:
    """Compare a model's tensors with the names and shapes that they must have.

    Args:
        expected: name -> shape.
        what: the model, for the message.

    Raises:
        CheckpointError: some are missing, unexpected, of the wrong shape or of a type that weights do not have.
    """
    missing = [name for name in expected if name not in state_dict]
    unexpected = [name for name in state_dict if name not in expected]
    misshapen = [
        f"{name} {list(state_dict[name].shape)} instead of {list(shape)}"
        for name, shape in expected.items()
        if name in state_dict and list(state_dict[name].shape) != list(shape)
    ]
    mistyped = [f"{name} {tensor.dtype}" for name, tensor in state_dict.items() if tensor.dtype not in WEIGHT_DTYPES]
    problems = [
        f"{len(names)} {kind}: {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}"
        for kind, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of the wrong shape", misshapen),
            ("of a type that weights do not have", mistyped),
        )
        if names
    ]
    if problems:
        raise CheckpointError(
            f"{what}: expected {len(expected)} tensors, received {len(state_dict)}; " + "; ".join(problems)
        )
