"""Picture metrics that need the weights of other networks: only computed when these are given, and named after them.

Nothing is downloaded here, and nothing takes the place of what is missing: without weights there is no number.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gamecraft.errors import InputError

__all__ = ["PyiqaMetric", "Quality", "missing_metrics", "open_qualities"]

Frames = npt.NDArray[np.uint8]


class Quality(Protocol):
    """A metric of pictures."""

    @property
    def name(self) -> str:
        """In reports."""

    @property
    def needs_truth(self) -> bool:
        """Whether it compares; others judge the frames alone."""

    def __call__(self, frames: Frames, truth: Frames) -> float:
        """Mean over frames uint8 [F, H, W, 3]; the truth is not looked at unless it is needed."""


def open_qualities(lpips: str | None, aesthetic: str | None, pyiqa: Sequence[str]) -> list[Quality]:
    """The metrics whose weights are given: folders of ``perceptual.Lpips`` and ``Aesthetic``, names of pyiqa's."""
    found: list[Quality] = []
    if lpips is not None or aesthetic is not None:
        from gamecraft.evaluation.perceptual import Aesthetic, Lpips

        found += [] if lpips is None else [Lpips(lpips)]
        found += [] if aesthetic is None else [Aesthetic(aesthetic)]
    return [*found, *(PyiqaMetric(name) for name in pyiqa)]


class PyiqaMetric:
    """A metric of the pyiqa package by its name there, such as lpips, musiq (image quality) or laion_aes (aesthetic).

    Raises:
        InputError: pyiqa is not installed, does not know the name, or has no weights for it on this machine.
    """

    def __init__(self, name: str) -> None:
        try:
            import pyiqa  # type: ignore[import-not-found,unused-ignore]
        except Exception as error:  # it imports torchvision, which may fail in many ways
            raise InputError(f"{name} needs the package pyiqa, which does not load: {error!s:.200}") from None
        try:
            self._metric: Any = pyiqa.create_metric(name, device="cpu")
        except Exception as error:  # unknown names, missing files and failed downloads alike
            raise InputError(f"pyiqa cannot make {name}: {str(error) or type(error).__name__:.200}") from error
        self.name = f"pyiqa:{name}"
        self.needs_truth = getattr(self._metric, "metric_mode", "NR") == "FR"

    def __call__(self, frames: Frames, truth: Frames) -> float:
        """Mean over frames uint8 [F, H, W, 3], against the true ones if the metric compares."""
        import torch

        def pictures(clip: Frames) -> Any:
            return torch.from_numpy(clip.transpose(0, 3, 1, 2).astype(np.float32) / 255)

        with torch.inference_mode():
            values = self._metric(pictures(frames), *([pictures(truth)] if self.needs_truth else []))
        return float(values.mean())


def missing_metrics(metrics: Iterable[str], distances: Iterable[str]) -> list[str]:
    """What the paper reports and a report with these metrics and distances lacks, and why, one line each."""
    names = " ".join(metrics)
    lines = []
    if not list(distances):
        lines.append("FVD: no feature extractor was given (--i3d FILE, --videomae FOLDER), or fewer than two rollouts")
    for part, meaning, how in (
        ("lpips", "LPIPS", "--lpips FOLDER or --pyiqa lpips"),
        ("musiq", "image quality", "--pyiqa musiq"),
        ("laion", "aesthetic score", "--aesthetic FOLDER or --pyiqa laion_aes"),
    ):
        if part not in names:
            lines.append(f"{meaning}: its network was not given ({how})")
    return lines
