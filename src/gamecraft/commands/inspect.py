"""Show one clip of a dataset with its annotation: numbers, a contact sheet, its path, a recording for rerun."""

import argparse
import json
from pathlib import Path

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `gamecraft inspect`."""
    parser.add_argument(
        "data", metavar="DATASET", help="dataset folder, as `gamecraft render` and `gamecraft curate` write it"
    )
    parser.add_argument("clip", type=int, metavar="CLIP", help="number of the clip, from 0")
    parser.add_argument(
        "--output", metavar="FOLDER", default="outputs", help="where the pictures go; default: %(default)s"
    )
    parser.add_argument("--rerun", action="store_true", help="also write a .rrd for the rerun viewer")


def run(args: argparse.Namespace) -> int:
    """Print the annotation and write the pictures; returns the exit code."""
    from gamecraft.actions import actions_from_json, format_script
    from gamecraft.contact_sheet import Cell, sample_frames, write_sheet
    from gamecraft.dataset import ClipDataset
    from gamecraft.errors import InputError
    from gamecraft.plots import plot_paths

    dataset = ClipDataset(args.data)
    if not 0 <= args.clip < len(dataset):
        raise InputError(f"{args.data} has clips 0 to {len(dataset) - 1}, there is no clip {args.clip}")
    clip = dataset[args.clip]
    frames, actions = clip.frames(), actions_from_json(clip.actions_json)
    base = Path(args.output) / f"clip{args.clip:06d}"
    print(f"{clip.path}: {clip.num_frames} frames {dataset.width}x{dataset.height} at {dataset.fps} per second")
    print(f"short    {clip.caption_short}\nlong     {clip.caption_long}\nactions  {format_script(actions)[:2000]}")
    for title, text in (("scores", clip.scores_json), ("from", clip.provenance_json)):
        for number, (name, value) in enumerate(json.loads(text).items()):
            print(f"{title if number == 0 else '':8s} {name}: {value}")
    cells = [
        Cell(frame=frames[number], caption=f"{number / dataset.fps:.2f} s", action=actions[number])
        for number in sample_frames(clip.num_frames, 15)
    ]
    write_sheet(base.with_suffix(".png"), cells)
    path = base.with_name(f"{base.name}_path.png")
    plot_paths({f"clip {args.clip}": clip.poses}, path)
    print(f"wrote    {base.with_suffix('.png')}, {path}")
    if args.rerun:
        from gamecraft.curation.rerun_file import write_rerun

        write_rerun(base.with_suffix(".rrd"), frames, clip.poses, dataset.intrinsics, dataset.fps)
        print(f"wrote    {base.with_suffix('.rrd')}")
    return 0
