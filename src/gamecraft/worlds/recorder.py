"""Records random play in many low-poly worlds as a clip dataset (`gamecraft render`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gamecraft.actions import Action, actions_to_json, motion
from gamecraft.dataset import ClipRecord, ClipWriter
from gamecraft.errors import InputError
from gamecraft.worlds.captions import captions
from gamecraft.worlds.environment import LowPolyWorld
from gamecraft.worlds.players import random_actions
from gamecraft.worlds.renderer import Renderer

__all__ = ["HELD_OUT_SEED", "RecordConfig", "record_clip", "record_dataset"]

HELD_OUT_SEED = 1_000_000
"""Worlds from this seed on are never trained on."""


@dataclass(frozen=True, kw_only=True)
class RecordConfig:
    """What to record. A shard holds `worlds_per_shard` worlds with `clips_per_world` clips each.

    Attributes:
        first_seed: seed of the first world; worlds are numbered on from there.
        frames: frames per clip.
        longest: frames for which keys are held at most.
    """

    output: str
    worlds: int = 100
    clips_per_world: int = 6
    worlds_per_shard: int = 10
    first_seed: int = 0
    frames: int = 45
    longest: int = 30
    fps: int = 24
    height: int = 96
    width: int = 160

    def __post_init__(self) -> None:
        for name in ("worlds", "clips_per_world", "worlds_per_shard", "frames", "fps", "height", "width"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}, expected at least 1")
        if self.longest < 5:
            raise InputError(f"longest is {self.longest}, expected at least 5: keys are held for 5 frames or more")
        if self.first_seed < HELD_OUT_SEED < self.first_seed + self.worlds:
            raise InputError(
                f"seeds {self.first_seed} to {self.first_seed + self.worlds} would mix training and held-out worlds"
            )


def record_clip(world: LowPolyWorld, frames: int, seed: int, longest: int = 30) -> ClipRecord:
    """One clip of random play: the first frame is where the player appears, each later one follows an action."""
    rng = np.random.default_rng([world.scene.seed, seed, 1])
    actions = [Action(), *random_actions(frames - 1, rng, longest)]
    pictures = [world.reset(world.spawn(rng), frame=int(rng.integers(0, 4000)))]
    poses = [world.state.pose()]
    for row in motion(actions[1:]):
        pictures.append(world.move(row))
        poses.append(world.state.pose())
    short, long = captions(world.scene.description, world.scene.seed * 101 + seed)
    return ClipRecord(
        frames=np.stack(pictures), poses=np.stack(poses), actions_json=actions_to_json(actions), caption_short=short,
        caption_long=long, theme=world.scene.theme, world_seed=world.scene.seed,
    )  # fmt: skip


def record_dataset(
    config: RecordConfig, on_shard: Callable[[int, int], None] | None = None, part: tuple[int, int] = (0, 1)
) -> None:
    """Record all shards that are missing; `part` (i, n) takes every n-th shard, for several processes.

    Args:
        on_shard: called with (shards done, shards in all) after each shard.
    """
    writer = ClipWriter(Path(config.output), fps=config.fps, height=config.height, width=config.width)
    renderer = Renderer(config.height, config.width)
    total = -(-config.worlds // config.worlds_per_shard)
    for shard in range(part[0], total, part[1]):
        if not writer.has(shard):
            first = config.first_seed + shard * config.worlds_per_shard
            last = min(first + config.worlds_per_shard, config.first_seed + config.worlds)
            records = []
            for seed in range(first, last):
                world = LowPolyWorld(seed, renderer=renderer)
                clips = range(config.clips_per_world)
                records += [record_clip(world, config.frames, clip, config.longest) for clip in clips]
            writer.write(shard, records)
        if on_shard is not None:
            on_shard(shard + 1, total)
