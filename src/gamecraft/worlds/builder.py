"""Builds a `Scene` from a seed: ground, path, shore, mountains, landmarks, scattered props and moving things."""

from __future__ import annotations

import numpy as np

from gamecraft.errors import InputError
from gamecraft.worlds.mesh import Array, Light, Mesh, box, frustum, move, quad
from gamecraft.worlds.props import PROPS, boat_hull, cloud, windmill_blades
from gamecraft.worlds.scene import Atmosphere, Mover, Scene
from gamecraft.worlds.themes import THEMES, TIMES, WEATHERS, Theme

__all__ = ["PLAY_RADIUS", "build_scene"]

PLAY_RADIUS = 38.0
"""Metres from the origin a walker can go: the world continues for the eye, not for the feet."""

_CELL = 3.0
_EXTENT = 66.0
_PLACES_RADIUS = 45.0

_NAMES = {
    "round_tree": "trees", "pine": "pine trees", "house": "houses", "stall": "market stalls", "torii": "torii gates",
    "column": "columns", "igloo": "igloos", "lantern": "lanterns", "mesa": "mesas", "palm": "palm trees",
    "cactus": "cacti",
    "pumpkin": "pumpkins", "block": "tall buildings", "pagoda": "pagodas", "hut": "stilt huts", "arch": "stone arches",
    "tower": "towers", "flowers": "wild flowers", "pyramid": "pyramids", "rock": "rocks", "crate": "crates",
}  # fmt: skip


def build_scene(seed: int, theme: str | None = None) -> Scene:
    """The world of a seed; a fixed `theme` overrides the one the seed would choose.

    Raises:
        InputError: the theme is unknown.
    """
    rng = np.random.default_rng([seed, 0])
    chosen = str(rng.choice(list(THEMES)))
    if theme is not None:
        if theme not in THEMES:
            raise InputError(f"unknown theme {theme!r}; known themes: {', '.join(THEMES)}")
        chosen = theme
    spec = THEMES[chosen]
    time, weather = str(rng.choice(spec.times)), str(rng.choice(list(WEATHERS), p=[0.5, 0.25, 0.1, 0.15]))
    palette = str(rng.choice(["warm", "cool", "muted", "vivid"]))
    atmosphere = _atmosphere(rng, time, weather)
    scene = Scene(seed=seed, theme=chosen, description={}, atmosphere=atmosphere)
    tint = _graded(np.asarray(spec.tints[rng.integers(len(spec.tints))]), palette)
    _ground(scene, spec, rng, palette)
    placed = _props(scene, spec, rng, tint)
    _sky_things(scene, spec, rng)
    total = sum(placed.values())
    features = sorted(placed, key=lambda name: (name not in spec.landmarks, -placed[name]))[:5]
    scene.description = {
        "theme": chosen, "time": time, "weather": weather, "ground": spec.ground_name, "palette": palette,
        "density": "sparse" if total < 45 else "moderate" if total < 75 else "dense",
        "features": ", ".join(_NAMES.get(name, name.replace("_", " ")) for name in features),
    }  # fmt: skip
    return scene


def _graded(colour: Array, palette: str) -> Array:
    """Shift a colour towards the palette of the world."""
    grey = colour.mean(-1, keepdims=True)
    match palette:
        case "warm":
            colour = colour * (1.10, 1.0, 0.86)
        case "cool":
            colour = colour * (0.88, 0.99, 1.12)
        case "muted":
            colour = grey + (colour - grey) * 0.6
        case "vivid":
            colour = grey + (colour - grey) * 1.35
    clipped: Array = np.clip(colour, 0, 1)
    return clipped


def _atmosphere(rng: np.random.Generator, time: str, weather: str) -> Atmosphere:
    spec, (fog_start, fog_end, grey) = TIMES[time], WEATHERS[weather]
    angle = rng.uniform(0, 2 * np.pi)
    direction = (float(np.cos(angle)), float(np.sin(angle)), spec.sun_height * rng.uniform(0.8, 1.3))

    def greyed(colour: tuple[float, float, float]) -> tuple[float, float, float]:
        c = np.asarray(colour) * rng.uniform(0.94, 1.04)
        c = np.clip(c + grey * (c.mean() * 0.95 - c), 0, 1)
        return float(c[0]), float(c[1]), float(c[2])

    sun = np.asarray(spec.sun) * (1 - 0.5 * grey)
    light = Light(direction=direction, sun=(float(sun[0]), float(sun[1]), float(sun[2])), ambient=greyed(spec.ambient))
    return Atmosphere(
        light=light, zenith=greyed(spec.zenith), horizon=greyed(spec.horizon), fog_start=fog_start, fog_end=fog_end,
        stars=time == "night",
    )  # fmt: skip


def _noise(x: Array, y: Array, rng: np.random.Generator) -> Array:
    """Smooth value noise in 0..1 from a few random plane waves."""
    total = np.zeros_like(x)
    for wavelength in (28.0, 14.0, 8.0):
        angle, phase = rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi)
        total += np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / wavelength + phase)
    mixed: Array = 0.5 + total / 6
    return mixed


def _ground(scene: Scene, spec: Theme, rng: np.random.Generator, palette: str) -> None:
    """A grid of coloured cells with a path along y and, by the sea, a shore along x; mountains ring the horizon."""
    low, high = (_graded(np.asarray(c), palette) for c in spec.ground)
    centres = np.arange(-_EXTENT + _CELL / 2, _EXTENT, _CELL)
    bend, phase = rng.uniform(0, 5), rng.uniform(0, 6)
    shore = rng.uniform(12, 22) if spec.water else np.inf
    x, y = np.meshgrid(centres, centres, indexing="ij")
    blend = np.clip(_noise(x, y, rng) + rng.uniform(-0.28, 0.28, x.shape), 0, 1)[..., None]
    # Cells differ in brightness so that the ground shows how the walker moves.
    colour = (low + (high - low) * blend) * rng.uniform(0.90, 1.08, (*x.shape, 1))
    if spec.path is not None:
        on_path = np.abs(x - bend * np.sin(y / 14 + phase)) < 2.2
        colour[on_path] = np.asarray(spec.path) * rng.uniform(0.92, 1.05, (int(on_path.sum()), 1))
    if spec.water is not None:
        wet = y + 3 * np.sin(x / 9 + phase) > shore
        colour[wet] = np.asarray(spec.water) * rng.uniform(0.86, 1.12, (int(wet.sum()), 1))
        scene.obstacles += [(float(cx), shore + 60.0, 60.0) for cx in np.arange(-45, 46, 15.0)]
    sheet = quad(_CELL, _CELL)
    cells = (sheet[None] + np.stack([x, y, np.zeros_like(x)], -1).reshape(-1, 1, 1, 3)).reshape(-1, 3, 3)
    scene.static.add(cells, np.clip(colour.reshape(-1, 3), 0, 1).repeat(2, 0))
    if spec.mountains is not None:
        for angle in np.arange(0, 2 * np.pi, 0.28):
            r, h = rng.uniform(10, 18), rng.uniform(8, 26)
            at = rng.uniform(64, 80)
            hill = frustum(r, r * rng.uniform(0, 0.2), h, int(rng.integers(5, 8)))
            scene.static.add(
                move(hill, at * np.cos(angle), at * np.sin(angle), -0.5),
                np.asarray(spec.mountains) * rng.uniform(0.85, 1.1),
            )


def _props(scene: Scene, spec: Theme, rng: np.random.Generator, tint: Array) -> dict[str, int]:
    """Scatter landmarks, then props, without overlap; returns how many of each were placed."""
    placed: dict[str, int] = {}
    shore = min((oy - r for _, oy, r in scene.obstacles), default=np.inf)
    scene.obstacles.append((0.0, 0.0, 2.5))  # keeps the origin free while placing
    for name, (least, most) in {**spec.landmarks, **spec.props}.items():
        for _ in range(int(rng.integers(least, most + 1))):
            spot = _spot(scene, rng, shore, 4.5 if name in spec.landmarks else 1.2, spec.path is not None)
            if spot is None:
                continue
            x, y = spot
            radius = PROPS[name](scene.static, x, y, rng, tint)
            if radius > 0:
                scene.obstacles.append((x, y, radius))
            if name == "windmill":
                blades = Mover(
                    mesh=windmill_blades(rng), position=(x, y - 2.0, 6.2), axis="y", spin=float(rng.uniform(0.02, 0.05))
                )
                scene.movers.append(blades)
            placed[name] = placed.get(name, 0) + 1
    scene.obstacles.remove((0.0, 0.0, 2.5))
    return placed


def _spot(
    scene: Scene, rng: np.random.Generator, shore: float, radius: float, keep_path: bool
) -> tuple[float, float] | None:
    for _ in range(40):
        distance, angle = _PLACES_RADIUS * np.sqrt(rng.random()), rng.uniform(0, 2 * np.pi)
        x, y = float(distance * np.cos(angle)), float(distance * np.sin(angle))
        if y < shore - radius - 2 and not (keep_path and abs(x) < 2.5 + radius * 0.6) and scene.free(x, y, radius):
            return x, y
    return None


def _sky_things(scene: Scene, spec: Theme, rng: np.random.Generator) -> None:
    """Clouds, the sun or moon's disc, stars and boats."""
    air = scene.atmosphere
    wind = (float(rng.uniform(-0.05, 0.05)), float(rng.uniform(-0.05, 0.05)))
    white = np.clip(np.asarray(air.horizon) * 0.5 + 0.5 * np.asarray(air.light.sun) + 0.12, 0, 1)
    for _ in range(spec.clouds):
        at = (float(rng.uniform(-80, 80)), float(rng.uniform(-80, 80)), float(rng.uniform(22, 34)))
        scene.movers.append(Mover(mesh=cloud(rng, white), position=at, drift=wind))
    disc = Mesh()
    direction = np.asarray(air.light.direction) / np.linalg.norm(air.light.direction)
    at = direction * 100.0
    disc.add(frustum(5.0, 5.0, 0.5, 10) - (0, 0, 0.25), np.clip(np.asarray(air.light.sun) * 1.3 + 0.2, 0, 1), glow=True)
    if air.stars:
        for _ in range(60):
            star = rng.normal(size=3)
            star[2] = abs(star[2]) + 0.15
            scene.static.add(
                move(box(0.5, 0.5, 0.5), *(star / np.linalg.norm(star) * 110)), np.array([0.9, 0.9, 1.0]), glow=True
            )
    scene.movers.append(Mover(mesh=disc, position=(float(at[0]), float(at[1]), float(at[2])), wrap=200.0))
    shore = min((oy - r for _, oy, r in scene.obstacles if r >= 60), default=20.0)
    for _ in range(spec.boats):
        at_sea = (float(rng.uniform(-40, 40)), shore + float(rng.uniform(6, 38)), 0.0)
        scene.movers.append(
            Mover(
                mesh=boat_hull(rng), position=at_sea, drift=(float(rng.uniform(-0.03, 0.03)), 0.0),
                yaw=float(rng.uniform(0, 6.28)),
                bob=0.12, wrap=60.0,
            )
        )  # fmt: skip
