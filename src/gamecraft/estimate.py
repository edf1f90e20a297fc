"""Predicts the memory and the time of a chunk from counted operations and bytes, without weights or a GPU.

Operations and live bytes are counted by running small pieces of the networks on tensors without content; blocks are
alike, so one of each kind is counted and multiplied. What cannot be counted is assumed, see `Assumptions`.
"""

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKLHunyuanVideo
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from gamecraft.models.transformer import GameCraftTransformer3DModel
from gamecraft.models.vae_tiling import set_vae_tiling
from gamecraft.runtime import Runtime

__all__ = [
    "Assumptions",
    "Costs",
    "Estimate",
    "Work",
    "count_decoding",
    "count_published_decoding",
    "count_transformer",
    "estimate",
]

GB = 1e9


@dataclass(frozen=True, kw_only=True)
class Assumptions:
    """What is not counted.

    Attributes:
        peak_tflops: dense bfloat16 matrix products of the device, as its maker states them.
        utilisation: share of that which a forward pass reaches.
        transfer_gbs: main memory to the device, GB/s.
        memory_gb: of the device.
        parallel_efficiency: share of the time saved that several devices keep.
        reserve_gb: what the driver, the allocator and PyTorch's kernels take.
    """

    peak_tflops: float
    memory_gb: float
    utilisation: float = 0.45
    transfer_gbs: float = 20.0
    parallel_efficiency: float = 0.85
    reserve_gb: float = 1.5


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What one network needs once.

    Attributes:
        flop: operations of a call.
        weight_bytes: with two bytes for a number.
        quantisable_bytes: those of them that one byte can hold.
        live_bytes: largest sum of what lives at once beside the weights.
        largest_group: bytes of its largest part that is moved at once when blocks are offloaded.
        token_bytes, layers: of a transformer: one float32 feature map of all tokens, and how often attention gives one.
    """

    flop: float = 0.0
    weight_bytes: float = 0.0
    quantisable_bytes: float = 0.0
    live_bytes: float = 0.0
    largest_group: float = 0.0
    token_bytes: float = 0.0
    layers: int = 0


@dataclass(frozen=True, kw_only=True)
class Work:
    """A chunk's networks: one transformer pass (without guidance), a decoding, the text models."""

    transformer: Costs
    vae: Costs
    text: Costs


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Of one chunk on one of several devices.

    Attributes:
        memory: bytes by what needs them; the sum is the peak.
        seconds: by what takes them; the sum is the chunk.
        offloaded: bytes of main memory for the weights that wait there.
    """

    memory: dict[str, float]
    seconds: dict[str, float]
    offloaded: float


def estimate(work: Work, runtime: Runtime, device: Assumptions, *, steps: int, guided: bool) -> Estimate:
    """Memory and time of one chunk under some options."""
    parts = {name: getattr(work, name) for name in ("transformer", "vae", "text")}
    stored = {name: _stored(costs, name, runtime) for name, costs in parts.items()}
    at_once = 2 if guided and runtime.branches in ("auto", "batched") and not runtime.maskless else 1
    shared = runtime.ulysses * runtime.ring
    live = max(work.transformer.live_bytes * at_once / shared, work.vae.live_bytes)
    match runtime.offload:
        case "none":
            weights = sum(stored.values())
        case "model":
            weights = max(stored.values())
        case _:
            weights = 2 * max(costs.largest_group for costs in parts.values())  # one is used, the next is coming
    passes = _full_steps(runtime.cache, steps) * (2 if guided and runtime.branches != "parallel" else 1)
    speed = device.peak_tflops * 1e12 * device.utilisation
    speed *= 1 if shared == 1 else shared * device.parallel_efficiency
    moved = {"none": 0.0, "model": sum(stored.values())}.get(runtime.offload, passes * stored["transformer"])
    seconds = {
        "transformer": passes * work.transformer.flop / speed,
        "decoding": work.vae.flop / (speed if shared > 1 else device.peak_tflops * 1e12 * device.utilisation),
        "transfers": moved / (device.transfer_gbs * GB),
    }
    if runtime.offload in ("group", "leaf", "disk"):  # the next block comes while one computes
        seconds["transfers"] = max(0.0, seconds["transfers"] - seconds["transformer"])
    halves = 2 if guided and runtime.branches != "parallel" else 1
    memory = {"weights": weights, "activations": live, "reserve": device.reserve_gb * GB}
    if kept := _kept(runtime.cache, work.transformer) * halves / shared:
        memory["step cache"] = kept
    offloaded = 0.0 if runtime.offload in ("none", "disk") else sum(stored.values())
    return Estimate(memory=memory, seconds=seconds, offloaded=offloaded)


def _full_steps(cache: str, steps: int) -> int:
    """Steps that are not skipped on a schedule; how many the others save depends on the model."""
    if cache == "published" and steps == 50:
        return 35
    if cache == "taylorseer-lite":
        return sum(step < 3 or step % 5 == 4 for step in range(steps))
    return steps


def _kept(cache: str, transformer: Costs) -> float:
    """Bytes that a step cache keeps for one half of guidance; two velocities are too small to count."""
    maps = {"taylorseer": 2 * transformer.layers, "first-block": 3, "published": 1}
    return maps.get(cache, 0) * transformer.token_bytes


def _stored(costs: Costs, name: str, runtime: Runtime) -> float:
    saved = costs.quantisable_bytes / 2 if name == "transformer" and runtime.weights != "full" else 0.0
    return costs.weight_bytes - saved


def count_transformer(config: Mapping[str, Any], frames: int, rows: int, columns: int) -> Costs:
    """One pass over ``frames`` latents of rows x columns; one dual and one single block are counted and multiplied."""
    dual, single = int(config["num_layers"]), int(config["num_single_layers"])
    one, two, other = (_count_pass(config, frames, rows, columns, blocks) for blocks in ((1, 1), (2, 1), (1, 2)))

    def whole(name: str) -> float:
        base, per_dual, per_single = (float(getattr(costs, name)) for costs in (one, two, other))
        return base + (dual - 1) * (per_dual - base) + (single - 1) * (per_single - base)

    return Costs(
        flop=whole("flop"),
        weight_bytes=whole("weight_bytes"),
        quantisable_bytes=whole("quantisable_bytes"),
        live_bytes=one.live_bytes,
        largest_group=max(two.weight_bytes, other.weight_bytes) - one.weight_bytes,
        token_bytes=one.token_bytes,
        layers=dual + single,
    )


@torch.no_grad()
def _count_pass(config: Mapping[str, Any], frames: int, rows: int, columns: int, blocks: tuple[int, int]) -> Costs:
    from gamecraft.apply_runtime import block_linears

    settings = {name: value for name, value in config.items() if not name.startswith("_")}
    with torch.device("meta"):
        model = GameCraftTransformer3DModel.from_config(
            {**settings, "num_layers": blocks[0], "num_single_layers": blocks[1]}
        )
        model = model.to(torch.bfloat16)
        tokens = frames * (rows // 2) * (columns // 2)
        width = model.config.num_attention_heads * model.config.attention_head_dim
        inputs = {
            "hidden_states": torch.empty(1, model.config.in_channels, frames, rows, columns),
            "encoder_hidden_states": torch.empty(1, 256, model.config.text_embed_dim),
            "pooled_projections": torch.empty(1, model.config.pooled_projection_dim),
            "action_embeds": torch.empty(1, tokens, width),
        }
        if model.config.rope_depths:
            inputs["positions"] = torch.empty(1, tokens, len(model.config.rope_axes_dim))
        typed = {name: tensor.to(torch.bfloat16) for name, tensor in inputs.items()}
        counted = _run(model, timestep=torch.empty(1), encoder_attention_mask=None, return_dict=False, **typed)
    quantisable = sum(2.0 * module.weight.numel() for module in block_linears(model).values())
    return Costs(
        flop=counted[0],
        live_bytes=counted[1],
        weight_bytes=_weight_bytes(model),
        quantisable_bytes=quantisable,
        token_bytes=4.0 * tokens * width,
    )


@torch.no_grad()
def count_decoding(vae: Any, latents: int, rows: int, columns: int) -> Costs:
    """A decoding by an autoencoder on the meta device."""
    z = torch.empty(1, vae.config.latent_channels, latents, rows, columns, device="meta")
    flop, live = _run(vae.decode, z)
    weights = _weight_bytes(vae)
    return Costs(flop=flop, live_bytes=live, weight_bytes=weights, largest_group=weights)


@torch.no_grad()
def count_published_decoding(latents: int, rows: int, columns: int) -> Costs:
    """A decoding in the published tiles; one tile is counted and multiplied by their area."""
    with torch.device("meta"):
        vae = AutoencoderKLHunyuanVideo().to(torch.bfloat16)
        set_vae_tiling(vae, False)
        side = min(32, rows, columns)
        flop, live = _run(vae.decoder, torch.empty(1, 16, latents, side, side, dtype=torch.bfloat16))
    area = sum(min(32, rows - y) * min(32, columns - x) for y in range(0, rows, 24) for x in range(0, columns, 24))
    video = 2.0 * 3 * (1 + (latents - 1) * 4) * area * 64  # all tiles are kept until they are blended
    weights = _weight_bytes(vae)
    return Costs(flop=flop * area / side**2, live_bytes=live + video, weight_bytes=weights, largest_group=weights / 20)


def _run(module: Callable[..., Any], *arguments: Any, **keywords: Any) -> tuple[float, float]:
    """Operations of a call, and the largest sum of bytes that live at once in it."""
    with FlopCounterMode(display=False) as flops:
        module(*arguments, **keywords)
    with _WithoutScores(), _LiveBytes() as live:
        module(*arguments, **keywords)
    return float(flops.get_total_flops()), float(live.peak)


def _weight_bytes(module: nn.Module) -> float:
    return float(sum(2 * parameter.numel() for parameter in module.parameters()))


class _WithoutScores(TorchFunctionMode):
    """Attention as the fused kernels do it, which never hold all scores."""

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        if function is torch.nn.functional.scaled_dot_product_attention:
            query = keywords["query"] if "query" in keywords else arguments[0]
            return torch.empty_like(query)
        return function(*arguments, **(keywords or {}))


class _LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the memory of all results and takes it off when they are freed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._known = weakref.WeakSet[Any]()

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        result = function(*arguments, **(keywords or {}))
        given = {id(value.untyped_storage()) for value in arguments if isinstance(value, Tensor)}
        for value in result if isinstance(result, tuple | list) else [result]:
            if isinstance(value, Tensor):
                self._add(value.untyped_storage(), given)
        return result

    def _add(self, storage: Any, given: set[int]) -> None:
        if storage in self._known or id(storage) in given:
            return
        self._known.add(storage)
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._remove, size)

    def _remove(self, size: int) -> None:
        self.now -= size
