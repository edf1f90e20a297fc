"""What this machine has, what is installed, and which preset fits, with the reason."""

import argparse
import importlib.util
import math
import os
import platform
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gamecraft.estimate import Estimate, Work

__all__ = ["add_arguments", "choose_preset", "run"]

_GB = 1e9
_PACKAGES = {
    "flash_attn": "attention flash",
    "sageattention": "attention sage",
    "xformers": "attention xformers",
    "kernels": "attention ..._hub",
    "torchao": "weights int8 and fp8-scaled",
    "peft": "LoRA",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `gamecraft doctor`."""
    parser.add_argument("--memory", type=float, metavar="GB", help="pretend that the GPU has so much")


def run(args: argparse.Namespace) -> int:
    """Print the findings; always successful."""
    import torch

    from gamecraft.commands.quiet import quiet_libraries
    from gamecraft.precision import compute_dtype
    from gamecraft.sizes import sizes_of

    quiet_libraries()
    print(f"python {platform.python_version()}, torch {torch.__version__}, {os.cpu_count()} cores, {platform.system()}")
    computes = "bfloat16" if compute_dtype("auto") == torch.bfloat16 else "float32: it has no bfloat16 instructions"
    print(f"the processor computes in {computes}")
    memory = _main_memory()
    print(f"main memory {memory / _GB:.0f} GB, free disk here {shutil.disk_usage(Path()).free / _GB:.0f} GB")
    gpus = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    for gpu in gpus:
        print(f"GPU {gpu.name}, {gpu.total_memory / _GB:.0f} GB")
    print("optional packages:")
    for package, purpose in _PACKAGES.items():
        there = "installed" if importlib.util.find_spec(package) else f"not installed: pip install {package}"
        print(f"  {purpose:<28} {there}")
    room = args.memory * _GB if args.memory else min((float(gpu.total_memory) for gpu in gpus), default=0.0)
    model = sizes_of("13b")
    work = model.work(model.height, model.width, history=model.latents)
    print("\nembedded model: runs anywhere, as it is")
    if not room:
        stored = work.transformer.weight_bytes - work.transformer.quantisable_bytes / 2
        print(
            f"published 13B model: no GPU. On the CPU its transformer takes {stored / _GB:.0f} GB with --weights fp8, "
            f"and a chunk of {model.width}x{model.height} {2 * model.steps} passes of "
            f"{work.transformer.flop / 1e12:.0f} TFLOP, which are hours each"
        )
        return 0
    print(f"published 13B model, {model.frames} frames of {model.width}x{model.height} with guidance, by counting:")
    name, needs = choose_preset(work, room, memory)
    for preset, found in needs.items():
        needed = f"{sum(found.memory.values()) / _GB:5.1f} GB of {room / _GB:.1f}"
        main = f" and {found.offloaded / _GB:.1f} GB of {memory / _GB:.1f} main memory" if found.offloaded else ""
        print(f"  --runtime {preset:<10} needs {needed}{main}{'  <- use this' if preset == name else ''}")
    if name is None:
        print("no preset fits; a smaller --height and --width need less of the GPU")
    return 0


def choose_preset(work: "Work", room: float, main: float = math.inf) -> tuple[str | None, "dict[str, Estimate]"]:
    """The first preset, from the one that wants most, that fits.

    Args:
        room, main: bytes of a GPU, and of main memory.

    Returns:
        its name, or None, and what each of them needs.
    """
    from gamecraft.estimate import Assumptions, estimate
    from gamecraft.runtime import PRESETS, Runtime

    device = Assumptions(peak_tflops=1.0, memory_gb=room / _GB)  # only the memory is asked for
    needs = {name: estimate(work, Runtime.preset(name), device, steps=1, guided=True) for name in PRESETS}
    fitting = [name for name, each in needs.items() if sum(each.memory.values()) <= room and each.offloaded <= main]
    return next(iter(fitting), None), needs


def _main_memory() -> float:
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")) if hasattr(os, "sysconf") else 0.0
