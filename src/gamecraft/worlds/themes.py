"""The twelve themes: which ground, palette, props and moving things a low-poly world is made of."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["THEMES", "TIMES", "WEATHERS", "Theme", "Time"]

RGB = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Theme:
    """Recipe of a theme. `props` maps prop names to (minimum, maximum) counts within 45 m; `landmarks` are placed first."""

    ground: tuple[RGB, RGB]  # two colours blended by noise
    ground_name: str
    tints: tuple[RGB, ...]  # foliage or stone tint, one per world
    props: dict[str, tuple[int, int]]
    landmarks: dict[str, tuple[int, int]] = field(default_factory=dict)
    path: RGB | None = None
    water: RGB | None = None  # a sea beyond one shore
    mountains: RGB | None = None
    times: tuple[str, ...] = ("morning", "noon", "dusk")
    clouds: int = 6
    boats: int = 0


@dataclass(frozen=True, kw_only=True)
class Time:
    """Light of a time of day."""

    sun_height: float  # z of the direction to the sun before normalisation
    sun: RGB
    ambient: RGB
    zenith: RGB
    horizon: RGB


TIMES = {
    "morning": Time(sun_height=0.55, sun=(0.72, 0.62, 0.48), ambient=(0.46, 0.48, 0.56), zenith=(0.38, 0.58, 0.86), horizon=(0.88, 0.84, 0.78)),
    "noon": Time(sun_height=1.4, sun=(0.62, 0.60, 0.55), ambient=(0.50, 0.52, 0.56), zenith=(0.28, 0.52, 0.90), horizon=(0.74, 0.86, 0.95)),
    "dusk": Time(sun_height=0.35, sun=(0.80, 0.48, 0.28), ambient=(0.42, 0.36, 0.46), zenith=(0.32, 0.32, 0.60), horizon=(0.96, 0.66, 0.44)),
    "night": Time(sun_height=0.9, sun=(0.22, 0.26, 0.38), ambient=(0.26, 0.28, 0.40), zenith=(0.04, 0.06, 0.16), horizon=(0.14, 0.17, 0.32)),
}  # fmt: skip

# Fog start and end in metres, and how much the sky is pulled towards grey.
WEATHERS = {
    "clear": (40.0, 130.0, 0.0),
    "hazy": (18.0, 90.0, 0.2),
    "foggy": (6.0, 48.0, 0.5),
    "overcast": (25.0, 110.0, 0.7),
}

THEMES: dict[str, Theme] = {
    "village": Theme(
        ground=((0.42, 0.58, 0.28), (0.52, 0.62, 0.32)), ground_name="grass", path=(0.68, 0.58, 0.42),
        tints=((0.30, 0.52, 0.22), (0.42, 0.56, 0.20)), landmarks={"windmill": (1, 1), "house": (9, 14), "well": (1, 1)},
        props={"stall": (1, 3), "round_tree": (8, 16), "fence": (4, 9), "flowers": (4, 9), "crate": (2, 6), "bush": (5, 10)},
    ),
    "temple": Theme(
        ground=((0.66, 0.62, 0.50), (0.56, 0.60, 0.42)), ground_name="stone court", path=(0.78, 0.74, 0.66),
        tints=((0.30, 0.50, 0.26), (0.80, 0.45, 0.55)), landmarks={"temple": (1, 2), "pagoda": (1, 3), "torii": (2, 4)},
        props={"lantern": (6, 12), "round_tree": (8, 14), "column": (4, 10), "rock": (4, 8), "bush": (5, 9)},
    ),
    "forest": Theme(
        ground=((0.24, 0.38, 0.18), (0.34, 0.36, 0.20)), ground_name="moss", tints=((0.12, 0.40, 0.20), (0.22, 0.46, 0.18)),
        props={"pine": (45, 75), "round_tree": (8, 20), "rock": (8, 14), "bush": (14, 24), "dead_tree": (3, 7)}, mountains=(0.30, 0.42, 0.40),
    ),
    "snow": Theme(
        ground=((0.86, 0.90, 0.96), (0.78, 0.85, 0.94)), ground_name="snow", tints=((0.70, 0.80, 0.86), (0.40, 0.55, 0.52)),
        landmarks={"igloo": (2, 4), "house": (1, 3)}, props={"pine": (16, 30), "rock": (6, 12), "snowman": (1, 3), "dead_tree": (3, 7), "fence": (1, 3)},
        mountains=(0.72, 0.80, 0.90),
    ),
    "desert": Theme(
        ground=((0.88, 0.74, 0.48), (0.82, 0.66, 0.40)), ground_name="sand", tints=((0.80, 0.56, 0.36), (0.74, 0.62, 0.44)),
        landmarks={"pyramid": (1, 3), "obelisk": (1, 3)}, props={"cactus": (12, 22), "rock": (10, 18), "palm": (3, 8), "dead_tree": (2, 5), "house": (0, 3)},
        clouds=3, mountains=(0.80, 0.62, 0.46),
    ),
    "night_town": Theme(
        ground=((0.20, 0.21, 0.26), (0.25, 0.26, 0.31)), ground_name="asphalt", path=(0.34, 0.34, 0.38),
        tints=((0.35, 0.35, 0.48), (0.45, 0.35, 0.40)), landmarks={"block": (14, 20)},
        props={"lantern": (14, 22), "crate": (4, 9), "stall": (2, 5), "round_tree": (3, 7)}, times=("night",), clouds=2,
    ),
    "canyon": Theme(
        ground=((0.72, 0.44, 0.28), (0.64, 0.36, 0.22)), ground_name="red rock", tints=((0.72, 0.40, 0.24), (0.66, 0.34, 0.26)),
        landmarks={"mesa": (11, 17)}, props={"rock": (16, 28), "cactus": (4, 10), "dead_tree": (3, 8), "arch": (1, 3), "bush": (4, 8)},
        mountains=(0.66, 0.40, 0.30), clouds=3,
    ),
    "harbour": Theme(
        ground=((0.60, 0.56, 0.50), (0.66, 0.62, 0.56)), ground_name="quay stones", water=(0.16, 0.40, 0.58),
        tints=((0.55, 0.62, 0.70), (0.70, 0.58, 0.46)), landmarks={"lighthouse": (1, 1), "house": (7, 11)},
        props={"crate": (12, 20), "lantern": (4, 8), "stall": (1, 3), "palm": (0, 5)}, boats=7,
    ),
    "meadow": Theme(
        ground=((0.46, 0.66, 0.26), (0.58, 0.70, 0.32)), ground_name="meadow grass", path=(0.66, 0.60, 0.38),
        tints=((0.36, 0.60, 0.22), (0.52, 0.64, 0.24)), landmarks={"windmill": (1, 2), "house": (1, 2)},
        props={"flowers": (26, 42), "round_tree": (8, 16), "bush": (8, 14), "fence": (4, 8), "rock": (3, 7)}, mountains=(0.46, 0.58, 0.52),
    ),
    "islands": Theme(
        ground=((0.90, 0.82, 0.60), (0.84, 0.76, 0.54)), ground_name="beach sand", water=(0.12, 0.56, 0.66),
        tints=((0.30, 0.60, 0.30), (0.70, 0.62, 0.46)), landmarks={"hut": (3, 6)},
        props={"palm": (20, 34), "rock": (8, 14), "bush": (6, 12), "crate": (2, 5)}, boats=5, clouds=8,
    ),
    "ruins": Theme(
        ground=((0.50, 0.54, 0.34), (0.58, 0.56, 0.44)), ground_name="weathered stone", path=(0.66, 0.62, 0.52),
        tints=((0.52, 0.52, 0.42), (0.40, 0.50, 0.32)), landmarks={"temple": (0, 1), "arch": (2, 5), "tower": (1, 3)},
        props={"column": (14, 24), "wall": (10, 18), "rock": (8, 14), "bush": (6, 12), "dead_tree": (2, 5)}, mountains=(0.50, 0.54, 0.56),
    ),
    "autumn": Theme(
        ground=((0.58, 0.44, 0.22), (0.52, 0.50, 0.24)), ground_name="fallen leaves", path=(0.52, 0.42, 0.30),
        tints=((0.86, 0.46, 0.14), (0.80, 0.28, 0.14), (0.90, 0.66, 0.20)), landmarks={"house": (2, 4)},
        props={"round_tree": (28, 44), "pumpkin": (8, 16), "fence": (4, 8), "bush": (6, 10), "rock": (3, 6), "well": (0, 1)},
        mountains=(0.56, 0.42, 0.36),
    ),
}  # fmt: skip
