"""Which recordings there are: files and folders become recordings with a name, or are left out with a reason."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from gamecraft.curation.raw import read_about
from gamecraft.curation.recording import content_hash, probe
from gamecraft.curation.store import Result, Store, Unit
from gamecraft.errors import InputError

__all__ = ["Recording", "Sources", "recording_units"]

_SUFFIXES = {".mp4", ".mkv", ".webm", ".mov", ".avi", ".flv", ".ts", ".m4v", ".mpg", ".mpeg", ".wmv", ".ogv"}


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Opens every recording once.

    Attributes:
        min_seconds: shorter recordings are left out, where the container knows its length.
    """

    name: ClassVar[str] = "sources"
    version: ClassVar[int] = 2

    min_seconds: float = 0.5

    def process(self, unit: Unit, store: Store) -> Result:
        """What the container and the file beside it say, and the content's hash."""
        path = Path(unit.place)
        try:
            found = probe(path)
            about = read_about(path)
            digest = content_hash(path)
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}") from None
        rejected = None
        if 0 < found.seconds < self.min_seconds:
            rejected = ["too short", f"{path} lasts {found.seconds:.2f} s, less than {self.min_seconds:g} s"]
        return {
            "path": str(path), "probe": asdict(found), "about": asdict(about), "sha256": digest, "rejected": rejected,
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A recording that will be curated.

    Attributes:
        name: from the file's name and content; stays when the file moves.
        probe, about: as the stage found them, see ``recording.Probe`` and ``raw.About``.
    """

    name: str
    path: Path
    sha256: str
    probe: dict[str, Any]
    about: dict[str, Any]


def recording_units(inputs: Iterable[str | Path]) -> list[Unit]:
    """One unit per file; a folder stands for the videos in it and below, in the order of their names.

    Raises:
        InputError: an input does not exist, or a folder holds no video.
    """
    units: dict[Path, Unit] = {}
    for given in map(Path, inputs):
        if not given.exists():
            raise InputError(f"no recording or folder at {given}")
        files = [given]
        if given.is_dir():
            files = sorted(p for p in given.rglob("*") if p.suffix.lower() in _SUFFIXES and not p.name.startswith("."))
            if not files:
                raise InputError(f"{given} holds no video ({', '.join(sorted(_SUFFIXES))})")
        for file in files:
            path = file.resolve()
            units[path] = Unit(name=_path_name(path), inputs=_state(path), place=str(path))
    return list(units.values())


def _state(path: Path) -> dict[str, Any]:
    """What tells that a file may have changed, without reading it."""
    about = path.with_suffix(".json")
    files = [path, about] if about.is_file() else [path]
    return {"state": [[file.stat().st_size, file.stat().st_mtime_ns] for file in files]}


def _path_name(path: Path) -> str:
    return f"{path.stem[:60]}-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
