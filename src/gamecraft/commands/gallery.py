"""List the start pictures that come with the package, or copy them into a folder."""

import argparse
from pathlib import Path

from gamecraft.errors import InputError

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `gamecraft gallery`."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these pictures")
    parser.add_argument("--export", type=Path, metavar="FOLDER", help="copy the PNG files there")


def run(args: argparse.Namespace) -> int:
    """List or copy; returns the exit code."""
    from gamecraft.files import write_atomically
    from gamecraft.gallery import gallery

    known = gallery()
    if unknown := [name for name in args.names if name not in known]:
        raise InputError(f"there is no gallery picture {unknown[0]!r:.40}; the names are {', '.join(known)}")
    for name in args.names or known:
        picture = known[name]
        if args.export is None:
            print(f"{name:12} {picture.caption_long}")
            continue
        target = args.export / picture.path.name
        with write_atomically(target) as temporary:
            temporary.write_bytes(picture.path.read_bytes())
        print(target)
    return 0
