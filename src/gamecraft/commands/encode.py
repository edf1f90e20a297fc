"""Encode a dataset's videos once, so that training the transformer reads latents; the same command continues."""

import argparse
from functools import partial

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `gamecraft encode`."""
    parser.add_argument("data", metavar="DATASET", help="dataset folder, as `gamecraft render` writes it")
    parser.add_argument("--autoencoder", required=True, metavar="FOLDER", help="the autoencoder's folder")
    parser.add_argument(
        "--name", required=True, metavar="NAME", help="name of the latents, which recipes give as `latents:`"
    )
    parser.add_argument(
        "--chunk-frames", type=int, default=9, metavar="N", help="frames of a chunk; default: %(default)s"
    )
    parser.add_argument(
        "--backwards",
        action="store_true",
        help="encode the clips played backwards, for recipes with `motion: {reverse}`",
    )


def run(args: argparse.Namespace) -> int:
    """Encode with a progress bar; returns the exit code."""
    from gamecraft.commands.progress import stage_progress
    from gamecraft.training.latents import encode_dataset
    from gamecraft.training.transformer_evaluation import load_autoencoder

    autoencoder = load_autoencoder(args.autoencoder)
    with stage_progress() as on_progress:
        encode_dataset(
            autoencoder,
            args.data,
            args.name,
            chunk_frames=args.chunk_frames,
            backwards=args.backwards,
            on_shard=partial(on_progress, "shards"),
        )
    print(f"{args.data}: latents {args.name}{'-backwards' if args.backwards else ''} are complete")
    return 0
