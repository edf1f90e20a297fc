"""Memory and time of a chunk on a GPU you may not have, from counted operations and bytes."""

import argparse
import dataclasses

from gamecraft.commands.runtime_options import add_runtime_options, runtime_from
from gamecraft.errors import InputError

__all__ = ["add_arguments", "run"]

_GB = 1e9


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `gamecraft estimate`."""
    parser.add_argument("--model", default="13b", help="13b (default, the published one) or mini")
    parser.add_argument("--gpu", required=True, metavar="NAME", help="such as rtx4090, a100, h100")
    parser.add_argument("--gpus", type=int, default=1, metavar="N", help="GPUs that share the tokens; default: 1")
    parser.add_argument("--height", type=int, metavar="PIXELS", help="default: the model's")
    parser.add_argument("--width", type=int, metavar="PIXELS", help="default: the model's")
    parser.add_argument("--steps", type=int, metavar="N", help="denoising steps per chunk; default: the model's")
    parser.add_argument("--guidance", type=float, metavar="G", help="guidance scale, 1 is none; default: the model's")
    parser.add_argument(
        "--utilisation", type=float, metavar="U", help="share of the GPU's peak that is reached, 0 to 1; default: 0.45"
    )
    add_runtime_options(parser)


def run(args: argparse.Namespace) -> int:
    """Print the prediction and what it assumes."""
    if not 1 <= args.gpus <= 1024:
        raise InputError(f"--gpus is {args.gpus}, expected 1 to 1024")
    runtime = runtime_from(args, ulysses=args.gpus)

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
    width, height, steps, guidance = (
        getattr(model, name) if (given := getattr(args, name)) is None else given
        for name in ("width", "height", "steps", "guidance")
    )
    if steps < 1:
        raise InputError(f"--steps is {steps}, expected at least 1")
    work = model.work(height, width, history=model.latents)
    found = estimate(work, runtime, device, steps=steps, guided=guidance > 1)
    needed, seconds = sum(found.memory.values()), sum(found.seconds.values())
    print(f"{args.model}, {model.frames} frames of {width}x{height}, {steps} steps, guidance {guidance:g}")
    print(f"\nmemory of one GPU   {needed / _GB:8.1f} GB of {device.memory_gb:g}: {_verdict(needed, device.memory_gb)}")
    for name, value in found.memory.items():
        print(f"  {name:<18}{value / _GB:8.3g} GB")
    print(f"\na chunk             {seconds:8.3g} s, {model.frames / seconds:.2g} frames/s")
    for name, value in found.seconds.items():
        print(f"  {name:<18}{value:8.3g} s")
    print(
        f"\ncounted: {work.transformer.flop / 1e12:.4g} TFLOP a pass, {work.vae.flop / 1e12:.4g} to decode; "
        f"weights {sum(part.weight_bytes for part in (work.transformer, work.vae, work.text)) / _GB:.2f} GB in bf16"
        f"\nassumed: {device.peak_tflops:g} TFLOP/s (datasheet) x {device.utilisation:g} used, "
        f"{device.transfer_gbs:g} GB/s to the GPU, {device.parallel_efficiency:g} of the gain of several GPUs, "
        f"{device.reserve_gb:g} GB reserve; encoding the prompt is left out. Never compared with a GPU yet."
    )
    return 0


def _verdict(needed: float, memory_gb: float) -> str:
    return "fits" if needed <= memory_gb * _GB else "does not fit; try --runtime low-vram"
