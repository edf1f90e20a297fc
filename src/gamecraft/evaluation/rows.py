"""What is measured beside one another in a suite: the model and what it is compared to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import numpy.typing as npt

from gamecraft.errors import InputError
from gamecraft.evaluation.cases import Case
from gamecraft.evaluation.metrics import sharpness
from gamecraft.evaluation.models import Forgetful, Freeze, Idle, Warp, WorldModel
from gamecraft.evaluation.softening import soften

__all__ = ["ROWS", "Play", "Rows", "make_rows"]

ROWS = {
    "model": "the model",
    "idle": "the same model, told to stand still",
    "memoryless": "the same model without history: every chunk follows the last picture alone",
    "freeze": "the last true frame, repeated",
    "warp": "the last true frame, turned with the camera",
    "vae": "the truth through the model's autoencoder (ceiling)",
    "soft": "the truth, blurred until it is as soft as the model (what the motion estimator can see at best)",
    "truth": "the truth itself (the motion estimator's own error)",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Play:
    """Frames uint8 [K, F, H, W, 3] of a rollout; seconds [K] it took for each chunk, and for start and first chunk."""

    frames: npt.NDArray[np.uint8]
    seconds: list[float]
    latency: float


Rows = Mapping[str, Callable[[Case, Mapping[str, Play]], Play | None]]
"""Name -> what plays a case, given the rows before it."""


def make_rows(names: tuple[str, ...], model: WorldModel) -> Rows:
    """Functions that play a case, by name (see ``ROWS``).

    ``vae`` is left out for a model that has no ``reconstruct``, ``idle`` and ``memoryless`` for one whose frames are
    ``fixed``. A row that needs true frames gives None without them.
    """
    sizes = {"chunk_frames": model.chunk_frames, "height": model.height, "width": model.width}
    rows: dict[str, Callable[[Case, Mapping[str, Play]], Play | None]] = {
        "model": lambda case, _: _play(case, model),
        "freeze": lambda case, _: _play(case, Freeze(**sizes)),
        "warp": lambda case, _: _play(case, Warp(**sizes)),
        "soft": lambda case, plays: _softened(case, plays["model"]),
        "truth": lambda case, _: _shown(case, lambda frames: frames),
    }
    if not getattr(model, "fixed", False):
        rows["idle"] = lambda case, _: _play(case, Idle(model))
        rows["memoryless"] = lambda case, _: _play(case, Forgetful(model))
    reconstruct = getattr(model, "reconstruct", None)
    if reconstruct is not None:
        rows["vae"] = lambda case, _: _shown(case, reconstruct)
    if "model" not in names and not set(names) & set(rows):
        raise InputError(f"this suite measures {', '.join(names)}, which the model does not have")
    return {name: rows[name] for name in names if name in rows}


def _play(case: Case, model: WorldModel) -> Play:
    begin = perf_counter()
    model.start(case.start)
    frames: list[npt.NDArray[np.uint8]] = []
    seconds: list[float] = []
    for actions in case.actions:
        before = perf_counter()
        shown = model.step(actions)
        if not seconds:
            latency = perf_counter() - begin
        seconds.append(perf_counter() - before)
        expected = (len(actions), model.height, model.width, 3)
        if getattr(shown, "dtype", None) != np.uint8 or shown.shape != expected:
            raise InputError(
                f"the model's step returned {getattr(shown, 'dtype', type(shown).__name__)} of shape "
                f"{list(getattr(shown, 'shape', []))}; expected uint8 {list(expected)}"
            )
        frames.append(shown)
    return Play(frames=np.stack(frames), seconds=seconds, latency=latency)


def _shown(case: Case, show: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]) -> Play | None:
    if case.frames is None:
        return None
    frames = np.stack([show(chunk) for chunk in case.frames])
    return Play(frames=frames, seconds=[0.0] * len(frames), latency=0.0)


def _softened(case: Case, model: Play) -> Play | None:
    if case.frames is None:
        return None
    pairs = zip(case.frames, model.frames, strict=True)
    frames = np.stack([soften(true, sharpness(true, shown)) for true, shown in pairs])
    return Play(frames=frames, seconds=[0.0] * len(frames), latency=0.0)
