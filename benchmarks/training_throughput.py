"""How much of the machine's matrix product peak a training step of the transformer reaches.

    python benchmarks/training_throughput.py --widths 256 1024 --batch 16
    python benchmarks/training_throughput.py --widths 3072 --single-layers 2 --batch 16 --steps 3 --eager

Times forward and backward of the embedded model's transformer, and of others like it that are wider, on random chunks
of 96x160 pixels after a clip, compiled and in the precision that `gamecraft train` takes. Operations are those of
products, convolutions and attention, counted in an eager step; the peaks are the fastest of some large products in that
precision and in bfloat16, before and after, in the same process. One step of the optimizer is timed apart: its time
does not grow with the batch. Prints JSON. Run it on an idle machine; compiling takes minutes.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from gamecraft.history import History
from gamecraft.intrinsics import Intrinsics
from gamecraft.models.transformer import GameCraftTransformer3DModel
from gamecraft.precision import autocast_dtype, compute_dtype, cpu_autocast, quicken_gelu
from gamecraft.rays import pixel_directions
from gamecraft.training.batch_transformer import BatchTransformer, Conditions
from gamecraft.training.muon import MuonAdamW
from gamecraft.training.objectives import flow_loss, interpolate, sample_sigmas
from gamecraft.training.optimizers import split_parameters

HEIGHT, WIDTH, FRAMES, LATENTS, TEXT = 96, 160, 9, 3, 48
WIDTH_OF_MINI = 256
"""Of the embedded model, whose heads have 64 channels; those of wider ones have 128, as in the published model."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every width."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--widths", type=int, nargs="+", default=[256], help="multiples of 128; default: 256, the embedded model's"
    )
    parser.add_argument("--single-layers", type=int, help="single-stream blocks; default: the embedded model's")
    parser.add_argument("--batch", type=int, default=16, help="chunks per step; default: %(default)s")
    parser.add_argument("--steps", type=int, default=10, help="that are timed; default: %(default)s")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--eager", action="store_true", help="do not compile")
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    for width in args.widths:
        print(json.dumps(measure(width, args)), flush=True)
    return 0


def measure(width: int, args: argparse.Namespace) -> dict[str, Any]:
    """Figures of one width."""
    torch.manual_seed(0)
    config = dict(GameCraftTransformer3DModel.load_config(str(files("gamecraft") / "assets/mini/transformer")))
    if width > WIDTH_OF_MINI:
        config |= {"attention_head_dim": 128, "rope_axes_dim": [2 * axis for axis in config["rope_axes_dim"]]}
    config["num_attention_heads"] = width // config["attention_head_dim"]
    if args.single_layers is not None:
        config["num_single_layers"] = args.single_layers
    model = GameCraftTransformer3DModel.from_config(config)
    quicken_gelu(model, autocast_dtype("auto"))
    directions = pixel_directions(Intrinsics(), HEIGHT, WIDTH)
    hidden, other = split_parameters(model)
    optimizer = MuonAdamW(hidden, other, muon_rate=1e-3, adam_rate=1e-4)
    given = inputs(args.batch, config)
    step = training_step(BatchTransformer(model, directions, compiled=False), *given)
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    attention_back = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
    mapping = {attention: attention_flop, attention_back: attention_back_flop}
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        step()
    if not args.eager:
        step = training_step(BatchTransformer(model, directions, compiled=True), *given)
        step()
    dtypes = {compute_dtype("auto"), torch.bfloat16}
    peaks = {dtype: matmul_peak(dtype) for dtype in dtypes}
    seconds = []
    for _ in range(args.steps):
        model.zero_grad()
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    peaks = {dtype: max(peak, matmul_peak(dtype)) for dtype, peak in peaks.items()}
    started = time.perf_counter()
    optimizer.step(1.0)
    optimizing = time.perf_counter() - started
    median, dtype = statistics.median(seconds), compute_dtype("auto")
    peak, bfloat16_peak = peaks[dtype], peaks[torch.bfloat16]
    return {
        "dtype": str(dtype).removeprefix("torch."),
        "width": width,
        "parameters": sum(p.numel() for p in model.parameters()),
        "single_layers": config["num_single_layers"],
        "batch": args.batch,
        "ms_per_sample": 1000 * median / args.batch,
        "optimizer_ms": 1000 * optimizing,
        "gflop_per_sample": counter.get_total_flops() / args.batch / 1e9,
        "gflops": counter.get_total_flops() / median / 1e9,
        "peak_gflops": peak / 1e9,
        "share_of_peak": counter.get_total_flops() / median / peak,
        "bfloat16_peak_gflops": bfloat16_peak / 1e9,
        "share_of_bfloat16_peak": counter.get_total_flops() / median / bfloat16_peak,
    }


def inputs(batch: int, config: dict[str, Any]) -> tuple[Tensor, History, Conditions]:
    """Chunks [B, C, t, h, w] with a clip before them, cameras that walk ahead, and captions."""
    shape = (batch, config["out_channels"], LATENTS, HEIGHT // 8, WIDTH // 8)
    poses = np.tile(np.eye(4), (batch, 2 * FRAMES, 1, 1))
    poses[:, :, 2, 3] = 0.2 * np.arange(1 - FRAMES, 1 + FRAMES)
    conditions = Conditions(
        poses=torch.from_numpy(poses).float(),
        text=torch.randn(batch, TEXT, config["text_embed_dim"]),
        mask=torch.ones(batch, TEXT, dtype=torch.bool),
        pooled=torch.randn(batch, config["pooled_projection_dim"]),
    )
    return torch.randn(shape), History(clips=(torch.randn(shape),), poses=(poses[:, :FRAMES],)), conditions


def training_step(
    model: BatchTransformer, chunks: Tensor, history: History, conditions: Conditions
) -> Callable[[], None]:
    """Forward and backward of the flow matching loss."""

    def step() -> None:
        noise = torch.randn_like(chunks)
        sigmas = sample_sigmas(len(chunks), 5.0, torch.Generator().manual_seed(0))
        with cpu_autocast():
            velocity = model(interpolate(chunks, noise, sigmas), sigmas, history, conditions)
        flow_loss(velocity, chunks, noise).mean().backward()  # type: ignore[no-untyped-call]

    return step


def attention_flop(*shapes: Any, **_: Any) -> int:
    """PyTorch's counter knows the attention of GPUs alone."""
    flop: int = sdpa_flop_count(*shapes[:3])
    return flop


def attention_back_flop(*shapes: Any, **_: Any) -> int:
    """Of the gradients of queries, keys and values; the shapes are those of the result's gradient and of the three."""
    flop: int = sdpa_backward_flop_count(*shapes[:4])
    return flop


def matmul_peak(dtype: torch.dtype, size: int = 2048) -> float:
    """Operations per second of the fastest of some square matrix products."""
    a, b = (torch.randn(size, size, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(10):
        started = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / min(seconds)


if __name__ == "__main__":
    raise SystemExit(main())
