"""What the model remembers: clean latent clips with their camera poses, and how they enter the transformer.

A clip is a run of frames encoded on its own: the start image (one latent) or a generated chunk. Clips are oldest first.
Views reach further back where a model has a use for them, see `gamecraft.scene`.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gamecraft.errors import InputError
from gamecraft.scene import Scene, View

__all__ = ["History", "model_input", "show_scene"]


@dataclass(frozen=True, kw_only=True, eq=False)
class History:
    """Clean latents and camera poses of past clips, oldest first. Values are never changed in place.

    Attributes:
        clips: latents [B, C, t, h, w] per clip, VAE latents * scaling_factor; B, C, h, w are equal for all clips.
        poses: camera-to-world [..., frames, 4, 4] per clip in the world, metres, as from ``gamecraft.trajectory``;
            leading dimensions are free, so that the items of a batch may have their own.
        views: frames that are remembered, oldest first; empty for models without a scene memory.

    Raises:
        InputError: no clips, not one pose track per clip, or shapes that do not fit each other.
    """

    clips: tuple[Tensor, ...]
    poses: tuple[npt.NDArray[np.float64], ...]
    views: tuple[View, ...] = ()

    def __post_init__(self) -> None:
        if not self.clips or len(self.clips) != len(self.poses):
            raise InputError(
                f"a history of {len(self.clips)} clips and {len(self.poses)} pose tracks; "
                "expected at least one clip and one pose track for each"
            )
        for index, (clip, poses) in enumerate(zip(self.clips, self.poses, strict=True)):
            _check_clip(index, clip, poses, self.clips[0])

    @property
    def latents(self) -> Tensor:
        """All clips along time, [B, C, num_latents, h, w]."""
        return torch.cat(self.clips, dim=2)

    @property
    def num_latents(self) -> int:
        """Latent frames of all clips together."""
        return sum(clip.shape[2] for clip in self.clips)

    @property
    def last_pose(self) -> npt.NDArray[np.float64]:
        """Camera-to-world [..., 4, 4] of the newest frame, the reference of the next chunk's rays."""
        return self.poses[-1][..., -1, :, :]

    def append(
        self,
        clip: Tensor,
        poses: npt.NDArray[np.float64],
        *,
        max_clips: int,
        view: View | None = None,
        max_views: int = 1,
    ) -> "History":
        """The history after one more clip [B, C, t, h, w] with poses [..., frames, 4, 4], cut to the newest clips.

        `view` is remembered too; beyond `max_views` the oldest but the first is forgotten, which nothing generated.
        """
        views = self.views if view is None else (*self.views, view)
        if len(views) > max_views:
            views = (views[0], *views[len(views) - max_views + 1 :])
        longer = History(clips=(*self.clips, clip), poses=(*self.poses, poses), views=views)
        return longer.truncate(max_clips)

    def truncate(self, max_clips: int) -> "History":
        """The newest ``max_clips`` clips (at least one)."""
        if max_clips < 1:
            raise InputError(f"max_clips is {max_clips}; a history keeps at least one clip")
        return replace(self, clips=self.clips[-max_clips:], poses=self.poses[-max_clips:])


def model_input(noisy: Tensor, history: History) -> Tensor:
    """Noisy latents of a chunk beside their history -> input of the transformer.

    Args:
        noisy: [B, C, t, h, w].
        history: clips [B, C, t_i, h, w]; they take the type of ``noisy``.

    Returns:
        [B, 2C+1, T, h, w] = latents | condition | mask with the history first along time. The condition holds the
        history and zeros for the chunk, the mask 1 and 0. The published code fills the same channels for both the
        start image (one latent) and continuation (nine).

    Raises:
        InputError: shapes of the two do not fit.
    """
    past = history.latents.to(noisy.dtype)
    if noisy.ndim != 5 or past.shape[:2] != noisy.shape[:2] or past.shape[3:] != noisy.shape[3:]:
        raise InputError(
            f"noisy latents {list(noisy.shape)} and history {list(past.shape)} differ in more than time; "
            "expected [B, C, t, h, w] for both"
        )
    latents = torch.cat([past, noisy], dim=2)
    condition = torch.cat([past, torch.zeros_like(noisy)], dim=2)
    mask = torch.zeros_like(latents[:, :1])
    mask[:, :, : history.num_latents] = 1
    return torch.cat([latents, condition, mask], dim=1)


def show_scene(inputs: Tensor, scene: Scene) -> Tensor:
    """Input of the transformer [B, 2C+1, T, h, w] with a scene [B, C, t, h, w] in the chunk's condition and mask."""
    channels, length = scene.latents.shape[1:3]
    condition = torch.cat([scene.latents, scene.coverage], dim=1).to(inputs.dtype)
    if inputs.shape[1] != 2 * channels + 1 or length > inputs.shape[2]:
        raise InputError(f"a scene {list(scene.latents.shape)} does not fit into the input {list(inputs.shape)}")
    shown = inputs.clone()
    shown[:, channels:, -length:] = condition
    return shown


def _check_clip(index: int, clip: Tensor, poses: npt.NDArray[np.float64], first: Tensor) -> None:
    if clip.ndim != 5 or clip.shape[2] < 1:
        raise InputError(f"history clip {index} has shape {list(clip.shape)}; expected [B, C, t, h, w] with t >= 1")
    if clip.shape[:2] != first.shape[:2] or clip.shape[3:] != first.shape[3:]:
        raise InputError(
            f"history clip {index} has shape {list(clip.shape)}, clip 0 {list(first.shape)}; only t may differ"
        )
    if poses.ndim < 3 or poses.shape[-2:] != (4, 4):
        raise InputError(f"poses of history clip {index} have shape {list(poses.shape)}; expected [..., frames, 4, 4]")
    # a clip of t latents has 1 + ratio * (t - 1) frames; the ratio is the VAE's and not known here
    frames, latents = poses.shape[-3], clip.shape[2]
    if frames < latents or (frames - 1) % max(latents - 1, 1) or (latents == 1 and frames != 1):
        raise InputError(
            f"history clip {index} has {latents} latents but {frames} poses; expected one pose per video frame"
        )
