"""The options of a ``Runtime`` as flags, made from its fields, so that there is one list of them."""

import argparse
import dataclasses
from typing import Any

from gamecraft.runtime import PRESETS, Runtime

__all__ = ["add_runtime_options", "runtime_from"]

_PREFIX = "runtime_"
_METAVARS = {"device": "NAME", "offload_folder": "FOLDER"}


def add_runtime_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--runtime PRESET`` and a flag for each option; what is not given is not in the result."""
    group = parser.add_argument_group("running", "how the model is run; `gamecraft doctor` says what fits this machine")
    group.add_argument(
        "--runtime",
        dest=f"{_PREFIX}preset",
        choices=tuple(PRESETS),
        default=argparse.SUPPRESS,
        help="a preset, over which the other options win",
    )
    for option in dataclasses.fields(Runtime):
        settings: dict[str, Any] = {"dest": _PREFIX + option.name, "default": argparse.SUPPRESS}
        settings["help"] = option.metadata["help"]
        if isinstance(option.default, bool):
            settings["action"] = "store_true"
        elif option.metadata["choices"]:
            settings |= {"choices": option.metadata["choices"], "metavar": option.name.upper()}
            settings["help"] += ": " + ", ".join(option.metadata["choices"])
        elif isinstance(option.default, tuple):
            settings |= {"action": "append", "metavar": "FILE"}
            settings["help"] += "; may be repeated"
        else:
            settings |= {"type": type(option.default or ""), "metavar": _METAVARS.get(option.name, "N")}
        if option.default:
            settings["help"] += f"; default: {option.default}"
        group.add_argument("--" + option.name.replace("_", "-"), **settings)


def runtime_from(args: argparse.Namespace, **defaults: Any) -> Runtime:
    """The options that were given, over those of the preset, over ``defaults``.

    Raises:
        InputError: they exclude each other.
    """
    given = {name.removeprefix(_PREFIX): value for name, value in vars(args).items() if name.startswith(_PREFIX)}
    preset = PRESETS[given.pop("preset")] if "preset" in given else {}
    if "lora" in given:
        given["lora"] = tuple(given["lora"])
    return Runtime(**{**defaults, **preset, **given})
