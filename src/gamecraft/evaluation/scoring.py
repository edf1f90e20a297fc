"""Plays one case with a model and with what it is compared to, and scores every chunk."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gamecraft.evaluation.camera_motion import relative_motion
from gamecraft.evaluation.following import follows
from gamecraft.evaluation.metrics import psnr, sharpness, ssim
from gamecraft.evaluation.models import Freeze, GroundTruth, Idle, Reconstruction, WorldModel
from gamecraft.evaluation.motion_estimator import estimate_motion
from gamecraft.evaluation.suites import Case

__all__ = ["MAX_PSNR", "METRICS", "ROWS", "Played", "make_rows", "play_case"]

ROWS = {
    "model": "the model",
    "idle": "the same model, told to stand still",
    "freeze": "the last true frame, repeated",
    "vae": "the truth through the model's autoencoder (ceiling)",
    "truth": "the truth itself (checks the motion estimator)",
}
METRICS = {"psnr": "PSNR, dB", "ssim": "SSIM", "sharpness": "sharpness", "follows": "action accuracy"}

MAX_PSNR = 100.0
"""Stands for the infinite PSNR of equal frames, so that means exist."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Played:
    """Scores of one case, ready for JSON, and the frames [K, F, H, W, 3] of every row."""

    scores: dict[str, Any]
    frames: dict[str, npt.NDArray[np.uint8]]


def make_rows(names: tuple[str, ...], model: WorldModel) -> dict[str, WorldModel]:
    """What to measure, by name (see ``ROWS``); ``vae`` is left out for a model that has no ``reconstruct``."""
    sizes = {"chunk_frames": model.chunk_frames, "height": model.height, "width": model.width}
    truth = GroundTruth(**sizes)
    rows: dict[str, WorldModel] = {"model": model, "idle": Idle(model), "freeze": Freeze(**sizes), "truth": truth}
    reconstruct = getattr(model, "reconstruct", None)
    if reconstruct is not None:
        rows["vae"] = Reconstruction(truth, reconstruct)
    return {name: rows[name] for name in names if name in rows}


def play_case(case: Case, rows: Mapping[str, WorldModel]) -> Played:
    """Play all chunks of ``case`` with every row.

    The scores: per chunk the true motion [5] (``commanded``), and per row and chunk the mean PSNR and SSIM of its
    frames and its sharpness against the truth, the motion [5] seen in it and whether that ``follows`` the action.
    """
    before = np.concatenate([case.start.poses[-1:], case.poses[:-1, -1]])
    commanded = relative_motion(before, case.poses[:, -1])
    frames = {name: _play(case, row) for name, row in rows.items()}
    scores = {
        "commanded": commanded.tolist(),
        "rows": {name: _score(case, shown, commanded) for name, shown in frames.items()},
    }
    return Played(scores=scores, frames=frames)


def _play(case: Case, row: WorldModel) -> npt.NDArray[np.uint8]:
    row.start(case.start)
    per_chunk = case.frames.shape[1]
    return np.stack([row.step([action] * per_chunk) for action in case.actions])


def _score(case: Case, shown: npt.NDArray[np.uint8], commanded: npt.NDArray[np.float64]) -> list[dict[str, Any]]:
    scores = []
    last = case.start.frames[-1:]
    pitch, eyes = case.start.state.pitch, -case.start.state.position[1]
    for action, asked, truth, chunk in zip(case.actions, commanded, case.frames, shown, strict=True):
        seen = estimate_motion(np.concatenate([last, chunk]), pitch=pitch, eyes=eyes)
        scores.append(
            {
                "psnr": float(np.minimum(psnr(truth, chunk), MAX_PSNR).mean()),
                "ssim": float(ssim(truth, chunk).mean()),
                "sharpness": sharpness(truth, chunk),
                "follows": float(follows(action, asked, seen)),
                "motion": seen.tolist(),
            }
        )
        last = chunk[-1:]
        pitch += float(seen[4])  # of what is shown, which need not be what was asked for
    return scores
