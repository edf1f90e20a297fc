"""Props of the low-poly worlds: each function adds an object to a mesh at (x, y) and returns its obstacle radius."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gamecraft.worlds.mesh import Array, Mesh, blob, box, frustum, gable, move

__all__ = ["PROPS", "Prop", "boat_hull", "cloud", "windmill_blades"]

Rng = np.random.Generator
Prop = Callable[[Mesh, float, float, Rng, Array], float]

WOOD = np.array([0.45, 0.30, 0.18])
STONE = np.array([0.62, 0.60, 0.57])
GLOW = np.array([1.0, 0.85, 0.45])


def vary(colour: Array, rng: Rng, amount: float = 0.08) -> Array:
    """A colour slightly off the given one, brightness and hue."""
    varied: Array = np.clip(colour * (1 + rng.uniform(-amount, amount)) + rng.uniform(-amount, amount, 3) * 0.4, 0, 1)
    return varied


def house(mesh: Mesh, x: float, y: float, rng: Rng, tint: Array) -> float:
    w, d, h = rng.uniform(3.5, 5.5), rng.uniform(4, 6.5), rng.uniform(2.4, 4.0)
    yaw = rng.choice([0, np.pi / 2, np.pi, -np.pi / 2]) + rng.uniform(-0.15, 0.15)
    wall = vary(np.array([0.86, 0.80, 0.68]) * 0.6 + tint * 0.4, rng, 0.15)
    roof = vary(np.array([[0.62, 0.25, 0.18], [0.55, 0.42, 0.22], [0.32, 0.36, 0.45]])[rng.integers(3)], rng, 0.12)
    mesh.add(move(box(w, d, h), x, y, yaw=yaw), wall)
    mesh.add(move(gable(w + 0.7, d + 0.7, rng.uniform(1.6, 2.6)), x, y, h, yaw=yaw), roof)
    window = GLOW if rng.random() < 0.4 else np.array([0.25, 0.35, 0.45])
    for side in (-1, 1):
        front = move(box(1.0, 0.12, 1.9), 0, side * d / 2)
        mesh.add(move(front, x, y, yaw=yaw), WOOD * 0.8)
        for wx in (-w * 0.3, w * 0.3):
            mesh.add(move(move(box(0.8, 0.12, 0.8), wx, side * d / 2, 1.2), x, y, yaw=yaw), window, glow=True)
        mesh.add(move(move(box(0.12, 0.9, 0.8), side * w / 2, d * 0.2, 1.2), x, y, yaw=yaw), window, glow=True)
    if rng.random() < 0.6:
        mesh.add(move(move(box(0.6, 0.6, 1.8), w * 0.25, d * 0.2, h + 0.6), x, y, yaw=yaw), STONE * 0.8)
    return max(w, d) * 0.62


def tower(mesh: Mesh, x: float, y: float, rng: Rng, tint: Array) -> float:
    h, r = rng.uniform(6, 12), rng.uniform(1.2, 2.2)
    mesh.add(move(frustum(r, r * 0.85, h, 8), x, y), vary(STONE * 0.6 + tint * 0.4, rng))
    mesh.add(move(frustum(r * 1.25, 0, 2.5, 8), x, y, h), vary(np.array([0.5, 0.22, 0.2]), rng, 0.2))
    return r + 0.2


def block(mesh: Mesh, x: float, y: float, rng: Rng, tint: Array) -> float:
    """A town block with rows of lit windows."""
    w, h = rng.uniform(4, 6.5), rng.uniform(6, 16)
    wall = vary(np.array([0.34, 0.36, 0.45]) * 0.7 + tint * 0.3, rng, 0.2)
    mesh.add(move(box(w, w, h), x, y), wall)
    lit = [GLOW, np.array([0.55, 0.85, 1.0]), np.array([0.95, 0.5, 0.7])][rng.choice(3, p=[0.6, 0.25, 0.15])]
    for level in np.arange(1.2, h - 1.2, 2.4):
        for offset in (-w * 0.28, w * 0.28):
            for side in range(4):
                if rng.random() < 0.55:
                    pane = move(move(box(0.9, 0.1, 1.1), offset, w / 2, float(level)), yaw=side * np.pi / 2)
                    mesh.add(move(pane, x, y), lit, glow=True)
    return w * 0.68


def pine(mesh: Mesh, x: float, y: float, rng: Rng, tint: Array) -> float:
    h = rng.uniform(3.5, 8)
    mesh.add(move(frustum(0.22, 0.16, h * 0.3, 5), x, y), vary(WOOD, rng))
    green = vary(np.array([0.13, 0.38, 0.22]) * 0.65 + tint * 0.35, rng, 0.15)
    for k in range(3):
        mesh.add(
            move(frustum(h * (0.26 - 0.06 * k), 0, h * 0.42, 7), x, y, h * (0.22 + 0.22 * k)), green * (1 + 0.1 * k)
        )
    return 0.5


def round_tree(mesh: Mesh, x: float, y: float, rng: Rng, tint: Array) -> float:
    h = rng.uniform(2.2, 4.2)
    mesh.add(move(frustum(0.28, 0.18, h, 5), x, y), vary(WOOD, rng))
    crown = vary(tint, rng, 0.18)
    mesh.add(move(blob(rng.uniform(1.2, 2.0), rng), x, y, h + 0.6), crown)
    mesh.add(
        move(blob(rng.uniform(0.8, 1.3), rng), x + rng.uniform(-1, 1), y + rng.uniform(-1, 1), h + 0.1), crown * 0.9
    )
    return 0.5


def dead_tree(mesh: Mesh, x: float, y: float, rng: Rng, tint: Array) -> float:
    h = rng.uniform(2.5, 4.5)
    bark = vary(WOOD * 0.7, rng)
    mesh.add(move(frustum(0.25, 0.08, h, 5), x, y), bark)
    for _ in range(3):
        branch = move(frustum(0.1, 0.02, 1.5, 4), tilt=rng.uniform(0.5, 1.1), yaw=rng.uniform(0, 2 * np.pi))
        mesh.add(move(branch, x, y, h * rng.uniform(0.45, 0.8)), bark)
    return 0.4


def palm(mesh: Mesh, x: float, y: float, rng: Rng, tint: Array) -> float:
    h = rng.uniform(3.5, 6)
    mesh.add(move(frustum(0.22, 0.14, h, 6), x, y), vary(np.array([0.55, 0.42, 0.28]), rng))
    green = vary(np.array([0.25, 0.58, 0.25]), rng, 0.15)
    for k in range(7):
        leaf = move(frustum(0.38, 0, 2.2, 3), tilt=1.75, yaw=2 * np.pi * k / 7)
        mesh.add(move(leaf, x, y, h), green * rng.uniform(0.85, 1.1))
    return 0.4


def cactus(mesh: Mesh, x: float, y: float, rng: Rng, tint: Array) -> float:
    h, green = rng.uniform(1.5, 3.5), vary(np.array([0.28, 0.52, 0.27]), rng)
    mesh.add(move(frustum(0.3, 0.25, h, 7), x, y), green)
    for side in (-1, 1):
        mesh.add(move(box(0.75, 0.28, 0.28), x + side * 0.5, y, h * 0.45), green)
        mesh.add(move(box(0.28, 0.28, h * 0.35), x + side * 0.85, y, h * 0.45), green)
    return 0.9


def rock(mesh: Mesh, x: float, y: float, rng: Rng, tint: Array) -> float:
    r = rng.uniform(0.4, 1.6)
    mesh.add(move(blob(r, rng, 0.3), x, y, r * 0.3), vary(STONE * 0.6 + tint * 0.4, rng, 0.12))
    return r


def bush(mesh: Mesh, x: float, y: float, rng: Rng, tint: Array) -> float:
    r = rng.uniform(0.35, 0.8)
    mesh.add(move(blob(r, rng, 0.25), x, y, r * 0.5), vary(tint, rng, 0.15))
    return r * 0.8


def mesa(mesh: Mesh, x: float, y: float, rng: Rng, tint: Array) -> float:
    r, h, z = rng.uniform(3, 7), rng.uniform(4, 14), 0.0
    colour = vary(tint, rng, 0.1)
    for k in range(4):
        step = h * rng.uniform(0.18, 0.32)
        mesh.add(move(frustum(r, r * 0.9, step, 9), x, y, z), np.clip(colour * (0.8 + 0.25 * (k % 2)), 0, 1))
        z, r = z + step, r * 0.86
    return r / 0.86**4


def temple(mesh: Mesh, x: float, y: float, rng: Rng, tint: Array) -> float:
    marble = vary(np.array([0.85, 0.80, 0.70]) * 0.7 + tint * 0.3, rng)
    for k in range(3):
        mesh.add(move(box(9 - k, 7 - k, 0.3), x, y, 0.3 * k), marble * (0.85 + 0.05 * k))
    for cx in (-3, -1, 1, 3):
        for cy in (-2, 2):
            mesh.add(move(frustum(0.4, 0.33, 3.6, 8), x + cx, y + cy, 0.9), marble)
    mesh.add(move(box(7.6, 5.6, 0.5), x, y, 4.5), marble * 0.92)
    mesh.add(move(gable(6, 8, 1.8), x, y, 5.0, yaw=np.pi / 2), vary(np.array([0.66, 0.34, 0.24]), rng))
    mesh.add(move(box(2.0, 2.0, 2.2), x, y, 0.9), np.array([0.75, 0.6, 0.25]))
    return 5.2


def pagoda(mesh: Mesh, x: float, y: float, rng: Rng, tint: Array) -> float:
    wall, roof = np.array([0.70, 0.22, 0.16]), vary(np.array([0.22, 0.34, 0.32]), rng, 0.1)
    z, w = 0.0, 5.0
    for _ in range(rng.integers(2, 5)):
        mesh.add(move(box(w, w, 2.2), x, y, z), wall)
        mesh.add(move(frustum(w * 1.0, w * 0.4, 1.1, 4), x, y, z + 2.2), roof)
        z, w = z + 2.9, w * 0.78
    mesh.add(move(frustum(0.25, 0, 1.5, 5), x, y, z), np.array([0.85, 0.7, 0.3]))
    return 3.8


def torii(mesh: Mesh, x: float, y: float, rng: Rng, tint: Array) -> float:
    red = vary(np.array([0.78, 0.20, 0.13]), rng)
    for side in (-1.6, 1.6):
        mesh.add(move(frustum(0.22, 0.2, 3.4, 6), x + side, y), red)
    mesh.add(move(box(4.8, 0.4, 0.35), x, y, 3.4), red)
    mesh.add(move(box(3.6, 0.3, 0.25), x, y, 2.7), red)
    return 0.0


def column(mesh: Mesh, x: float, y: float, rng: Rng, tint: Array) -> float:
    h, marble = rng.uniform(1.0, 5.0), vary(np.array([0.80, 0.76, 0.66]), rng)
    mesh.add(move(box(1.2, 1.2, 0.3), x, y), marble * 0.9)
    mesh.add(move(frustum(0.45, 0.4, h, 8), x, y, 0.3), marble)
    if h > 3:
        mesh.add(move(box(1.1, 1.1, 0.3), x, y, h + 0.3), marble * 0.95)
    return 0.7


def arch(mesh: Mesh, x: float, y: float, rng: Rng, tint: Array) -> float:
    stone, yaw = vary(STONE * 0.6 + tint * 0.4, rng), rng.uniform(0, np.pi)
    for side in (-2.2, 2.2):
        mesh.add(move(move(box(1.1, 1.1, 3.6), side), x, y, yaw=yaw), stone)
    mesh.add(move(box(5.6, 1.2, 1.0), x, y, 3.6, yaw=yaw), stone * 0.92)
    return 0.0


def wall(mesh: Mesh, x: float, y: float, rng: Rng, tint: Array) -> float:
    w, yaw = rng.uniform(2.5, 5), rng.uniform(0, np.pi)
    mesh.add(move(box(w, 0.6, rng.uniform(0.8, 2.6)), x, y, yaw=yaw), vary(STONE * 0.6 + tint * 0.4, rng, 0.12))
    return w * 0.45


def lantern(mesh: Mesh, x: float, y: float, rng: Rng, tint: Array) -> float:
    mesh.add(move(frustum(0.1, 0.08, 2.6, 5), x, y), np.array([0.2, 0.2, 0.22]))
    mesh.add(move(box(0.5, 0.5, 0.6), x, y, 2.6), GLOW, glow=True)
    mesh.add(move(frustum(0.45, 0, 0.35, 4), x, y, 3.2), np.array([0.2, 0.2, 0.22]))
    return 0.3


def igloo(mesh: Mesh, x: float, y: float, rng: Rng, tint: Array) -> float:
    r, snow = rng.uniform(1.6, 2.4), np.array([0.86, 0.92, 0.98])
    mesh.add(move(frustum(r, r * 0.8, r * 0.5, 9), x, y), snow)
    mesh.add(move(frustum(r * 0.8, 0.2, r * 0.45, 9), x, y, r * 0.5), snow * 0.96)
    mesh.add(move(box(1.0, 0.8, 1.0), x, y - r), snow * 0.9)
    mesh.add(move(box(0.6, 0.1, 0.75), x, y - r - 0.4), np.array([0.2, 0.25, 0.35]))
    return r + 0.2


def snowman(mesh: Mesh, x: float, y: float, rng: Rng, tint: Array) -> float:
    for r, z in ((0.6, 0.45), (0.45, 1.25), (0.3, 1.85)):
        mesh.add(move(blob(r, rng, 0.05), x, y, z), np.array([0.93, 0.95, 1.0]))
    mesh.add(move(frustum(0.07, 0, 0.4, 4), x, y - 0.25, 1.85), np.array([0.95, 0.5, 0.1]))
    return 0.7


def stall(mesh: Mesh, x: float, y: float, rng: Rng, tint: Array) -> float:
    cloth = np.array([[0.80, 0.25, 0.22], [0.22, 0.45, 0.75], [0.88, 0.72, 0.25], [0.35, 0.62, 0.35]])[rng.integers(4)]
    mesh.add(move(box(2.4, 1.2, 0.9), x, y), vary(WOOD, rng))
    for cx in (-1.1, 1.1):
        mesh.add(move(box(0.12, 0.12, 2.3), x + cx, y), WOOD)
    mesh.add(move(gable(1.8, 2.8, 0.7), x, y, 2.3, yaw=np.pi / 2), cloth)
    return 1.4


def well(mesh: Mesh, x: float, y: float, rng: Rng, tint: Array) -> float:
    mesh.add(move(frustum(0.9, 0.85, 0.8, 8), x, y), vary(STONE, rng))
    for cx in (-0.75, 0.75):
        mesh.add(move(box(0.14, 0.14, 2.1), x + cx, y), WOOD)
    mesh.add(move(gable(1.6, 2.0, 0.7), x, y, 2.1), np.array([0.55, 0.25, 0.2]))
    return 1.1


def crate(mesh: Mesh, x: float, y: float, rng: Rng, tint: Array) -> float:
    s = rng.uniform(0.6, 1.1)
    mesh.add(move(box(s, s, s), x, y, yaw=rng.uniform(0, np.pi)), vary(WOOD * 1.3, rng))
    return s * 0.8


def hut(mesh: Mesh, x: float, y: float, rng: Rng, tint: Array) -> float:
    for cx in (-1.2, 1.2):
        for cy in (-1.2, 1.2):
            mesh.add(move(box(0.18, 0.18, 0.8), x + cx, y + cy), WOOD * 0.8)
    mesh.add(move(box(3.2, 3.2, 2.0), x, y, 0.8), vary(np.array([0.72, 0.55, 0.34]), rng, 0.12))
    mesh.add(move(frustum(2.9, 0, 1.8, 4), x, y, 2.8), vary(np.array([0.60, 0.50, 0.25]), rng))
    return 2.2


def lighthouse(mesh: Mesh, x: float, y: float, rng: Rng, tint: Array) -> float:
    stripe = [np.array([0.92, 0.92, 0.90]), np.array([0.80, 0.20, 0.18])]
    for k in range(5):
        mesh.add(move(frustum(1.7 - 0.18 * k, 1.52 - 0.18 * k, 2.0, 9), x, y, 2.0 * k), stripe[k % 2])
    mesh.add(move(frustum(0.7, 0.7, 1.0, 8), x, y, 10), GLOW, glow=True)
    mesh.add(move(frustum(1.0, 0, 0.9, 8), x, y, 11), np.array([0.3, 0.3, 0.35]))
    return 1.9


def obelisk(mesh: Mesh, x: float, y: float, rng: Rng, tint: Array) -> float:
    h = rng.uniform(4, 8)
    sand = vary(np.array([0.80, 0.68, 0.45]), rng)
    mesh.add(move(frustum(0.8, 0.55, h, 4), x, y), sand)
    mesh.add(move(frustum(0.55, 0, 0.7, 4), x, y, h), np.array([0.9, 0.75, 0.3]))
    return 0.9


def pyramid(mesh: Mesh, x: float, y: float, rng: Rng, tint: Array) -> float:
    r = rng.uniform(5, 9)
    mesh.add(move(frustum(r, 0, r * 0.85, 4), x, y), vary(np.array([0.85, 0.70, 0.45]), rng))
    return r * 0.85


def pumpkin(mesh: Mesh, x: float, y: float, rng: Rng, tint: Array) -> float:
    r = rng.uniform(0.3, 0.6)
    mesh.add(move(blob(r, rng, 0.08), x, y, r * 0.7), vary(np.array([0.92, 0.48, 0.10]), rng))
    mesh.add(move(frustum(0.08, 0.05, 0.3, 4), x, y, r * 1.4), np.array([0.3, 0.4, 0.15]))
    return r


def flowers(mesh: Mesh, x: float, y: float, rng: Rng, tint: Array) -> float:
    palette = np.array([[0.95, 0.35, 0.45], [0.98, 0.85, 0.30], [0.70, 0.45, 0.90], [0.95, 0.95, 0.95]])
    colour = palette[rng.integers(4)]
    for _ in range(6):
        fx, fy = x + rng.uniform(-1, 1), y + rng.uniform(-1, 1)
        mesh.add(move(frustum(0.16, 0.05, 0.5, 4), fx, fy), np.array([0.3, 0.55, 0.25]))
        mesh.add(move(frustum(0.1, 0.28, 0.18, 5), fx, fy, 0.5), colour)
    return 0.0


def fence(mesh: Mesh, x: float, y: float, rng: Rng, tint: Array) -> float:
    yaw = rng.choice([0, np.pi / 2])
    for k in (-2, -1, 0, 1, 2):
        mesh.add(move(move(box(0.14, 0.14, 1.0), k * 0.9), x, y, yaw=yaw), WOOD)
    for z in (0.35, 0.75):
        mesh.add(move(box(3.8, 0.08, 0.12), x, y, z, yaw=yaw), WOOD * 1.15)
    return 1.2


def windmill(mesh: Mesh, x: float, y: float, rng: Rng, tint: Array) -> float:
    """The body only; `windmill_blades` turn as a mover in front of it."""
    mesh.add(move(frustum(2.0, 1.3, 6.5, 8), x, y), vary(np.array([0.88, 0.84, 0.76]), rng))
    mesh.add(move(frustum(1.6, 0, 1.5, 8), x, y, 6.5), vary(np.array([0.5, 0.25, 0.2]), rng))
    mesh.add(move(box(0.9, 0.2, 1.8), x, y - 1.95), WOOD)
    return 2.3


def windmill_blades(rng: Rng) -> Mesh:
    """Four blades around the origin in the xz plane, to spin about y."""
    mesh = Mesh()
    for k in range(4):
        blade = move(box(0.7, 0.1, 3.6), 0, 0, 0.4) @ np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1.0]])
        mesh.add(move(blade, tilt=k * np.pi / 2), np.array([0.93, 0.90, 0.82]) * (0.9 + 0.1 * (k % 2)))
    mesh.add(move(box(0.5, 0.5, 0.5), 0, 0, -0.25), WOOD)
    return mesh


def boat_hull(rng: Rng) -> Mesh:
    """A small sailing boat around the origin, afloat at z = 0."""
    mesh, paint = Mesh(), vary(np.array([0.75, 0.32, 0.22]), rng, 0.3)
    mesh.add(move(box(1.3, 3.4, 0.7), 0, 0, -0.1), paint)
    mesh.add(move(frustum(0.75, 0.9, 0.6, 4), 0, 1.9, 0.0), paint * 0.9)
    mesh.add(move(box(0.12, 0.12, 3.6), 0, 0.2, 0.5), WOOD)
    mesh.add(move(gable(0.1, 2.0, 2.8), 0, -0.2, 1.0), np.array([0.95, 0.93, 0.86]))
    return mesh


def cloud(rng: Rng, colour: Array) -> Mesh:
    """A few flattened blobs around the origin."""
    mesh = Mesh()
    for k in range(rng.integers(2, 5)):
        puff = blob(rng.uniform(2.5, 4.5), rng, 0.15) * (1.5, 1.1, 0.5)
        mesh.add(move(puff, 3.6 * k, rng.uniform(-1.5, 1.5), rng.uniform(-0.6, 0.6)), colour, glow=True)
    return mesh


PROPS: dict[str, Prop] = {
    f.__name__: f
    for f in (
        house, tower, block, pine, round_tree, dead_tree, palm, cactus, rock, bush, mesa, temple, pagoda, torii, column,
        arch, wall, lantern, igloo, snowman, stall, well, crate, hut, lighthouse, obelisk, pyramid, pumpkin, flowers,
        fence, windmill,
    )
}  # fmt: skip
