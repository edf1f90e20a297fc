"""Clips on disk: mp4 files and a Parquet manifest per shard, written so that a shard is either whole or absent.

FOLDER/index.json                       format version, frames per second, size, intrinsics
FOLDER/shards/00000/manifest.parquet    one row per clip
FOLDER/shards/00000/000000.mp4 ...
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gamecraft.errors import InputError
from gamecraft.files import write_atomically
from gamecraft.intrinsics import Intrinsics
from gamecraft.video import read_video, write_video

__all__ = ["FORMAT_VERSION", "Clip", "ClipDataset", "ClipRecord", "ClipWriter"]

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1

# Nearly lossless: what the autoencoder must learn is the renderer's picture, not the codec's.
_CRF = 10


@dataclass(frozen=True, kw_only=True)
class ClipRecord:
    """A clip to be written: `frames` uint8 [F, H, W, 3], `poses` camera-to-world [F, 4, 4], one action per frame.

    The action of frame i is the one that led to it; the first frame's action is idle. Recordings that were curated
    bring `scores_json` (what was measured of the clip) and `provenance_json` (where it comes from).
    """

    frames: NDArray[np.uint8]
    poses: NDArray[np.float64]
    actions_json: str
    caption_short: str
    caption_long: str
    theme: str
    world_seed: int
    scores_json: str = "{}"
    provenance_json: str = "{}"


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A clip on disk with its annotation; `frames` decodes the video.

    `sha256` is the video file's; it is empty in datasets that were written before there were hashes.
    """

    path: Path
    num_frames: int
    poses: NDArray[np.float64]  # [F, 4, 4] camera-to-world, metres
    actions_json: str
    caption_short: str
    caption_long: str
    theme: str
    world_seed: int
    scores_json: str = "{}"
    provenance_json: str = "{}"
    sha256: str = ""
    backwards: bool = False

    def reversed(self) -> Clip:
        """The clip played backwards; its actions are not those of the recording and are left out."""
        return replace(self, poses=self.poses[::-1].copy(), actions_json="[]", backwards=not self.backwards)

    def frames(self) -> NDArray[np.uint8]:
        """All frames, uint8 [F, H, W, 3].

        Raises:
            InputError: the file is missing, corrupt, or shorter than the manifest says.
        """
        frames, _ = read_video(self.path)
        if len(frames) != self.num_frames:
            raise InputError(f"{self.path}: {len(frames)} frames, but the manifest says {self.num_frames}")
        return frames[::-1].copy() if self.backwards else frames


class ClipWriter:
    """Writes a dataset shard by shard; a run that was interrupted continues with the first missing shard."""

    def __init__(
        self, folder: Path, *, fps: int, height: int, width: int, intrinsics: Intrinsics | None = None
    ) -> None:
        self.folder = folder
        index = {
            "format_version": FORMAT_VERSION, "fps": fps, "height": height, "width": width,
            "intrinsics": asdict(intrinsics or Intrinsics()),
        }  # fmt: skip
        path = folder / "index.json"
        if path.exists():
            existing = json.loads(path.read_text())
            if existing != index:
                raise InputError(
                    f"{folder} holds a dataset with other settings: {existing}, wanted {index}; choose another folder"
                )
        else:
            with write_atomically(path) as temporary:  # several processes may begin a dataset at the same time
                temporary.write_text(json.dumps(index, indent=2))
        self.fps = fps

    def has(self, shard: int) -> bool:
        """Whether a shard is already complete."""
        return (self.folder / "shards" / f"{shard:05d}" / "manifest.parquet").exists()

    def write(self, shard: int, records: list[ClipRecord], *, replace: bool = False) -> None:
        """Write one shard; it appears under its name only when it is whole. With `replace`, one that is there goes."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        final = self.folder / "shards" / f"{shard:05d}"
        partial = final.with_suffix(f".tmp{os.getpid()}")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        rows = []
        for number, record in enumerate(records):
            name = f"{number:06d}.mp4"
            write_video(partial / name, record.frames, self.fps, crf=_CRF)
            fields = {k: v for k, v in record.__dict__.items() if k not in ("frames", "poses")}
            digest = hashlib.sha256((partial / name).read_bytes()).hexdigest()
            poses = record.poses.reshape(-1).tolist()
            rows.append({"clip": name, "num_frames": len(record.frames), "poses": poses, **fields, "sha256": digest})
        pq.write_table(pa.Table.from_pylist(rows), partial / "manifest.parquet")
        if replace:
            shutil.rmtree(final, ignore_errors=True)
        os.replace(partial, final)


class ClipDataset:
    """Reads a dataset folder; clips are ordered by shard, then by row.

    A shard whose manifest cannot be read is left out with a warning; ``damaged`` names them.

    Args:
        folder: the dataset.
        backwards: play every clip backwards.

    Raises:
        InputError: the folder is no dataset, has another format version, or has no complete shard.
    """

    def __init__(self, folder: Path | str, *, backwards: bool = False) -> None:
        self.folder = Path(folder)
        self.backwards = backwards
        index = self.folder / "index.json"
        if not index.exists():
            raise InputError(
                f"{self.folder} is no clip dataset (no index.json); make one with `gamecraft render` or "
                "`gamecraft curate`"
            )
        info: dict[str, Any] = json.loads(index.read_text())
        if info.get("format_version") != FORMAT_VERSION:
            raise InputError(
                f"{index}: format version {info.get('format_version')}, this program reads {FORMAT_VERSION}"
            )
        self.fps, self.height, self.width = int(info["fps"]), int(info["height"]), int(info["width"])
        self.intrinsics = Intrinsics(**info["intrinsics"])
        shards = sorted(
            p.parent.name for p in self.folder.glob("shards/[0-9]*/manifest.parquet") if ".tmp" not in p.parent.name
        )
        self.damaged: list[str] = []
        self._rows = [row for shard in shards for row in self._read(shard)]
        self.shards = [shard for shard in shards if shard not in self.damaged]
        if self.damaged:
            logger.warning(
                "%s: %d of %d shards are damaged and left out (first: %s); %d clips are left",
                self.folder, len(self.damaged), len(shards), self.damaged[0], len(self._rows),
            )  # fmt: skip
        if not self._rows:
            raise InputError(f"{self.folder} has no complete shard")

    def _read(self, shard: str) -> list[dict[str, Any]]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(self.folder / "shards" / shard / "manifest.parquet")
        except (pa.ArrowException, OSError) as error:
            logger.warning("shard %s of %s cannot be read: %s", shard, self.folder, error)
            self.damaged.append(shard)
            return []
        return [{**row, "shard": shard} for row in table.to_pylist()]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> Clip:
        row = self._rows[number]
        clip = Clip(
            path=self.folder / "shards" / row["shard"] / row["clip"],
            num_frames=row["num_frames"],
            poses=np.asarray(row["poses"], dtype=np.float64).reshape(-1, 4, 4),
            **{key: row[key] for key in ("actions_json", "caption_short", "caption_long", "theme", "world_seed")},
            **{key: row[key] for key in ("scores_json", "provenance_json", "sha256") if key in row},
        )
        return clip.reversed() if self.backwards else clip

    def __iter__(self) -> Iterator[Clip]:
        return (self[i] for i in range(len(self)))

    def shard_of(self, number: int) -> str:
        """Name of the shard that holds a clip."""
        return str(self._rows[number]["shard"])
