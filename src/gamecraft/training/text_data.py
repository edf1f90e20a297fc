"""Captions to train the text encoders on: pairs of independently worded captions of low-poly worlds."""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from gamecraft.worlds.builder import build_scene
from gamecraft.worlds.captions import captions
from gamecraft.worlds.themes import THEMES

__all__ = ["CaptionPair", "Description", "caption_pair", "caption_pairs", "describe_worlds"]

Description = dict[str, str]

_EXCHANGEABLE = ("time", "weather", "palette")
"""What another world can lend to a description without contradicting its theme and features."""


@dataclass(frozen=True, kw_only=True)
class CaptionPair:
    """A short and a long caption of one world, and a long one that is worded independently."""

    theme: int
    """Index of the theme among all."""
    short: str
    long: str
    other_long: str


def describe_worlds(seeds: Iterable[int]) -> list[Description]:
    """The descriptions of the worlds with these seeds, which takes about 25 ms each."""
    return [build_scene(seed).description for seed in seeds]


def caption_pair(description: Description, wording: int) -> CaptionPair:
    """Captions of a world; `wording` seeds both wordings."""
    short, long = captions(description, 2 * wording)
    _, other_long = captions(description, 2 * wording + 1)
    theme = list(THEMES).index(description["theme"])
    return CaptionPair(theme=theme, short=short, long=long, other_long=other_long)


def caption_pairs(descriptions: Sequence[Description], count: int, seed: int) -> Iterator[CaptionPair]:
    """`count` caption pairs of worlds drawn at random.

    Time, weather and palette are each exchanged with another world's half of the time, so that the encoders also
    learn combinations the worlds do not have (a village at night) and cannot guess one property from another.
    """
    rng = random.Random(seed)
    for _ in range(count):
        description = dict(rng.choice(descriptions))
        for key in _EXCHANGEABLE:
            if rng.random() < 0.5:
                description[key] = rng.choice(descriptions)[key]
        yield caption_pair(description, rng.getrandbits(48))
