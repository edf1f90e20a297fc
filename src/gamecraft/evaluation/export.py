"""Writes what another system needs to be scored: start pictures, histories, prompts, actions and poses of a suite."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gamecraft.actions import actions_to_json
from gamecraft.evaluation.run import EvaluationSettings, case_of, jobs_of
from gamecraft.files import write_atomically
from gamecraft.intrinsics import Intrinsics
from gamecraft.video import write_video

__all__ = ["export_starts"]

_FPS = 24


def export_starts(
    settings: EvaluationSettings,
    folder: Path,
    *,
    chunk_frames: int = 9,
    height: int = 96,
    width: int = 160,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """For every case of the suite: CASE.png (last history frame), CASE.history.mp4 and CASE.json.

    The JSON holds the prompt, the intrinsics (in picture widths and heights), one action per frame to be made, and the
    camera-to-world poses asked for (OpenCV axes, metres), relative to the start picture's camera. Videos named
    CASE.mp4, one frame per action, are scored by ``gamecraft evaluate --model videos:FOLDER``.

    Raises:
        InputError: a case cannot be made.
    """
    from PIL import Image

    lens = Intrinsics()
    jobs = jobs_of(settings)
    for done, job in enumerate(jobs, start=1):
        case = case_of(settings, job, chunk_frames, height, width)
        path = folder / f"{case.start.name}.json"
        start = np.linalg.inv(case.start.poses[-1])
        record = {
            "prompt": case.start.prompt,
            "fps": _FPS,
            "intrinsics": {"fx": lens.fx, "fy": lens.fy, "cx": lens.cx, "cy": lens.cy},
            "actions": json.loads(actions_to_json([action for chunk in case.actions for action in chunk])),
            "poses": (start @ case.poses.reshape(-1, 4, 4)).round(6).tolist(),
        }
        with write_atomically(path.with_suffix(".png")) as temporary:
            Image.fromarray(case.start.frames[-1]).save(temporary, format="PNG")
        write_video(path.with_suffix(".history.mp4"), case.start.frames, _FPS, crf=10)
        with write_atomically(path) as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        if on_progress is not None:
            on_progress(done, len(jobs))
