"""Which differences between two reports are more than chance."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gamecraft.errors import InputError
from gamecraft.evaluation.report import FORMAT

__all__ = ["Difference", "compare_reports", "paired_difference", "read_report", "unpaired_difference"]

Array = npt.NDArray[np.float64]

_SAMPLES = 10_000
_LEVEL = 0.95
_SAME = ("suite", "starts", "chunks", "seed", "data")
_LARGEST = 200_000_000  # bytes of a report that is still read


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Of one metric between A and B.

    Attributes:
        a, b: means over starts. low, high: 95 % bootstrap interval of b - a.
        p: two-sided bootstrap p-value. significant: after Holm's correction for all metrics compared, at 5 %.
    """

    metric: str
    part: str
    a: float
    b: float
    low: float
    high: float
    p: float
    significant: bool = False


def read_report(path: str | Path) -> dict[str, Any]:
    """The contents of a ``report.json``, or of the one in a folder.

    Raises:
        InputError: there is none, or it is not of this program's format.
    """
    file = Path(path) / "report.json" if Path(path).is_dir() else Path(path)
    try:
        if file.stat().st_size > _LARGEST:
            raise InputError(f"{file} is too large for a report")
        report = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"no report at {file}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read as a report: {error}") from None
    if not isinstance(report, dict) or report.get("format") != FORMAT:
        raise InputError(f"{file} is no report of format {FORMAT}; evaluate again with this version")
    return report


def compare_reports(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[list[Difference], str]:
    """Differences of all metrics that both reports have, and one line that says how they were compared.

    With the same suite, starts, chunks, seed and data the starts are paired, which is much sharper.

    Raises:
        InputError: the suites differ, or there is nothing in common.
    """
    if a["settings"]["suite"] != b["settings"]["suite"]:
        raise InputError(f"the suites differ: {a['settings']['suite']} and {b['settings']['suite']}")
    paired = all(a["settings"][key] == b["settings"][key] for key in _SAME)
    differences = []
    for metric in [name for name in a["per_start"] if name in b["per_start"]]:
        for part in a["per_start"][metric]:
            left, right = (np.array(side["per_start"][metric][part], dtype=np.float64) for side in (a, b))
            if paired:
                kept = ~(np.isnan(left) | np.isnan(right))
                left, right = left[kept], right[kept]
            else:
                left, right = left[~np.isnan(left)], right[~np.isnan(right)]
            if len(left) < 2 or len(right) < 2:
                continue
            low, high, p = paired_difference(left, right) if paired else unpaired_difference(left, right)
            mean_a, mean_b = float(left.mean()), float(right.mean())
            differences.append(Difference(metric=metric, part=part, a=mean_a, b=mean_b, low=low, high=high, p=p))
    if not differences:
        raise InputError("the reports have no metric in common that was measured at two starts or more")
    how = "starts paired" if paired else "starts, chunks, seed or data differ: not paired"
    return _holm(differences), f"{how}; bootstrap over starts, Holm's correction over {len(differences)} comparisons"


def paired_difference(a: Array, b: Array, *, samples: int = _SAMPLES, seed: int = 0) -> tuple[float, float, float]:
    """Bootstrap interval of the mean of b - a and its p-value, for values [N] at the same N starts."""
    chosen = np.random.default_rng(seed).integers(len(a), size=(samples, len(a)))
    return _interval((b - a)[chosen].mean(axis=1))


def unpaired_difference(a: Array, b: Array, *, samples: int = _SAMPLES, seed: int = 0) -> tuple[float, float, float]:
    """As ``paired_difference``, for values [N] and [M] at different starts."""
    rng = np.random.default_rng(seed)
    means = [side[rng.integers(len(side), size=(samples, len(side)))].mean(axis=1) for side in (a, b)]
    return _interval(means[1] - means[0])


def _interval(means: Array) -> tuple[float, float, float]:
    low, high = np.quantile(means, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    # Counting the observation itself keeps p above zero; equal values are no difference.
    share = (1 + min((means <= 0).sum(), (means >= 0).sum())) / (1 + len(means))
    return float(low), float(high), float(min(1.0, 2 * share))


def _holm(differences: list[Difference]) -> list[Difference]:
    """Mark what stays significant when the smallest p-values have to be the smaller, the more was compared."""
    order = sorted(range(len(differences)), key=lambda index: differences[index].p)
    marked = list(differences)
    for rank, index in enumerate(order):
        if differences[index].p > (1 - _LEVEL) / (len(differences) - rank):
            break
        marked[index] = replace(differences[index], significant=True)
    return marked
