"""Captions to train the text encoders on: two wordings of each of many random worlds, by world seed."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gamecraft.worlds.captions import captions

__all__ = ["HELD_OUT_WORLDS", "THEMES", "WORLDS", "CaptionPair", "caption_pair", "caption_pairs", "random_description"]

WORLDS = range(1_000_000)
"""World seeds for training; `HELD_OUT_WORLDS` are those for measuring."""
HELD_OUT_WORLDS = range(1_000_000, 2_000_000)

THEMES = (
    *("village", "temple", "forest", "snow", "desert", "night_town"),
    *("canyon", "harbour", "meadow", "islands", "ruins", "autumn"),
)
_TIMES = ("morning", "noon", "dusk", "night")
_WEATHERS = ("clear", "hazy", "foggy", "overcast")
_GROUNDS = ("grass", "sand", "snow", "stone", "earth", "rock", "water", "fallen leaves", "cobblestones", "ice", "moss")
_PALETTES = ("warm", "cool", "muted", "vivid")
_DENSITIES = ("sparse", "moderate", "dense")
_FEATURES = (
    *("windmill", "well", "market stalls", "boats", "clouds", "torii gates", "columns", "cacti", "igloos", "lanterns"),
    *("mesas", "bridge", "lighthouse", "obelisk", "pumpkins", "palm trees", "houses", "pine trees", "fences", "tower"),
    *("rocks", "flowers", "birds", "street lamps", "arches", "pagoda", "tents", "snowmen", "crates", "mushrooms"),
)


@dataclass(frozen=True, kw_only=True)
class CaptionPair:
    """Two independently worded captions of one world."""

    theme: int
    """Index into `THEMES`."""
    short: str
    long: str
    other_short: str
    other_long: str


def random_description(seed: int) -> dict[str, str]:
    """A world description with every key `captions` knows, drawn uniformly; a function of `seed` alone."""
    rng = random.Random(seed)
    return {
        "theme": rng.choice(THEMES),
        "time": rng.choice(_TIMES),
        "weather": rng.choice(_WEATHERS),
        "ground": rng.choice(_GROUNDS),
        "palette": rng.choice(_PALETTES),
        "density": rng.choice(_DENSITIES),
        "features": ", ".join(rng.sample(_FEATURES, rng.randint(0, 4))),
    }


def caption_pair(world: int, wording: int) -> CaptionPair:
    """Captions of the world with seed `world`; `wording` seeds the two wordings."""
    description = random_description(world)
    short, long = captions(description, 2 * wording)
    other_short, other_long = captions(description, 2 * wording + 1)
    return CaptionPair(
        theme=THEMES.index(description["theme"]), short=short, long=long, other_short=other_short, other_long=other_long
    )


def caption_pairs(worlds: Sequence[int], count: int, seed: int) -> Iterator[CaptionPair]:
    """Captions of `count` worlds drawn from `worlds`, every draw with its own wording."""
    rng = random.Random(seed)
    for _ in range(count):
        yield caption_pair(rng.choice(worlds), rng.getrandbits(48))
