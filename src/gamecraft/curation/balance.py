"""Tenth stage: as many clips of every kind of motion as there are, by choice and by playing clips backwards.

Players walk forward most of the time. Clips are sorted into strata by their motion from the first frame to the last:
eight directions or none, times turning left, right or not. The strata then get equal shares, as far as they have clips;
a clip played backwards stands in another stratum than the clip itself.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from gamecraft.curation.store import Result, Store, Unit
from gamecraft.errors import InputError

__all__ = ["Balance", "equal_shares", "stratum"]

_STANDS = 0.5  # metres
_STRAIGHT = math.radians(15)
_NAMES = ("forward", "forward right", "right", "back right", "back", "back left", "left", "forward left")


@dataclass(frozen=True, kw_only=True)
class Balance:
    """Chooses clips.

    Attributes:
        size: clips to choose, as a share of the clips there are; with ``reverse`` it may be up to 2.
        reverse: whether clips may be played backwards as well.
        seed: decides among equals.
    """

    name: ClassVar[str] = "balance"
    version: ClassVar[int] = 1

    size: float = 1.0
    reverse: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.size <= 1 + self.reverse:
            raise InputError(f"balance.size is {self.size:g}, expected above 0 to {1 + self.reverse}")

    def process(self, unit: Unit, store: Store) -> Result:
        """``clips``: [name, backwards] of each chosen one; how many of each stratum there were and are.

        The unit's inputs are the motions (right, down, forward in metres, yaw, pitch in radians), forth and back.
        """
        forth: Mapping[str, Sequence[float]] = unit.inputs["forth"]
        strata: dict[str, list[tuple[str, bool]]] = {}
        for name, motion in forth.items():
            strata.setdefault(stratum(motion), []).append((name, False))
        before = {name: len(clips) for name, clips in strata.items()}
        for name in forth if self.reverse else ():
            strata.setdefault(stratum(unit.inputs["back"][name]), []).append((name, True))
        shares = equal_shares({name: len(clips) for name, clips in strata.items()}, round(self.size * len(forth)))
        chosen = [clip for name, clips in strata.items() for clip in sorted(clips, key=self._rank)[: shares[name]]]
        after = Counter({name: share for name, share in shares.items() if share})
        return {"clips": sorted(chosen), "before": before, "after": dict(after)}

    def _rank(self, clip: tuple[str, bool]) -> tuple[bool, str]:
        """Clips as they were recorded first, otherwise in an order that neither their names nor their number decide."""
        return clip[1], hashlib.sha256(f"{self.seed} {clip[0]}".encode()).hexdigest()


def stratum(motion: Sequence[float]) -> str:
    """The kind of motion, such as ``forward left, turning right``.

    Args:
        motion: metres right, down and forward and radians of yaw and pitch from the first frame to the last.
    """
    right, _, forward, yaw, _ = motion
    moved = "standing"
    if math.hypot(right, forward) >= _STANDS:
        moved = _NAMES[round(math.atan2(right, forward) / (math.pi / 4)) % 8]
    turned = "straight" if abs(yaw) < _STRAIGHT else "turning right" if yaw > 0 else "turning left"
    return f"{moved}, {turned}"


def equal_shares(available: Mapping[str, int], total: int) -> dict[str, int]:
    """How many to take of each kind so that ``total`` are taken and the smallest shares are as large as they can be."""
    shares: dict[str, Any] = dict.fromkeys(available, 0)
    left = min(total, sum(available.values()))
    for place, (name, count) in enumerate(sorted(available.items(), key=lambda item: (item[1], item[0]))):
        shares[name] = min(count, left // (len(available) - place))
        left -= shares[name]
    return shares
