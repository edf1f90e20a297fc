"""The JSON file beside a generated video: all that is needed to make the same video again."""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gamecraft.errors import InputError
from gamecraft.files import write_atomically
from gamecraft.training.config import build_config

__all__ = ["GenerateSettings", "digest", "read_sidecar", "versions", "write_sidecar"]

_FORMAT, _VERSION = "gamecraft generation", 1


@dataclass(frozen=True, kw_only=True)
class GenerateSettings:
    """What decides about a generated video; None is the default, which depends on model and picture.

    Attributes:
        actions: the script.
        image: name of a gallery picture, or a file. video: a file, instead of an image.
        prompt, negative_prompt: a gallery picture has its caption as default prompt.
        model: folder; the embedded model if None.
        steps, guidance, seed, smoothing: see ``gamecraft.rollout.PlaySettings``.
        speed, turn: metres and degrees per frame, for keys to which the script gives no other.
        height, width: pixels.
    """

    actions: str
    image: str | None = None
    video: str | None = None
    prompt: str | None = None
    negative_prompt: str = ""
    model: str | None = None
    steps: int | None = None
    guidance: float | None = None
    seed: int = 0
    smoothing: float = 0.0
    speed: float | None = None
    turn: float | None = None
    height: int | None = None
    width: int | None = None


def write_sidecar(path: Path, settings: GenerateSettings, facts: Mapping[str, Any]) -> None:
    """Write settings and other JSON facts; the file is whole or absent."""
    values = {"format": _FORMAT, "version": _VERSION, "settings": asdict(settings), **facts}
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_sidecar(path: Path) -> tuple[GenerateSettings, dict[str, Any]]:
    """Settings and facts of a sidecar.

    Raises:
        InputError: the file is missing, damaged or something else.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(values, dict) or (values.pop("format", None), values.pop("version", None)) != (_FORMAT, _VERSION):
        raise InputError(f"{path} was not written by `gamecraft generate` (version {_VERSION})")
    settings = values.pop("settings", None)
    try:
        if not isinstance(settings, dict):
            raise InputError("it has no settings")
        return build_config(GenerateSettings, settings), values
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def versions() -> dict[str, str]:
    """Versions of what takes part in a generation."""
    packages = {name: version(name) for name in ("gamecraft", "torch", "diffusers", "transformers")}
    return {"python": platform.python_version(), **packages}


def digest(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
