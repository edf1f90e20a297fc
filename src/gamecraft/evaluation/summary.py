"""From scores of single chunks to the numbers of the report, with intervals over the start images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gamecraft.evaluation.camera_motion import COMPONENTS
from gamecraft.evaluation.metrics import bootstrap_interval
from gamecraft.evaluation.pictures import marked_chunks
from gamecraft.evaluation.scoring import METRICS

__all__ = ["summarise"]

Array = npt.NDArray[np.float64]


def summarise(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Numbers per row, metric and marked chunk.

    Args:
        results: scores of ``play_case`` with ``start`` (number) and ``action`` (name), for every start and action.

    Returns:
        chunks: the marked chunks, from 1.
        overall: row -> metric -> one {mean, low, high} per marked chunk, over all actions; low and high are the 95 %
            bootstrap interval over starts.
        actions: action -> the same.
        curves: row -> metric -> one {mean, low, high} for every chunk.
        motion_error: row -> component -> median absolute difference between the motion seen in the frames and the
            true one over a chunk, metres or radians. In the row ``truth`` it is the estimator's own error.
    """
    starts = sorted({result["start"] for result in results})
    names = list(dict.fromkeys(result["action"] for result in results))
    by_place = {(result["start"], result["action"]): result for result in results}
    rows = list(results[0]["rows"])
    values = {
        row: {
            metric: np.array(
                [[[c[metric] for c in by_place[s, a]["rows"][row]] for a in names] for s in starts], dtype=np.float64
            )
            for metric in METRICS
        }
        for row in rows
    }
    marks = marked_chunks(len(results[0]["commanded"]))
    curves = {row: {m: _intervals(values[row][m].mean(axis=1)) for m in METRICS} for row in rows}
    return {
        "starts": len(starts),
        "chunks": marks,
        "overall": {row: {m: [curves[row][m][k - 1] for k in marks] for m in METRICS} for row in rows},
        "actions": {
            name: {
                row: {m: _intervals(values[row][m][:, i][:, [k - 1 for k in marks]]) for m in METRICS} for row in rows
            }
            for i, name in enumerate(names)
        },
        "curves": curves,
        "motion_error": {row: _motion_error(results, row) for row in rows},
    }


def _intervals(values: Array) -> list[dict[str, float]]:
    """Mean and interval over starts of values [starts, chunks], one per chunk."""
    summary = []
    for column in values.T:
        low, high = bootstrap_interval(column)
        summary.append({"mean": float(column.mean()), "low": low, "high": high})
    return summary


def _motion_error(results: Sequence[dict[str, Any]], row: str) -> dict[str, float]:
    seen = np.array([[chunk["motion"] for chunk in result["rows"][row]] for result in results])
    asked = np.array([result["commanded"] for result in results])
    return dict(zip(COMPONENTS, np.median(np.abs(seen - asked), axis=(0, 1)).tolist(), strict=True))
