"""Our own models, from a folder, as a ``WorldModel``; and the names under which models can be asked for."""

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gamecraft.actions import Action
from gamecraft.errors import InputError
from gamecraft.evaluation.models import Freeze, GroundTruth, Start, Warp, WorldModel
from gamecraft.evaluation.video_folder import VideoFolder
from gamecraft.trajectory import CameraState

if TYPE_CHECKING:
    from gamecraft.pipeline import GameCraftPipeline

__all__ = ["BUILT_IN", "PipelineModel", "model_identity", "open_model"]

BUILT_IN: dict[str | None, Callable[[], WorldModel]] = {"truth": GroundTruth, "freeze": Freeze, "warp": Warp}
"""Models that need no folder: baselines, and the truth for checking the evaluation itself."""

_VIDEOS = "videos:"


class PipelineModel:
    """A ``GameCraftPipeline`` that starts from true frames and their true camera track.

    Args:
        pipe: as from ``gamecraft.loading.load_pipeline``.
        steps, guidance: denoising steps and guidance scale; the model's own if None.

    Attributes:
        settings, prompts, state: of the play, from ``start`` on; see ``gamecraft.rollout``.
    """

    def __init__(self, pipe: "GameCraftPipeline", *, steps: int | None = None, guidance: float | None = None) -> None:
        self.pipe = pipe
        self._steps, self._guidance = steps, guidance
        self.chunk_frames: int = pipe.config.chunk_frames
        self.height: int = pipe.config.height
        self.width: int = pipe.config.width

    def start(self, start: Start) -> None:
        """Encode history and prompt of `start`."""
        from gamecraft.rollout import PlayState

        self.settings = self.pipe.play_settings(
            seed=start.seed, num_inference_steps=self._steps, guidance_scale=self._guidance
        )
        self.prompts = self.pipe.encode_prompts(start.prompt, "", guided=self.settings.guided)
        shown = {"image": start.frames[0]} if len(start.frames) == 1 else {"video": start.frames}
        frames = self.pipe.start_frames(**shown, height=self.height, width=self.width)
        # A start from a file has no known camera track and is taken as standing still; here the track is known.
        history = self.pipe.start_history(frames, start.state, start.poses)
        self.state = PlayState(history=history, camera=start.state)

    def step(self, actions: Sequence[Action]) -> npt.NDArray[np.uint8]:
        """Generate the next chunk."""
        chunk, self.state = self.pipe.play_chunk(self.state, actions, self.prompts, self.settings)
        frames: npt.NDArray[np.uint8] = chunk.frames
        return frames

    def reconstruct(self, frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """A chunk of frames through the autoencoder."""
        history = self.pipe.start_history(frames, CameraState())
        found: npt.NDArray[np.uint8] = self.pipe.to_frames(self.pipe.decode_latents(history.clips[0]))
        return found


def open_model(name: str | None, *, steps: int | None = None, guidance: float | None = None) -> WorldModel:
    """A model by name.

    Args:
        name: one of ``BUILT_IN``; ``videos:FOLDER``; ``MODULE:NAME``, a function or class of an importable module that
            gives a ``WorldModel`` when called without arguments; a model folder; the embedded model if None.
        steps, guidance: of our own models' sampler.

    Raises:
        CheckpointError: there is no usable model in that folder.
        InputError: the module or what it gives cannot be used.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]()
    if name is not None and name.startswith(_VIDEOS):
        return VideoFolder(folder=Path(name.removeprefix(_VIDEOS)))
    if _is_python(name):
        return _from_module(str(name))
    from gamecraft.loading import load_pipeline

    return PipelineModel(load_pipeline(name), steps=steps, guidance=guidance)


def model_identity(name: str | None) -> str:
    """Hash that changes when the model's files do; of a model in Python, with its ``identity``, if it has one.

    Raises:
        CheckpointError, InputError: as ``open_model``.
    """
    if name in BUILT_IN:
        return hashlib.sha256(str(name).encode()).hexdigest()
    if name is not None and (name.startswith(_VIDEOS) or _is_python(name)):
        return hashlib.sha256(f"{name} {getattr(open_model(name), 'identity', '')}".encode()).hexdigest()
    from gamecraft.model_folder import check_model_folder, model_digest

    check_model_folder(name)
    return model_digest(name)


def _is_python(name: str | None) -> bool:
    return name is not None and ":" in name and not Path(name).exists()


@cache
def _from_module(name: str) -> WorldModel:
    module, _, attribute = name.partition(":")
    try:
        model: WorldModel = getattr(import_module(module), attribute)()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise InputError(f"no model at {name}, expected MODULE:NAME of a function or class: {error}") from None
    absent = [need for need in ("chunk_frames", "height", "width", "start", "step") if not hasattr(model, need)]
    if absent:
        raise InputError(f"{name} is no world model: it has no {', '.join(absent)}")
    return model
