"""Seventh stage: clips that show the same as an earlier one, told by their perceptual hashes."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gamecraft.contact_sheet import sample_frames
from gamecraft.curation.phash import hash_bytes, hash_distances
from gamecraft.curation.store import Result, Store, Unit

__all__ = ["Duplicates", "clip_hashes"]

_SAMPLES = 8
# Where a scene starts decides where its clips start, by a frame or two; in fast motion that is another picture.
_LAGS = (0, -2, -1, 1, 2)


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """Keeps the first of clips that are alike, in the order of their names.

    Attributes:
        bits: two clips are alike if their frames' hashes differ in at most so many of 64 bits on average.
    """

    name: ClassVar[str] = "duplicates"
    version: ClassVar[int] = 2

    bits: float = 6.0

    def process(self, unit: Unit, store: Store) -> Result:
        """``rejected``: for each clip that is like an earlier one [reason, detail]."""
        kept: list[str] = []
        known = np.empty((len(unit.inputs["clips"]), len(_LAGS), _SAMPLES, 8), np.uint8)
        rejected = {}
        for name, hashes in unit.inputs["clips"].items():
            own = hash_bytes(hashes).reshape(known.shape[1:])
            distances = hash_distances(own[0], known[: len(kept)]).mean(axis=2).min(axis=1)
            if kept and distances.min() <= self.bits:
                first = int(distances.argmin())
                rejected[name] = ["duplicate", f"like {kept[first]}, {distances[first]:.1f} bits of 64 apart"]
            else:
                known[len(kept)] = own
                kept.append(name)
        return {"clips": rejected}


def clip_hashes(hashes: list[str], first: int, frames: int) -> list[str]:
    """The hashes of a clip's sampled frames, and of those a frame or two earlier and later, from its recording's."""
    places = sample_frames(frames, _SAMPLES)
    # A clip of few frames repeats some, so that all clips have equally many.
    wanted = [first + places[i * len(places) // _SAMPLES] for i in range(_SAMPLES)]
    return [hashes[min(max(place + lag, 0), len(hashes) - 1)] for lag in _LAGS for place in wanted]
