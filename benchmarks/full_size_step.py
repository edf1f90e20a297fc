"""Builds the published 13B transformer with random weights, its blocks' matrices in fp8, and runs one denoising step on
the CPU; reports seconds and peak memory as JSON. Linux only (memory is read from /proc). Needs 18.5 GB free.

    python benchmarks/full_size_step.py --height 96 --width 160
    python benchmarks/full_size_step.py --dual 1 --single 1 --heads 2     # a quick try of the script itself
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import nn

from gamecraft.apply_runtime import block_linears
from gamecraft.denoising import Conditioning, denoise
from gamecraft.files import write_atomically
from gamecraft.history import History
from gamecraft.intrinsics import Intrinsics
from gamecraft.models.fp8_weights import keep_in_fp8
from gamecraft.models.transformer import GameCraftTransformer3DModel
from gamecraft.published import PublishedAction
from gamecraft.published_play import action_tracks
from gamecraft.rays import chunk_rays

SPARE = 2e9  # bytes beside the weights, for the libraries, activations and one matrix in bfloat16


def main() -> int:
    """Build, check the room first, run a step, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dual", type=int, default=20, help="blocks with two streams; default: %(default)s")
    parser.add_argument("--single", type=int, default=40, help="blocks with one stream; default: %(default)s")
    parser.add_argument("--heads", type=int, default=24, help="of 128 features; default: %(default)s")
    parser.add_argument("--height", type=int, default=96, help="pixels; default: %(default)s")
    parser.add_argument("--width", type=int, default=160, help="pixels; default: %(default)s")
    parser.add_argument("--frames", type=int, default=9, help="of the chunk; default: %(default)s")
    parser.add_argument("--text-tokens", type=int, default=60, help="default: %(default)s")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    args = parser.parse_args()
    with torch.device("meta"):
        model = GameCraftTransformer3DModel(
            num_layers=args.dual, num_single_layers=args.single, num_attention_heads=args.heads
        )
    needed, free = _bytes_of(model) + SPARE, _memory("MemAvailable")
    if free < needed:
        print(f"error: {needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free", file=sys.stderr)
        return 2
    columns = (TextColumn("{task.description:>6}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        parameters, blocks = sum(p.numel() for p in model.parameters()), args.dual + args.single
        building, stepping = bar.add_task("build", total=parameters), bar.add_task("step", total=blocks, start=False)
        started = time.perf_counter()
        fill(model, lambda numbers: bar.advance(building, numbers))
        build = time.perf_counter() - started
        loaded = _memory("VmRSS", Path("/proc/self/status"))
        for block in (*model.transformer_blocks, *model.single_transformer_blocks):
            block.register_forward_hook(lambda *_: bar.advance(stepping))
        bar.start_task(stepping)
        started = time.perf_counter()
        finite = step(model, args)
        seconds = time.perf_counter() - started
    report = {
        "parameters": parameters,
        "fp8_parameters": sum(module.weight.numel() for module in block_linears(model).values()),
        "size": [args.frames, args.height, args.width],
        "threads": torch.get_num_threads(),
        "build_seconds": build,
        "step_seconds": seconds,
        "loaded_bytes": loaded,
        "peak_bytes": _memory("VmHWM", Path("/proc/self/status")),
        "finite": finite,
    }
    text = json.dumps(report, indent=2)
    print(text)
    if args.output:
        with write_atomically(args.output) as temporary:
            temporary.write_text(text + "\n")
    return 0


def fill(model: GameCraftTransformer3DModel, on_tensor: Callable[[int], None]) -> None:
    """Random numbers in place of the meta tensors, one tensor in memory at a time beside the result.

    Args:
        on_tensor: hears how many numbers each tensor has, once it is filled.
    """
    linears = block_linears(model)
    random = torch.Generator().manual_seed(0)
    for name, module in model.named_modules():
        for key, meta in list(module._parameters.items()):
            if meta is None:
                continue
            values = torch.empty(meta.shape, dtype=torch.bfloat16).normal_(0, 0.02, generator=random)
            if "norm" in name and key == "weight" and meta.ndim == 1:
                values.fill_(1.0)
            if name in linears and key == "weight":
                values = values.to(torch.float8_e4m3fn)
            elif name.startswith("action_encoder"):
                values = values.float()
            module._parameters[key] = nn.Parameter(values, requires_grad=False)
            on_tensor(values.numel())
    model.eval()
    keep_in_fp8(linears.values(), torch.bfloat16)


def step(model: GameCraftTransformer3DModel, args: argparse.Namespace) -> bool:
    """One Euler step of a chunk after one picture, without guidance; whether all numbers are finite."""
    random = torch.Generator().manual_seed(1)
    rows, columns, latents = args.height // 8, args.width // 8, 1 + (args.frames - 1) // 4
    history = History(
        clips=(torch.randn(1, 16, 1, rows, columns, generator=random),), poses=(torch.eye(4).numpy()[None],)
    )
    (track,) = action_tracks([PublishedAction(name="w")], args.frames)
    with torch.no_grad():
        rays = chunk_rays(track, history.last_pose, Intrinsics(), args.height, args.width)[None]
        branch = Conditioning(
            embeds=torch.randn(1, args.text_tokens, model.config.text_embed_dim, generator=random).bfloat16(),
            mask=None,
            pooled=torch.randn(1, model.config.pooled_projection_dim, generator=random).bfloat16(),
            action_embeds=model.encode_actions(rays, num_history_latents=1),
        )
        noise = torch.randn(1, 16, latents, rows, columns, generator=random)
        scheduler = FlowMatchEulerDiscreteScheduler(shift=5.0)
        result = denoise(
            model, scheduler, noise, history, [("cond", branch)], num_inference_steps=1, autocast=torch.bfloat16
        )
    return bool(result.isfinite().all())


def _bytes_of(model: GameCraftTransformer3DModel) -> float:
    quantised = sum(module.weight.numel() for module in block_linears(model).values())
    return float(2 * sum(p.numel() for p in model.parameters()) - quantised)


def _memory(field: str, file: Path = Path("/proc/meminfo")) -> float:
    found = re.search(rf"{field}:\s+(\d+) kB", file.read_text())
    assert found is not None
    return float(found[1]) * 1024


if __name__ == "__main__":
    raise SystemExit(main())
