"""Cases from one's own material: clips of a dataset with their actions and poses, or pictures without any truth."""

from functools import lru_cache
from pathlib import Path

import numpy as np

from gamecraft.actions import actions_from_json, motion
from gamecraft.dataset import ClipDataset
from gamecraft.errors import InputError
from gamecraft.evaluation.cases import Case, case_name
from gamecraft.evaluation.models import Start
from gamecraft.evaluation.signals import Signal
from gamecraft.trajectory import CameraState, integrate
from gamecraft.worlds.environment import EYE_HEIGHT

__all__ = ["clip_case", "count_given", "is_dataset", "picture_case"]

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


def is_dataset(folder: str) -> bool:
    """Whether a folder is a clip dataset; otherwise it is taken as a folder of pictures."""
    return (Path(folder) / "index.json").exists()


def count_given(folder: str) -> int:
    """How many cases there are in a folder.

    Raises:
        InputError: none.
    """
    return len(_clips(folder)) if is_dataset(folder) else len(_pictures(folder))


def clip_case(folder: str, number: int, *, chunks: int, chunk_frames: int, height: int, width: int) -> Case:
    """Clip ``number`` of a dataset: its first chunk is the history, the next ones are the truth.

    Raises:
        InputError: the clip is too short, or has another size than the model.
    """
    data = _clips(folder)
    if not 0 <= number < len(data):
        raise InputError(f"{folder} has {len(data)} clips; clip {number} was asked for (--starts)")
    clip = data[number]
    needed = (chunks + 1) * chunk_frames
    if clip.num_frames < needed:
        raise InputError(
            f"clip {number} of {folder} has {clip.num_frames} frames; history and {chunks} chunks take {needed}"
        )
    if (data.height, data.width) != (height, width):
        raise InputError(f"{folder} is {data.height}x{data.width} pixels, the model {height}x{width}")
    frames, poses = clip.frames()[:needed], clip.poses[:needed]
    actions = actions_from_json(clip.actions_json)[chunk_frames:needed]
    start = Start(
        name=case_name(number, "play"),
        frames=frames[:chunk_frames],
        poses=poses[:chunk_frames],
        prompt=clip.caption_short,
        seed=number,
        state=CameraState.from_pose(poses[chunk_frames - 1]),
        theme=clip.theme,
    )
    return Case(
        start=start,
        actions=tuple(tuple(actions[i : i + chunk_frames]) for i in range(0, len(actions), chunk_frames)),
        poses=poses[chunk_frames:].reshape(chunks, chunk_frames, 4, 4),
        frames=frames[chunk_frames:].reshape(chunks, chunk_frames, height, width, 3),
    )


def picture_case(
    folder: str, number: int, name: str, signal: Signal, *, chunks: int, chunk_frames: int, height: int, width: int
) -> Case:
    """Picture ``number`` of a folder, in alphabetical order: a camera that stood still in front of it.

    There is no truth for what follows but the path that the actions ask for. A file of the same name that ends in .txt
    holds the prompt.

    Raises:
        InputError: there is no such picture or it cannot be read.
    """
    from gamecraft.pictures import fit_picture, open_picture

    files = _pictures(folder)
    if not 0 <= number < len(files):
        raise InputError(f"{folder} has {len(files)} pictures; picture {number} was asked for (--starts)")
    frame = fit_picture(open_picture(files[number]), height, width)
    words = files[number].with_suffix(".txt")
    state = CameraState(position=(0.0, -EYE_HEIGHT, 0.0))
    actions = tuple((action,) * chunk_frames for action in signal.schedule(chunks, chunk_frames, 0.0))
    poses, _ = integrate(motion([action for chunk in actions for action in chunk]), state)
    start = Start(
        name=case_name(number, name),
        frames=np.repeat(frame[None], chunk_frames, axis=0),
        poses=np.repeat(state.pose()[None], chunk_frames, axis=0),
        prompt=words.read_text(encoding="utf-8").strip() if words.exists() else "",
        seed=number,
        state=state,
        theme=files[number].stem,
    )
    shaped = poses.reshape(chunks, chunk_frames, 4, 4)
    return Case(start=start, actions=actions, poses=shaped, frames=None, returns=signal.returns)


@lru_cache(maxsize=2)
def _clips(folder: str) -> ClipDataset:
    return ClipDataset(folder)


@lru_cache(maxsize=2)
def _pictures(folder: str) -> list[Path]:
    if not Path(folder).is_dir():
        raise InputError(f"{folder} is no folder; give a clip dataset or a folder of pictures")
    files = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in _SUFFIXES)
    if not files:
        raise InputError(f"{folder} holds no clip dataset and no pictures ({', '.join(_SUFFIXES)})")
    return files
