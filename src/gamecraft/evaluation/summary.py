"""From scores of single chunks to the numbers of the report, with intervals over the start images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gamecraft.evaluation.camera_motion import COMPONENTS
from gamecraft.evaluation.frechet import frechet_distance
from gamecraft.evaluation.measures import seen_by
from gamecraft.evaluation.metrics import bootstrap_interval
from gamecraft.evaluation.motion_estimator import METHOD
from gamecraft.evaluation.pictures import marked_chunks

__all__ = ["MARGIN", "summarise"]

Array = npt.NDArray[np.float64]
Point = dict[str, float] | None

MARGIN = 5.0
"""An estimator judges errors that are at least so many times its own."""
_MOVING = 0.02  # metres or radians per chunk


def summarise(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Numbers per row, metric and chunk.

    Args:
        results: scores of ``play_case`` with ``start`` (number) and ``action`` (name), for every start and action.

    Returns:
        starts: how many. chunks: the marked chunks, from 1.
        overall: row -> metric -> a point {mean, low, high} per marked chunk, over all actions; low and high are the
            95 % bootstrap interval over starts. None where the metric does not apply.
        rollout: row -> metric -> the point of the mean over all chunks.
        actions: action -> as ``overall``. curves: as ``overall``, for every chunk.
        per_start: metric -> mean over actions and chunks, and of the last chunk, for each start; of the first row.
        motion_error: row -> component -> median absolute difference between the motion seen in the frames and the
            true one over a chunk, metres or radians. In the row ``truth`` it is the estimator's own error.
        estimator: row -> component -> how many times larger the first row's mean error is than that of this row, in
            the chunks in which the camera truly moves that way, and RPE -> the same; rows ``truth`` and ``soft``.
        distances: name -> row -> Fréchet distance of the rollouts' features from the truth's.
    """
    starts = sorted({result["start"] for result in results})
    names = list(dict.fromkeys(result["action"] for result in results))
    by_place = {(result["start"], result["action"]): result["rows"] for result in results}
    chunks = len(results[0]["commanded"])
    values: dict[str, dict[str, Array]] = {}  # row -> metric -> [starts, actions, chunks], nan where there is no number
    for row, scores in results[0]["rows"].items():
        values[row] = {
            metric: np.array(
                [[by_place[start, name][row]["metrics"][metric] for name in names] for start in starts], np.float64
            )
            for metric in scores["metrics"]
        }
    marks = marked_chunks(chunks)
    curves = {
        row: {metric: _points(_mean(table, axis=1)) for metric, table in metrics.items()}
        for row, metrics in values.items()
    }
    first = next(iter(values))
    errors = {row: _motion_error(results, row) for row, scores in results[0]["rows"].items() if "motion" in scores}
    return {
        "starts": len(starts),
        "chunks": marks,
        "overall": {row: {m: [points[k - 1] for k in marks] for m, points in by.items()} for row, by in curves.items()},
        "rollout": {
            row: {m: _points(_mean(_mean(t, axis=2), axis=1)[:, None])[0] for m, t in by.items()}
            for row, by in values.items()
        },
        "actions": {
            name: {
                row: {m: [_points(t[:, i])[k - 1] for k in marks] for m, t in by.items()} for row, by in values.items()
            }
            for i, name in enumerate(names)
        },
        "curves": curves,
        "per_start": {
            metric: {
                "rollout": _listed(_mean(_mean(table, axis=2), axis=1)),
                "last chunk": _listed(_mean(table[:, :, -1], axis=1)),
            }
            for metric, table in values[first].items()
        },
        "motion_error": errors,
        "estimator": _sufficiency(results, first),
        "distances": _distances(results),
    }


def _mean(table: Array, axis: int) -> Array:
    """Mean of what is there; nan where nothing is."""
    count = (~np.isnan(table)).sum(axis=axis)
    total = np.nansum(table, axis=axis)
    return np.asarray(np.where(count, total / np.maximum(count, 1), np.nan))


def _points(values: Array) -> list[Point]:
    """Mean and interval over starts of values [starts, chunks], one per chunk."""
    points: list[Point] = []
    for column in values.T:
        present = column[~np.isnan(column)]
        if not len(present):
            points.append(None)
            continue
        low, high = bootstrap_interval(present)
        points.append({"mean": float(present.mean()), "low": low, "high": high})
    return points


def _listed(values: Array) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]


def _motion_error(results: Sequence[dict[str, Any]], row: str) -> dict[str, float]:
    seen = np.array([result["rows"][row]["motion"] for result in results])
    asked = np.array([result["commanded"] for result in results])
    return dict(zip(COMPONENTS, np.median(np.abs(seen - asked), axis=(0, 1)).tolist(), strict=True))


def _sufficiency(results: Sequence[dict[str, Any]], row: str) -> dict[str, dict[str, float]]:
    rows = results[0]["rows"]
    if "motion" not in rows[row]:
        return {}
    asked = np.array([result["commanded"] for result in results])

    def errors(name: str) -> Array:
        return np.asarray(np.abs(np.array([result["rows"][name]["motion"] for result in results]) - asked))

    def mean(name: str, metric: str) -> float:
        return float(np.mean([result["rows"][name]["metrics"][metric] for result in results]))

    judged = errors(row)
    moving = {key: mask for i, key in enumerate(COMPONENTS) if (mask := np.abs(asked[..., i]) > _MOVING).any()}
    relative = [seen_by(metric, METHOD) for metric in ("rpe_translation", "rpe_rotation")]
    found = {}
    for name in (name for name in ("truth", "soft") if name in rows and name != row and moving):
        own = errors(name)
        pairs = {key: (judged[mask], own[mask]) for key, mask in moving.items()}
        found[name] = {
            key: _ratio(*(side[:, COMPONENTS.index(key)].mean() for side in pair)) for key, pair in pairs.items()
        }
        found[name] |= {metric: _ratio(mean(row, metric), mean(name, metric)) for metric in relative}
    return found


def _ratio(judged: float, own: float) -> float:
    return float(judged / max(own, 1e-9))


def _distances(results: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    distances = {}
    for extractor in results[0].get("features", {}):
        features = [by_row for result in results if "truth" in (by_row := result["features"][extractor])]
        if len(features) > 1:
            truth = [by_row["truth"] for by_row in features]
            rows = {row: [by_row[row] for by_row in features] for row in features[0] if row != "truth"}
            name = f"FVD [{extractor}, {len(truth)} rollouts]"
            distances[name] = {row: frechet_distance(vectors, truth) for row, vectors in rows.items()}
    return distances
