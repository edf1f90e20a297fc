"""Draw clips of a dataset into one picture: a row for each clip, with its caption and the keys held."""

import argparse
from pathlib import Path

from gamecraft.errors import InputError

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `gamecraft sheet`."""
    parser.add_argument(
        "dataset",
        type=Path,
        metavar="DATASET",
        help="dataset folder, as `gamecraft render` and `gamecraft curate` write it",
    )
    parser.add_argument("--output", type=Path, metavar="OUT.png", help="default: DATASET/sheet.png")
    parser.add_argument("--clips", type=int, default=8, metavar="N", help="clips shown; default: %(default)s")
    parser.add_argument("--frames", type=int, default=6, metavar="N", help="frames of each clip; default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """Draw; returns the exit code."""
    from gamecraft.actions import actions_from_json
    from gamecraft.contact_sheet import Cell, sample_frames, write_sheet
    from gamecraft.dataset import ClipDataset

    if args.clips < 1 or args.frames < 1:
        raise InputError(f"clips is {args.clips} and frames is {args.frames}, expected at least 1")
    dataset = ClipDataset(args.dataset)
    cells = []
    for number in sample_frames(len(dataset), args.clips):
        clip = dataset[number]
        frames, actions = clip.frames(), actions_from_json(clip.actions_json)
        for column, i in enumerate(sample_frames(len(frames), args.frames)):
            caption = clip.caption_short if column == 0 else f"frame {i}"
            cells.append(Cell(frame=frames[i], caption=f"{number}: {caption}", action=actions[i]))
    output = args.output or args.dataset / "sheet.png"
    write_sheet(output, cells, columns=args.frames)
    print(f"{output}: {len(cells)} pictures of {len(dataset)} clips")
    return 0
