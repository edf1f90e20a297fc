"""Convert a published weights folder into a folder for GameCraftPipeline.from_pretrained, or back.

An interrupted conversion continues with the same command.
"""

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from gamecraft.errors import InputError

if TYPE_CHECKING:
    from gamecraft.conversion.plan import Options, Plan

__all__ = ["add_arguments", "parse_size", "run"]

UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `gamecraft convert`."""
    parser.add_argument("source", type=Path, metavar="SOURCE", help="the folder to convert")
    parser.add_argument("dest", type=Path, metavar="DEST", help="the folder to write; new, or begun before")
    parser.add_argument(
        "--to", choices=("diffusers", "official"), default="diffusers", help="layout of DEST; default: %(default)s"
    )
    parser.add_argument("--variant", choices=("standard", "distilled"), help="which transformer, if SOURCE has both")
    parser.add_argument(
        "--weights",
        choices=("module", "ema"),
        default="module",
        help="which entry of the .pt file; default: %(default)s",
    )
    parser.add_argument(
        "--dtype", choices=("bf16", "fp16", "fp32"), help="type of the weights written; default: as stored"
    )
    parser.add_argument(
        "--quantize", choices=("fp8",), help="store the matrices of the transformer's blocks in one byte each"
    )
    parser.add_argument("--max-shard-size", default="5GB", metavar="SIZE", help="largest file; default: %(default)s")
    parser.add_argument(
        "--rope-axes",
        type=int,
        nargs=3,
        default=(16, 56, 56),
        metavar=("TIME", "ROW", "COLUMN"),
        help="rotary dimensions of a model other than the released ones",
    )


def run(args: argparse.Namespace) -> int:
    """Convert with a progress bar; returns the exit code.

    Raises:
        GameCraftError: an option or the source is not valid, or there is too little room.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from gamecraft.commands.quiet import quiet_libraries
    from gamecraft.conversion.folder import run_plan

    quiet_libraries()
    options = _options(args)
    plan = _plan(args, options)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    bar = Progress(*columns, console=Console(stderr=True))
    task = bar.add_task("checking what is there")

    def show(done: int, total: int, file: Path) -> None:
        bar.start()  # not before, so that what is refused is one line
        bar.update(task, completed=done, total=total, description=str(file.relative_to(args.dest)))

    try:
        run_plan(plan, args.dest, options, show)
    finally:
        if bar.live.is_started:
            bar.stop()
    print(f"{args.dest}: {len(plan.files)} weight files, {sum(file.nbytes for file in plan.files) / 1e9:.2f} GB")
    return 0


def _options(args: argparse.Namespace) -> "Options":
    import torch

    from gamecraft.conversion.plan import Options

    dtypes = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
    if args.quantize and args.to == "official":
        raise InputError("--quantize has no published form; leave it out with --to official")
    return Options(
        dtype=dtypes[args.dtype] if args.dtype else None,
        max_shard_bytes=parse_size(args.max_shard_size),
        fp8=args.quantize == "fp8",
    )


def _plan(args: argparse.Namespace, options: "Options") -> "Plan":
    if args.to == "official":
        from gamecraft.conversion.to_official import plan_to_official

        return plan_to_official(args.source, args.dest, options, variant=args.variant)
    from gamecraft.conversion.from_official import plan_from_official

    return plan_from_official(
        args.source,
        args.dest,
        options,
        variant=args.variant,
        weights=args.weights,
        rope_axes_dim=tuple(args.rope_axes),
    )


def parse_size(text: str) -> int:
    """A size such as ``5GB``, ``500 MB`` or ``2GiB`` in bytes.

    Raises:
        InputError: it is not one, or not above zero.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)", text.strip())
    size = int(float(found[1]) * UNITS.get(found[2].upper(), 0)) if found else 0
    if size < 1:
        raise InputError(f"the size is {text!r}; expected a number above 0 and {', '.join(UNITS)}, like 5GB")
    return size
