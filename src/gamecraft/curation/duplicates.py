"""Seventh stage: clips that show the same as an earlier one, told by their perceptual hashes."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gamecraft.contact_sheet import sample_frames
from gamecraft.curation.phash import hash_bytes, hash_distances
from gamecraft.curation.store import Result, Store, Unit

__all__ = ["Duplicates", "clip_hashes"]

_SAMPLES = 8


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """Keeps the first of clips that are alike, in the order of their names.

    Attributes:
        bits: two clips are alike if their frames' hashes differ in at most so many of 64 bits on average.
    """

    name: ClassVar[str] = "duplicates"
    version: ClassVar[int] = 1

    bits: float = 6.0

    def process(self, unit: Unit, store: Store) -> Result:
        """``rejected``: for each clip that is like an earlier one [reason, detail]."""
        kept: list[str] = []
        known = np.empty((len(unit.inputs["clips"]), _SAMPLES, 8), np.uint8)
        rejected = {}
        for name, hashes in unit.inputs["clips"].items():
            own = hash_bytes(hashes)
            distances = hash_distances(own, known[: len(kept)]).mean(axis=1)
            if kept and distances.min() <= self.bits:
                first = int(distances.argmin())
                rejected[name] = ["duplicate", f"like {kept[first]}, {distances[first]:.1f} bits of 64 apart"]
            else:
                known[len(kept)] = own
                kept.append(name)
        return {"clips": rejected}


def clip_hashes(hashes: list[str], first: int, frames: int) -> list[str]:
    """The hashes of a clip's sampled frames, from those of all frames of its recording."""
    places = sample_frames(frames, _SAMPLES)
    # A clip of few frames repeats some, so that all clips have equally many.
    return [hashes[first + places[i * len(places) // _SAMPLES]] for i in range(_SAMPLES)]
