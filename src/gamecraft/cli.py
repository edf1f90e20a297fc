"""The ``gamecraft`` command: a table of subcommands, of which only the one that is asked for is imported.

A command's module has ``add_arguments(parser)``, ``run(args) -> exit code``, and a docstring that its help shows.
Errors that a caller can cause become one line and exit code 2; anything else is a bug and shows its traceback.
"""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import NoReturn

from gamecraft import __version__
from gamecraft.commands.say import say
from gamecraft.errors import GameCraftError

__all__ = ["COMMANDS", "Command", "main"]


@dataclass(frozen=True)
class Command:
    """A subcommand: its module, one line of help, and examples."""

    module: str
    help: str
    examples: tuple[str, ...]


COMMANDS = {
    "play": Command(
        "gamecraft.commands.play",
        "play in the browser",
        (
            "gamecraft play",
            "gamecraft play --model models/gamecraft --device cuda --no-browser",
            "gamecraft play --host 0.0.0.0 --players 8",
        ),
    ),
    "serve": Command(
        "gamecraft.commands.serve",
        "serve players elsewhere, with several replicas if asked for",
        (
            "gamecraft serve --host 0.0.0.0 --players 8",
            "gamecraft serve --replicas 4 --model models/gamecraft --origin https://play.example.org",
        ),
    ),
    "generate": Command(
        "gamecraft.commands.generate",
        "a picture, a prompt and actions become a video",
        (
            'gamecraft generate --image village --actions "w 3s, left 1s, w+d 2s" --output village.mp4',
            'gamecraft generate --image photo.jpg --prompt "a harbour at dusk" --actions "3x(w 1s, right 12f)" '
            "--seed 7 --output harbour.mp4",
            'gamecraft generate --video clip.mp4 --actions "look:right 45deg over 1s, w 2s" --output on.mp4',
            "gamecraft generate --from village.json --output again.mp4",
            "gamecraft generate --resume --output village.mp4",
        ),
    ),
    "replay": Command(
        "gamecraft.commands.replay",
        "a session file becomes a video",
        (
            "gamecraft replay play.safetensors --output play.mp4",
            "gamecraft replay play.safetensors --verify",
        ),
    ),
    "world": Command(
        "gamecraft.commands.world",
        "play actions in a rendered low-poly world: the true video",
        (
            'gamecraft world --seed 5 --theme village --actions "w 2s, left 1s" --output truth.mp4',
            'gamecraft world --gallery harbour --actions "w 3s" --output truth.mp4',
        ),
    ),
    "gallery": Command(
        "gamecraft.commands.gallery",
        "list or export the start pictures",
        ("gamecraft gallery", "gamecraft gallery village snow --export pictures"),
    ),
    "render": Command(
        "gamecraft.commands.render",
        "record random play in rendered worlds as a dataset",
        (
            "gamecraft render --output data/train --worlds 2000 --processes 2",
            "gamecraft render --output data/heldout --worlds 60 --first-seed 1000000",
        ),
    ),
    "record": Command(
        "gamecraft.commands.record",
        "make raw recordings: Doom, rendered worlds, your own",
        (
            "gamecraft record --doom freedoom1/e1m1 freedoom2/map01 --seconds 300 --output raw",
            "gamecraft record --world 1 2 3 --seconds 60 --output raw",
            "gamecraft record --import session.mkv --inputs session.csv --output raw",
        ),
    ),
    "curate": Command(
        "gamecraft.commands.curate",
        "recordings become a training set",
        (
            "gamecraft curate raw --output data/mine --processes 2",
            "gamecraft curate session.mkv --output data/mine --frames 48 --set picture.luma=0.03",
            "gamecraft curate raw --output data/mine --ray",
            "gamecraft curate raw --output data/mine --captions endpoint --set captions.url=http://localhost:8000/v1 "
            "--set captions.model=qwen",
        ),
    ),
    "inspect": Command(
        "gamecraft.commands.inspect",
        "show one clip of a dataset with its annotation",
        ("gamecraft inspect data/mine 0", "gamecraft inspect data/mine 12 --output outputs --rerun"),
    ),
    "sheet": Command(
        "gamecraft.commands.sheet",
        "a picture with clips of a dataset",
        ("gamecraft sheet data/train --output train.png", "gamecraft sheet data/train --clips 12 --frames 8"),
    ),
    "encode": Command(
        "gamecraft.commands.encode",
        "encode a dataset's videos for training",
        ("gamecraft encode data/train --autoencoder runs/mini_vae/vae --name mini",),
    ),
    "train": Command(
        "gamecraft.training.cli",
        "train a part of a model from a recipe",
        (
            "gamecraft train --config recipes/mini_transformer.yaml",
            "gamecraft train --config recipes/mini_transformer.yaml --run runs/try --set max_steps=100",
        ),
    ),
    "distill": Command(
        "gamecraft.commands.distill",
        "make a trained transformer fast",
        ("gamecraft distill --config recipes/mini_consistency.yaml",),
    ),
    "package": Command(
        "gamecraft.commands.package",
        "trained parts become a model folder",
        (
            "gamecraft package --transformer runs/transformer/transformer --autoencoder runs/mini_vae/vae "
            "--text runs/text --depth runs/mini_depth/depth --output models/mine",
        ),
    ),
    "evaluate": Command(
        "gamecraft.evaluation.cli",
        "measure a model against ground truth",
        (
            "gamecraft evaluate --suite quick",
            "gamecraft evaluate --suite revisit --model models/mine --output outputs/mine --processes 2",
            "gamecraft evaluate --suite paper --export starts",
            "gamecraft evaluate --suite paper --model videos:starts",
            "gamecraft evaluate --suite play --data data/heldout --starts 24",
            "gamecraft evaluate --suite revisit --poses colmap mine/paths",
        ),
    ),
    "compare": Command(
        "gamecraft.evaluation.compare_cli",
        "which differences between two evaluations are significant",
        ("gamecraft compare outputs/a outputs/b",),
    ),
    "doctor": Command(
        "gamecraft.commands.doctor",
        "what this machine can run, and how",
        ("gamecraft doctor", "gamecraft doctor --memory 24"),
    ),
    "estimate": Command(
        "gamecraft.commands.estimate",
        "predict memory and time on a GPU you may not have",
        (
            "gamecraft estimate --gpu rtx4090 --runtime low-vram",
            "gamecraft estimate --gpu h100 --gpus 8 --steps 8 --guidance 1",
            "gamecraft estimate --model mini --gpu rtx3060 --resolution 320x192",
        ),
    ),
    "convert": Command(
        "gamecraft.conversion.cli",
        "published weights into a model folder, or back",
        (
            "gamecraft convert weights models/gamecraft --dtype bf16",
            "gamecraft convert weights models/fast --variant distilled --quantize fp8",
            "gamecraft convert models/gamecraft weights --to official",
        ),
    ),
}


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        say(f"{self.prog}: {message} (see {self.prog} --help)")
        self.exit(2)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line, by default that of the process; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        args = _parser(words).parse_args(words)
    except SystemExit as stop:  # argparse exits by itself after --help and after an error
        return int(stop.code or 0)
    try:
        code: int = import_module(COMMANDS[args.command].module).run(args)
    except GameCraftError as error:
        return _fail(args.command, _one_line(str(error)))
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _fail(args.command, f"{place}{error.strerror or error}")
    except KeyboardInterrupt:
        say(f"gamecraft {args.command}: stopped")
        return 130
    return code


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="gamecraft",
        description="A picture, a prompt and your keys become a game video.",
        epilog="gamecraft COMMAND --help explains a command, with examples. To begin: gamecraft play",
    )
    parser.add_argument("--version", action="version", version=f"gamecraft {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", title="commands")
    chosen = next((word for word in words if not word.startswith("-")), None)
    for name, command in COMMANDS.items():
        if name != chosen:
            subparsers.add_parser(name, help=command.help)
            continue
        module = import_module(command.module)
        own = subparsers.add_parser(
            name,
            help=command.help,
            description=module.__doc__,
            epilog="\n  ".join(["examples:", *command.examples]),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(own)
    return parser


def _fail(command: str, message: str) -> int:
    say(f"gamecraft {command}: {message}")
    return 2


def _one_line(message: str) -> str:
    """A message on one line; where it points at a place of a script with a caret, the script's words from there on."""
    lines = message.splitlines()
    if len(lines) > 2 and lines[-1].strip() == "^" and (place := lines[-2][lines[-1].index("^") :].strip()):
        lines = [*lines[:-2], f"at {place[:40]!r}"]
    elif len(lines) > 2 and lines[-1].strip() == "^":
        lines = lines[:-2]
    return re.sub(r"\s+", " ", " ".join(lines)).strip()
