"""Everything that curation can be told: the settings of each stage."""

from dataclasses import dataclass, field

from gamecraft.curation.borders import Borders
from gamecraft.curation.duplicates import Duplicates
from gamecraft.curation.measure import Measure
from gamecraft.curation.picture import Picture
from gamecraft.curation.scenes import Scenes
from gamecraft.curation.sources import Sources
from gamecraft.curation.split import Split
from gamecraft.curation.text_screens import TextScreens
from gamecraft.intrinsics import Intrinsics

__all__ = ["CurationSettings"]


@dataclass(frozen=True, kw_only=True)
class CurationSettings:
    """Settings by stage, in the order in which the stages run.

    Attributes:
        lens: of the finished clips, whatever their recording's was.
        assumed_fx: focal length, in picture widths, of recordings of which nobody knows it; 0.5 is 90 degrees across.
    """

    lens: Intrinsics = field(default_factory=Intrinsics)
    assumed_fx: float = Intrinsics().fx

    sources: Sources = field(default_factory=Sources)
    measure: Measure = field(default_factory=Measure)
    scenes: Scenes = field(default_factory=Scenes)
    split: Split = field(default_factory=Split)
    picture: Picture = field(default_factory=Picture)
    borders: Borders = field(default_factory=Borders)
    text: TextScreens = field(default_factory=TextScreens)
    duplicates: Duplicates = field(default_factory=Duplicates)
