"""Memory and time of a chunk on a GPU you may not have, from counted operations and bytes."""

import argparse
import dataclasses

from gamecraft.commands.runtime_options import add_runtime_options, runtime_from
from gamecraft.errors import InputError
from gamecraft.runtime import Runtime

__all__ = ["add_arguments", "run"]

_GB = 1e9


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `gamecraft estimate`."""
    parser.add_argument("--model", default="13b", help="13b (default, the published one) or mini")
    parser.add_argument("--gpu", required=True, metavar="NAME", help="such as rtx4090, a100, h100")
    parser.add_argument("--gpus", type=int, metavar="N", help="GPUs that share a chunk; default: as many as it needs")
    parser.add_argument("--resolution", metavar="WIDTHxHEIGHT", help="pixels; default: the model's")
    parser.add_argument("--steps", type=int, metavar="N", help="denoising steps per chunk; default: the model's")
    parser.add_argument("--guidance", type=float, metavar="G", help="guidance scale, 1 is none; default: the model's")
    parser.add_argument(
        "--utilisation", type=float, metavar="U", help="share of the GPU's peak that is reached, 0 to 1; default: 0.45"
    )
    add_runtime_options(parser)


def run(args: argparse.Namespace) -> int:
    """Print the prediction and what it assumes."""
    runtime = _shared(runtime_from(args), args.gpus)

    from gamecraft.commands.quiet import quiet_libraries
    from gamecraft.devices import device_named
    from gamecraft.estimate import estimate
    from gamecraft.sizes import sizes_of

    quiet_libraries()
    device = device_named(args.gpu)
    if args.utilisation is not None:
        if not 0 < args.utilisation <= 1:
            raise InputError(f"--utilisation is {args.utilisation:g}, expected a number above 0 and up to 1")
        device = dataclasses.replace(device, utilisation=args.utilisation)
    model = sizes_of(args.model)
    width, height = _resolution(args.resolution) if args.resolution else (model.width, model.height)
    steps, guidance = (
        getattr(model, name) if (given := getattr(args, name)) is None else given for name in ("steps", "guidance")
    )
    if steps < 1:
        raise InputError(f"--steps is {steps}, expected at least 1")
    runtime.check_heads(model.transformer["num_attention_heads"])
    work = model.work(height, width, history=model.latents)
    found = estimate(work, runtime, device, steps=steps, guided=guidance > 1)
    needed, seconds = sum(found.memory.values()), sum(found.seconds.values())
    print(f"{args.model}, {model.frames} frames of {width}x{height}, {steps} steps, guidance {guidance:g}")
    if runtime.ranks > 1:
        print(f"on {runtime.ranks} GPUs, each with the whole model")
    verdict = _verdict(needed, device.memory_gb, runtime)
    print(f"\nmemory of a GPU     {needed / _GB:8.1f} GB of {device.memory_gb:g}: {verdict}")
    for name, value in found.memory.items():
        print(f"  {name:<18}{value / _GB:8.1f} GB")
    if found.offloaded:
        print(f"main memory         {found.offloaded / _GB:8.1f} GB, for weights that wait there")
    print(f"\na chunk             {_time(seconds):>11}, {model.frames / seconds:.2g} frames/s")
    for name, value in found.seconds.items():
        print(f"  {name:<18}{_time(value):>11}")
    if runtime.cache in ("first-block", "taylorseer"):
        print(f"  what the cache {runtime.cache} saves depends on the weights and is not counted")
    print(
        f"\ncounted: {work.transformer.flop / 1e12:.4g} TFLOP a pass, {work.vae.flop / 1e12:.4g} to decode; "
        f"weights {sum(part.weight_bytes for part in (work.transformer, work.vae, work.text)) / _GB:.2f} GB in bf16"
        f"\nassumed: {device.peak_tflops:g} TFLOP/s (datasheet) x {device.utilisation:g} used, "
        f"{device.transfer_gbs:g} GB/s to the GPU, {device.parallel_efficiency:g} of the gain of several GPUs, "
        f"{device.reserve_gb:g} GB reserve; encoding the prompt is left out. Never compared with a GPU yet."
    )
    return 0


def _resolution(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise InputError(f"--resolution is {text!r:.40}, expected WIDTHxHEIGHT such as 1216x704")
    return int(width), int(height)


def _shared(runtime: Runtime, gpus: int | None) -> Runtime:
    """The options with the tokens shared among ``gpus``, where they do not say it themselves."""
    if gpus is None:
        return runtime
    if not 1 <= gpus <= 1024:
        raise InputError(f"--gpus is {gpus}, expected 1 to 1024")
    if runtime.ulysses == runtime.ring == 1:
        runtime = dataclasses.replace(runtime, ulysses=max(1, gpus // runtime.ranks))
    if runtime.ranks != gpus:
        raise InputError(f"--gpus is {gpus}, but {runtime.sharing} needs {runtime.ranks}")
    return runtime


def _verdict(needed: float, memory_gb: float, runtime: Runtime) -> str:
    if needed <= memory_gb * _GB:
        return "fits"
    whole = runtime.offload in ("none", "model")
    return f"does not fit; try {'--runtime low-vram' if whole else 'a smaller --height and --width'}"


def _time(seconds: float) -> str:
    if seconds < 600:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
