"""Everything that curation can be told: the settings of each stage."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from gamecraft.curation.balance import Balance
from gamecraft.curation.borders import Borders
from gamecraft.curation.captions import Captions
from gamecraft.curation.checks import Checks
from gamecraft.curation.duplicates import Duplicates
from gamecraft.curation.focal import Focal
from gamecraft.curation.measure import Measure
from gamecraft.curation.picture import Picture
from gamecraft.curation.poses import Poses
from gamecraft.curation.scenes import Scenes
from gamecraft.curation.sources import Sources
from gamecraft.curation.split import Split
from gamecraft.curation.text_screens import TextScreens
from gamecraft.curation.write import Write
from gamecraft.errors import InputError
from gamecraft.intrinsics import Intrinsics
from gamecraft.training.config import apply_overrides, build_config

__all__ = ["CurationSettings", "load_settings"]


@dataclass(frozen=True, kw_only=True)
class CurationSettings:
    """Settings by stage, in the order in which the stages run.

    Attributes:
        lens: of the finished clips, whatever their recording's was.
        assumed_fx: focal length, in picture widths, where nobody knows it and clips do not tell; 0.5 is 90 degrees.
    """

    lens: Intrinsics = field(default_factory=Intrinsics)
    assumed_fx: float = Intrinsics().fx

    sources: Sources = field(default_factory=Sources)
    measure: Measure = field(default_factory=Measure)
    scenes: Scenes = field(default_factory=Scenes)
    split: Split = field(default_factory=Split)
    picture: Picture = field(default_factory=Picture)
    focal: Focal = field(default_factory=Focal)
    borders: Borders = field(default_factory=Borders)
    text: TextScreens = field(default_factory=TextScreens)
    checks: Checks = field(default_factory=Checks)
    duplicates: Duplicates = field(default_factory=Duplicates)
    poses: Poses = field(default_factory=Poses)
    captions: Captions = field(default_factory=Captions)
    balance: Balance = field(default_factory=Balance)
    write: Write = field(default_factory=Write)


def load_settings(file: Path | None = None, overrides: Sequence[str] = ()) -> CurationSettings:
    """Settings from a YAML file with one mapping per stage, changed by ``stage.name=value``.

    Raises:
        InputError: the file cannot be read, or a stage, name or value is not valid.
    """
    values: Any = {}
    if file is not None:
        try:
            values = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise InputError(f"cannot read the settings {file}: {error}") from None
        if not isinstance(values, dict):
            raise InputError(f"{file} must be a YAML mapping of stages, such as `scenes: {{ratio: 4}}`")
    return build_config(CurationSettings, apply_overrides(values, overrides))
