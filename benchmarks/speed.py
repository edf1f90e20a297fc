"""Measures where a model's time goes and how much of the machine it uses.

    python benchmarks/speed.py
    python benchmarks/speed.py --model models/mine --steps 8 --output outputs/speed.json

Run it on an otherwise idle machine. Every figure is the median of the repeats after a warm-up; the machine's peak is
the best of several large matrix products, and the share of it counts the transformer's multiplications and additions.
"""

import argparse
import json
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from gamecraft.errors import GameCraftError, InputError
from gamecraft.evaluation.cases import Case, make_case
from gamecraft.evaluation.pipeline_model import PipelineModel
from gamecraft.files import write_atomically
from gamecraft.history import model_input
from gamecraft.loading import load_pipeline
from gamecraft.pipeline import GameCraftPipeline
from gamecraft.precision import COMPUTE_DTYPES, compute_dtype
from gamecraft.rays import chunk_rays, plucker_rays
from gamecraft.runtime import Runtime

_PEAKS = ("bf16", "fp32")


def matmul_peak(dtype: torch.dtype, size: int = 1536, tries: int = 8) -> float:
    """Operations per second of the fastest of some square matrix products."""
    a, b = (torch.randn(size, size, generator=torch.Generator().manual_seed(i)).to(dtype) for i in range(2))
    seconds = [_seconds(lambda: a @ b) for _ in range(tries + 1)][1:]
    return float(2 * size**3 / min(seconds))


@torch.no_grad()
def measure(pipe: GameCraftPipeline, *, steps: int | None, guidance: float | None, repeats: int) -> dict[str, Any]:
    """Milliseconds of every part of a chunk and of the whole, and the operations of a transformer pass."""
    model = PipelineModel(pipe, steps=steps, guidance=guidance)
    sizes = {"chunk_frames": model.chunk_frames, "height": model.height, "width": model.width}
    case = make_case(0, "w", chunks=1, **sizes)
    model.start(case.start)
    actions = case.actions[0]
    state, settings, prompts = model.state, model.settings, model.prompts
    poses, reference = case.poses[0], case.start.poses[-1]
    forward = _transformer_pass(model, case)
    latents = state.history.clips[-1]
    parts: dict[str, Callable[[], Any]] = {
        "rays": lambda: chunk_rays(poses, reference, pipe.intrinsics, model.height, model.width),
        "transformer pass": forward,
        "VAE decode": lambda: pipe.decode_latents(latents),
        "VAE encode": lambda: pipe.start_history(case.start.frames, case.start.state),
        "prompt": lambda: pipe.encode_prompts(case.start.prompt, "", guided=settings.guided),
        "whole chunk": lambda: pipe.play_chunk(state, actions, prompts, settings),
    }
    milliseconds = {name: 1000 * _median_seconds(part, repeats) for name, part in parts.items()}
    with FlopCounterMode(display=False) as counter:
        forward()
    return {
        **sizes,
        "steps": settings.num_inference_steps,
        "guidance": settings.guidance_scale,
        "transformer_parameters": sum(p.numel() for p in pipe.transformer.parameters()),
        "transformer_flop": counter.get_total_flops(),
        "milliseconds": milliseconds,
        "frames_per_second": 1000 * model.chunk_frames / milliseconds["whole chunk"],
    }


def _transformer_pass(model: PipelineModel, case: Case) -> Callable[[], Tensor]:
    """One pass as in sampling, without guidance."""
    pipe, history = model.pipe, model.state.history
    embeds, mask, pooled = model.prompts.positive
    rays = chunk_rays(case.poses[0], case.start.poses[-1], pipe.intrinsics, model.height, model.width)[None]
    past: dict[str, Any] = {"num_history_latents": history.num_latents}
    if pipe.transformer.config.history_rays == "true":
        own = torch.from_numpy(case.start.poses[None])
        past = {"history_rays": [plucker_rays(own, pipe.intrinsics, model.height, model.width)]}
    action_embeds = pipe.transformer.encode_actions(rays, **past)
    positions = pipe.transformer.locate_tokens(rays, history_rays=past.get("history_rays", ()))
    shape = (1, *history.clips[0].shape[1:2], pipe.num_chunk_latents, *history.clips[0].shape[3:])
    inputs = model_input(torch.randn(shape, generator=torch.Generator().manual_seed(0)), history)
    timestep = torch.tensor([500.0])

    def forward() -> Tensor:
        with nullcontext() if pipe.autocast_dtype is None else torch.autocast("cpu", pipe.autocast_dtype):
            output = pipe.transformer(
                *(inputs, timestep, embeds, mask, pooled),
                action_embeds=action_embeds,
                positions=positions,
                return_dict=False,
            )
        velocity: Tensor = output[0]
        return velocity

    return forward


def main(arguments: list[str] | None = None) -> int:
    """Measure, print a table, and write the figures as JSON if asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", metavar="FOLDER", help="default: the embedded model")
    parser.add_argument("--steps", type=int, help="denoising steps; default: the model's")
    parser.add_argument("--guidance", type=float, help="guidance scale; default: the model's")
    parser.add_argument(
        "--dtype", choices=("auto", *_PEAKS), default="auto", help="default: what this machine is quicker at"
    )
    parser.add_argument("--repeats", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--threads", type=int, help="default: all cores")
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON file to write")
    args = parser.parse_args(arguments)
    try:
        for name in ("repeats", "threads"):
            if getattr(args, name) is not None and getattr(args, name) < 1:
                raise InputError(f"{name} is {getattr(args, name)}, expected at least 1")
        torch.set_num_threads(args.threads or os.cpu_count() or 1)
        pipe = load_pipeline(args.model, runtime=Runtime(device="cpu", dtype=args.dtype))
        figures = measure(pipe, steps=args.steps, guidance=args.guidance, repeats=args.repeats)
    except GameCraftError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    dtype = "bf16" if compute_dtype(args.dtype) == torch.bfloat16 else "fp32"
    peaks = {name: matmul_peak(COMPUTE_DTYPES[name]) for name in _PEAKS}
    reached = figures["transformer_flop"] / (figures["milliseconds"]["transformer pass"] / 1000)
    report = {
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "system": platform.platform(),
        },
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "command": shlex.join([Path(sys.argv[0]).name, *(sys.argv[1:] if arguments is None else arguments)]),
        "seed": 0,
        "dtype": dtype,
        "matmul_peak_flops": peaks,
        "share_of_peak": reached / peaks[dtype],
        **figures,
    }
    print(_table(report))
    if args.output is not None:
        with write_atomically(args.output) as temporary:
            temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


def _table(report: dict[str, Any]) -> str:
    machine = report["machine"]
    lines = [
        f"{machine['processor']}, {machine['threads']} threads, torch {report['versions']['torch']}, {report['dtype']}",
        f"{report['width']}x{report['height']} pixels, {report['chunk_frames']} frames a chunk, "
        f"{report['steps']} steps, guidance {report['guidance']:g}, "
        f"{report['transformer_parameters'] / 1e6:.1f} M transformer parameters",
        "",
        *(f"{name:<22}{value:10.1f} ms" for name, value in report["milliseconds"].items()),
        f"{'frames per second':<22}{report['frames_per_second']:10.1f}",
        "",
        *(
            f"{'matmul peak ' + name:<22}{peak / 1e9:10.0f} GFLOP/s"
            for name, peak in report["matmul_peak_flops"].items()
        ),
        f"{'transformer pass':<22}{report['transformer_flop'] / 1e9:10.2f} GFLOP, "
        f"{100 * report['share_of_peak']:.0f} % of the {report['dtype']} peak",
    ]
    return "\n".join(lines)


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _median_seconds(work: Callable[[], Any], repeats: int) -> float:
    work()  # warm up: first calls allocate and choose kernels
    return statistics.median(_seconds(work) for _ in range(repeats))


def _seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    raise SystemExit(main())
