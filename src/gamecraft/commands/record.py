"""Make raw recordings for `gamecraft curate`: random play with its true camera, or recordings that you bring."""

import argparse
from pathlib import Path

__all__ = ["add_arguments", "run"]

_HELP = {
    "seconds": "length of each recording",
    "fps": "frames per second",
    "width": "width in pixels",
    "height": "height in pixels",
    "seed": "of the random play",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `gamecraft record`."""
    from gamecraft.curation.record import RecordSettings

    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--doom", nargs="+", metavar="MAP", help="Freedoom maps, such as freedoom1/e1m1")
    source.add_argument("--world", nargs="+", type=int, metavar="SEED", help="seeds of low-poly worlds")
    source.add_argument("--import", dest="videos", nargs="+", metavar="VIDEO", help="videos of your own, copied")
    parser.add_argument("--output", required=True, metavar="FOLDER", help="where the recordings go")
    parser.add_argument("--theme", metavar="NAME", help="theme of the worlds; each seed's own by default")
    parser.add_argument("--hud", action="store_true", help="Doom with status bar and weapon")
    parser.add_argument("--inputs", metavar="CSV", help="the input log of the one imported video")
    for name, text in _HELP.items():
        default = getattr(RecordSettings, name)
        parser.add_argument(
            f"--{name}", type=type(default), default=default, metavar="N", help=f"{text}; default: %(default)g"
        )


def run(args: argparse.Namespace) -> int:
    """Record or import with a progress bar; returns the exit code."""
    from gamecraft.commands.progress import frame_progress
    from gamecraft.curation.record import RecordSettings, import_recording, record_doom, record_world
    from gamecraft.errors import InputError

    folder = Path(args.output)
    if args.inputs and (args.videos is None or len(args.videos) != 1):
        raise InputError("--inputs belongs to exactly one --import VIDEO")
    if args.videos:
        for video in args.videos:
            print(import_recording(folder, Path(video), Path(args.inputs) if args.inputs else None))
        return 0
    settings = RecordSettings(**{name: getattr(args, name) for name in _HELP}, hud=args.hud)
    sources = args.doom or args.world
    with frame_progress(settings.frames * len(sources)) as update:
        for number, source in enumerate(sources):

            def on_frame(done: int, before: int = number * settings.frames) -> None:
                update(before + done)

            if args.doom:
                print(record_doom(folder, source, settings, on_frame))
            else:
                print(record_world(folder, source, args.theme, settings, on_frame))
    return 0
