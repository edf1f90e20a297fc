"""Last stage: the chosen clips as a dataset that trains."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gamecraft.actions import actions_to_json
from gamecraft.curation.pose_actions import actions_from_poses
from gamecraft.curation.recording import read_grid
from gamecraft.curation.store import Result, Store, Unit
from gamecraft.dataset import ClipRecord, ClipWriter
from gamecraft.errors import InputError
from gamecraft.intrinsics import Intrinsics

__all__ = ["Write"]


@dataclass(frozen=True, kw_only=True)
class Write:
    """Writes shards of clips.

    Attributes:
        width, height: of the finished clips, in pixels.
        clips: in a shard.
    """

    name: ClassVar[str] = "write"
    version: ClassVar[int] = 2

    width: int = 160
    height: int = 96
    clips: int = 32

    def __post_init__(self) -> None:
        for name in ("width", "height", "clips"):
            if getattr(self, name) < 1:
                raise InputError(f"write.{name} is {getattr(self, name)}, expected at least 1")

    def process(self, unit: Unit, store: Store) -> Result:
        """Write one shard; the unit's place is a JSON object with the dataset's folder and each recording's path."""
        place = json.loads(unit.place)
        shard = unit.inputs
        writer = ClipWriter(
            Path(place["dataset"]), fps=shard["fps"], height=self.height, width=self.width,
            intrinsics=Intrinsics(**shard["lens"]),
        )  # fmt: skip
        records = [
            self._record(row, clip, shard, Path(place[clip["recording"]]), store)
            for row, clip in enumerate(shard["clips"])
        ]
        for latents in writer.folder.glob(f"latents/*/{shard['number']:05d}.safetensors"):
            latents.unlink()  # they are those of the clips that were here before
        writer.write(shard["number"], records, replace=True)
        return {"clips": len(records)}

    def _record(self, row: int, clip: dict[str, Any], shard: dict[str, Any], video: Path, store: Store) -> ClipRecord:
        annotation = store.read("poses", clip["name"]) or {}
        poses = np.array(annotation["poses"]).reshape(-1, 4, 4)
        frames = self._frames(video, clip, shard)
        actions = annotation["actions"]
        if clip["backwards"]:
            frames, poses = frames[::-1], poses[::-1]
            actions = actions_to_json(actions_from_poses(poses))
        provenance = {key: clip[key] for key in ("recording", "sha256", "first", "backwards", "window", "pose_source")}
        # Whoever reads the manifests of all shards as one table cannot tell from which shard a row is.
        file = f"shards/{shard['number']:05d}/{row:06d}.mp4"
        return ClipRecord(
            frames=frames,
            poses=poses,
            actions_json=actions,
            caption_short=clip["short"],
            caption_long=clip["long"],
            theme=clip["theme"],
            world_seed=0,
            scores_json=json.dumps(clip["scores"], sort_keys=True),
            provenance_json=json.dumps(provenance | {"fps": shard["fps"], "file": file}, sort_keys=True),
        )

    def _frames(self, video: Path, clip: dict[str, Any], shard: dict[str, Any]) -> NDArray[np.uint8]:
        """The clip through the dataset's lens, uint8 [F, height, width, 3]."""
        import cv2

        left, top, right, bottom = clip["window"]
        pictures = []
        for frame in read_grid(video, shard["fps"], first=clip["first"], count=shard["frames"]):
            height, width = frame.shape[:2]
            rows = slice(round(top * height), max(round(bottom * height), round(top * height) + 1))
            columns = slice(round(left * width), max(round(right * width), round(left * width) + 1))
            size = (self.width, self.height)
            pictures.append(cv2.resize(frame[rows, columns], size, interpolation=cv2.INTER_AREA))
        if len(pictures) < shard["frames"]:
            raise InputError(f"{video} ends before frame {clip['first'] + shard['frames']}, which was there before")
        return np.stack(pictures).astype(np.uint8)
