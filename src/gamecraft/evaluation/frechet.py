"""Fréchet distance between two sets of features: how differently two collections of videos are distributed."""

import numpy as np
import numpy.typing as npt

from gamecraft.errors import InputError

__all__ = ["frechet_distance", "gaussian_distance"]

Array = npt.NDArray[np.float64]


def frechet_distance(features: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    """Fréchet distance of Gaussians fitted to features [N, D] and [M, D] of two sets.

    The squared distance of Dowson and Landau 1982, as used by Heusel et al. 2017 (FID) and Unterthiner et al. 2018
    (FVD). It is biased for few samples: compare only numbers from equally many, and never from different extractors.

    Raises:
        InputError: shapes do not fit, or a set has fewer than two members.
    """
    sets = [np.asarray(values, dtype=np.float64) for values in (features, reference)]
    shapes = [list(values.shape) for values in sets]
    if any(len(shape) != 2 or shape[0] < 2 for shape in shapes) or shapes[0][1] != shapes[1][1]:
        raise InputError(f"a Fréchet distance needs two sets [N, D] of at least two, received {shapes[0]}, {shapes[1]}")
    (mean, covariance), (other_mean, other_covariance) = (
        (values.mean(axis=0), np.atleast_2d(np.cov(values, rowvar=False))) for values in sets
    )
    return gaussian_distance(mean, covariance, other_mean, other_covariance)


def gaussian_distance(mean: Array, covariance: Array, other_mean: Array, other_covariance: Array) -> float:
    """|m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)) of two Gaussians with means [D] and covariances [D, D]."""
    root = _square_root(covariance)
    # C C' has the eigenvalues of the symmetric root C' root, the square roots of which are its trace's summands.
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ other_covariance @ root), 0)).sum()
    distance = np.square(mean - other_mean).sum() + np.trace(covariance) + np.trace(other_covariance) - 2 * shared
    return max(0.0, float(distance))


def _square_root(covariance: Array) -> Array:
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T)
