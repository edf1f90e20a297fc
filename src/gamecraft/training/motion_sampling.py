"""Which clips are drawn: as they come, or evenly over kinds of motion and backwards too (section 3.3 of the paper).

Players walk forward most of the time. The kinds and the shares are those of `gamecraft.curation.balance`, which chooses
what a dataset holds; here the dataset stays whole and every epoch takes another choice of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from gamecraft.curation.balance import equal_shares, stratum
from gamecraft.errors import InputError
from gamecraft.evaluation.camera_motion import relative_motion
from gamecraft.training.latents import LatentDataset

__all__ = ["ClipOrder", "MotionSampling", "kinds_of_motion"]


@dataclass(frozen=True, kw_only=True)
class MotionSampling:
    """The defaults draw every recording equally often."""

    size: float | None = None
    """Clips in an epoch, as a share of the recordings; kinds of motion get equal shares as far as they have clips: the
    smaller, the more even. Without it an epoch has every clip."""
    reverse: bool = False
    """Draw clips played backwards as well, from the cache that `gamecraft encode --backwards` writes."""

    def __post_init__(self) -> None:
        if self.size is not None and not 0 < self.size <= 1 + self.reverse:
            raise InputError(f"motion.size is {self.size:g}, expected above 0 to {1 + self.reverse}")


def kinds_of_motion(dataset: LatentDataset) -> list[str]:
    """For each clip what its camera does from the first frame to the last, such as `forward left, turning right`."""
    tracks = [dataset.clip(number).poses for number in range(len(dataset))]
    motions = relative_motion(np.stack([poses[0] for poses in tracks]), np.stack([poses[-1] for poses in tracks]))
    return [stratum(motion.tolist()) for motion in motions]


class ClipOrder:
    """The order of clips, a pure function of the seed: every clip of an epoch once before any appears again.

    Args:
        datasets: the recordings and, to be drawn as well, the same backwards.
        settings: how to choose. seed: decides among equals.
    """

    def __init__(self, datasets: Sequence[LatentDataset], settings: MotionSampling, seed: int) -> None:
        self._pool = [(dataset, clip) for dataset in datasets for clip in range(len(dataset))]
        self._seed = seed
        self._shares: dict[str, int] | None = None
        self._kinds: list[str] = []
        if settings.size is not None:
            self._kinds = [kind for dataset in datasets for kind in kinds_of_motion(dataset)]
            available = {kind: self._kinds.count(kind) for kind in sorted(set(self._kinds))}
            self._shares = equal_shares(available, max(1, round(settings.size * len(datasets[0]))))
        self.epoch_size = sum(self._shares.values()) if self._shares else len(self._pool)
        self._epoch = lru_cache(maxsize=2)(self._choose)

    def clips(self, first: int, count: int) -> list[tuple[LatentDataset, int]]:
        """`count` clips, as (dataset, number), from place `first` of the endless order on."""
        places = range(first, first + count)
        return [self._pool[self._epoch(place // self.epoch_size)[place % self.epoch_size]] for place in places]

    def _choose(self, epoch: int) -> list[int]:
        order: list[int] = np.random.default_rng([self._seed, epoch]).permutation(len(self._pool)).tolist()
        if self._shares is None:
            return order
        left = dict(self._shares)
        chosen = []
        for place in order:
            kind = self._kinds[place]
            if left[kind]:
                left[kind] -= 1
                chosen.append(place)
        return chosen
