"""Put trained parts together as a model folder, which `--model` and `load_pipeline` take."""

import argparse
from pathlib import Path

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `gamecraft package`."""
    for name, text in (
        ("transformer", "transformer folder"),
        ("autoencoder", "autoencoder folder"),
        ("text", "folder with both text encoders and tokenizers"),
        ("output", "the folder to write, a new one"),
    ):
        parser.add_argument(f"--{name}", required=True, type=Path, metavar="FOLDER", help=text)
    parser.add_argument(
        "--depth", type=Path, metavar="FOLDER", help="depth estimator, for a transformer trained with a scene memory"
    )
    parser.add_argument("--refiner", type=Path, metavar="FOLDER", help="refiner of decoded frames, beside --depth")
    parser.add_argument("--dtype", choices=("fp16", "bf16", "fp32"), default="fp16", help="default: %(default)s")
    for name, kind, text in (
        ("shift", float, "shift of the noise schedule"),
        ("steps", int, "default number of denoising steps"),
        ("guidance", float, "default guidance scale"),
    ):
        parser.add_argument(
            f"--{name}",
            type=kind,
            metavar="N" if kind is int else name[0].upper(),
            help=f"{text}; default: what the transformer was trained for",
        )
    parser.add_argument(
        "--history-clips", type=int, default=1, metavar="N", help="past chunks seen; default: %(default)s"
    )


def run(args: argparse.Namespace) -> int:
    """Assemble; returns the exit code."""
    import torch

    from gamecraft.assembly import assemble
    from gamecraft.commands.quiet import quiet_libraries

    quiet_libraries()
    dtypes = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
    chosen = {"num_inference_steps": args.steps, "guidance_scale": args.guidance}
    assemble(
        args.transformer,
        args.autoencoder,
        args.text,
        args.output,
        depth=args.depth,
        refiner=args.refiner,
        dtype=dtypes[args.dtype],
        shift=args.shift,
        history_clips=args.history_clips,
        **{name: value for name, value in chosen.items() if value is not None},
    )
    size = sum(file.stat().st_size for file in args.output.rglob("*") if file.is_file())
    print(f"{args.output}: {size / 1e6:.1f} MB")
    return 0
