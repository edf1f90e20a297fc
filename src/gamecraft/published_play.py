"""Playing what the published command lines ask for: action lists and pose files, chunk after chunk.

A track is the camera during one chunk, [F, 4, 4] camera-to-world as seen from the frame before the chunk. Frame i of
the chunk shows pose i, so all of an action is seen; ``Compatibility.repeat_first_pose`` shifts it by one as published.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from gamecraft.chunk_pipeline import Prompts
from gamecraft.denoising import StepCallback
from gamecraft.errors import InputError
from gamecraft.history import History
from gamecraft.intrinsics import Intrinsics
from gamecraft.pipeline import GameCraftPipeline
from gamecraft.published import PublishedAction, chunk_trajectory, published_poses
from gamecraft.rollout import PlaySettings, chunk_generator
from gamecraft.trajectory import Trajectory

__all__ = ["action_tracks", "file_tracks", "play_tracks"]


def action_tracks(actions: Sequence[PublishedAction], frames: int) -> list[NDArray[np.float64]]:
    """One track per action, with the published scale of translations."""
    return [published_poses(chunk_trajectory(action, frames).poses)[1:] for action in actions]


def file_tracks(trajectory: Trajectory, frames: int) -> tuple[list[NDArray[np.float64]], Intrinsics]:
    """As many whole chunks as a pose file holds, with the published scale of translations, and its lens.

    Its first row is the pose of the start picture. A file that ends a row before the last chunk does (the published
    form of a single chunk) keeps its last pose for one more frame.

    Raises:
        InputError: there are fewer rows than a chunk has frames, or the lens changes on the way.
    """
    poses, lens = trajectory.poses, trajectory.intrinsics
    if len(poses) < frames:
        raise InputError(f"the pose file has {len(poses)} rows, expected at least {frames}, one for each frame")
    if not np.allclose(lens, lens[0], rtol=0, atol=1e-6):
        raise InputError("the lens changes within the pose file; expected the same fx fy cx cy in all rows")
    if len(poses) % frames == 0:
        poses = np.concatenate([poses, poses[-1:]])
    starts = range(0, len(poses) - frames, frames)
    tracks = [published_poses(poses[start : start + frames + 1])[1:] for start in starts]
    # As published, twice the principal point stands for the picture's size.
    fx, fy, cx, cy = (float(value) for value in lens[0])
    return tracks, Intrinsics(fx=fx / (2 * cx), fy=fy / (2 * cy), cx=0.5, cy=0.5)


def play_tracks(
    pipe: GameCraftPipeline,
    history: History,
    tracks: Sequence[NDArray[np.float64]],
    prompts: Prompts,
    settings: PlaySettings,
    *,
    on_step: StepCallback | None = None,
) -> Iterator[NDArray[np.uint8]]:
    """Generate the chunks of some tracks one after the other.

    Args:
        history: what the first chunk follows, of one play.

    Yields:
        the frames of each chunk, uint8 [F, H, W, 3].
    """
    for index, track in enumerate(tracks):
        poses = np.asarray(history.last_pose @ track)
        latents = pipe.generate_chunk(
            history,
            poses,
            prompts,
            generator=chunk_generator(settings.seed, index),
            num_inference_steps=settings.num_inference_steps,
            guidance_scale=settings.guidance_scale,
            on_step=on_step,
        )
        history = history.append(latents, poses, max_clips=pipe.config.history_clips)
        yield pipe.to_frames(pipe.decode_latents(latents))
