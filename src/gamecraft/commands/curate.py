"""Make a training set of recordings: split, filter, annotate, balance, write. The same command continues."""

import argparse
import json
import shutil
from dataclasses import fields
from pathlib import Path

__all__ = ["add_arguments", "run"]

_SHORTCUTS = {
    "fps": ("measure.fps", int, "frames per second of the clips; default: 24"),
    "frames": ("split.frames", int, "frames of a clip; default: 144"),
    "width": ("write.width", int, "of the clips, in pixels; default: 160"),
    "height": ("write.height", int, "of the clips, in pixels; default: 96"),
    "poses": ("poses.source", str, "sfm, recorded or module:function; default: sfm"),
    "captions": ("captions.source", str, "template, transformers, endpoint or module:function; default: template"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `gamecraft curate`."""
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="videos, or folders of videos")
    parser.add_argument("--output", required=True, metavar="DATASET", help="dataset folder, new or begun before")
    parser.add_argument("--config", metavar="YAML", help="settings by stage, such as `scenes: {ratio: 4}`")
    parser.add_argument(
        "--set", action="append", default=[], metavar="STAGE.NAME=VALUE", help="one setting; may be repeated"
    )
    parser.add_argument("--redo", nargs="+", default=[], metavar="STAGE", help="do these stages again in any case")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--ray", nargs="?", const="auto", metavar="ADDRESS",
        help="on a Ray cluster instead: its address, or `local`; without one, the cluster of this machine",
    )  # fmt: skip
    for name, (key, kind, text) in _SHORTCUTS.items():
        shape = "N" if kind is int else "SOURCE"
        parser.add_argument(f"--{name}", type=kind, metavar=shape, help=f"{text} (--set {key}=...)")


def run(args: argparse.Namespace) -> int:
    """Curate with a progress bar per stage; returns the exit code."""
    from gamecraft.commands.progress import stage_progress
    from gamecraft.curation.curate import curate
    from gamecraft.curation.settings import load_settings
    from gamecraft.errors import InputError

    given = {key: getattr(args, name) for name, (key, _, _) in _SHORTCUTS.items()}
    overrides = [f"{key}={json.dumps(value)}" for key, value in given.items() if value is not None]
    settings = load_settings(Path(args.config) if args.config else None, [*overrides, *args.set])
    output = Path(args.output)
    known = [field.name for field in fields(settings) if hasattr(getattr(settings, field.name), "process")]
    for stage in args.redo:
        if stage not in known:
            raise InputError(f"no stage {stage!r} to redo; the stages are {', '.join(known)}")
        shutil.rmtree(output / "curation" / stage, ignore_errors=True)
    with stage_progress() as on_progress:
        count = curate(args.inputs, output, settings, processes=args.processes, ray=args.ray, on_progress=on_progress)
    print(f"{output}: {count} clips of {settings.split.frames} frames; see {output / 'curation' / 'report.html'}")
    return 0
