"""What each stage found out, one JSON file per unit of work: FOLDER/STAGE/UNIT.json, whole or absent.

A result carries the fingerprint of everything it depends on: the stage's name, version and settings and the unit's
inputs. A stage is due for exactly those units whose fingerprint is not on disk, so that a run that was killed, changed
settings and added recordings all are the same case: run again what is due.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from gamecraft.files import write_atomically

__all__ = ["Result", "Stage", "Store", "Unit", "fingerprint"]

Result = dict[str, Any]
"""What a stage returns: plain JSON values. ``rejected``, if it is there and not None, is [reason, detail]."""


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A piece of work.

    Attributes:
        name: path-like and unique within the stage, such as ``village-1f/000144``.
        inputs: JSON values that the result depends on.
        place: where the input lies; results do not depend on it.
    """

    name: str
    inputs: dict[str, Any]
    place: str = ""


class Stage(Protocol):
    """A step of curation: a frozen dataclass whose fields are the step's settings."""

    name: ClassVar[str]
    version: ClassVar[int]

    def process(self, unit: Unit, store: "Store") -> Result:
        """The result of one unit, a function of the settings and the unit's inputs alone."""


class Store:
    """The results in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, stage: str, unit: str) -> Result | None:
        """A unit's result; None if there is none. A damaged file counts as none."""
        try:
            result = json.loads(self._path(stage, unit).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return result if isinstance(result, dict) else None

    def write(self, stage: str, unit: str, result: Result) -> None:
        """Keep a unit's result."""
        with write_atomically(self._path(stage, unit)) as temporary:
            temporary.write_text(json.dumps(result), encoding="utf-8")

    def forget(self, stage: str, unit: str) -> None:
        """Make a unit due again."""
        self._path(stage, unit).unlink(missing_ok=True)

    def finished(self, stage: Stage, unit: Unit) -> Result | None:
        """The result of a unit if it is there and still valid."""
        result = self.read(stage.name, unit.name)
        return result if result is not None and result.get("fingerprint") == fingerprint(stage, unit) else None

    def _path(self, stage: str, unit: str) -> Path:
        return self.folder / stage / f"{unit}.json"


def fingerprint(stage: Stage, unit: Unit) -> str:
    """16 hexadecimal digits that change with the stage's version, its settings and the unit's inputs."""
    settings = asdict(stage)  # type: ignore[call-overload]
    text = json.dumps([stage.name, stage.version, settings, unit.inputs], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
