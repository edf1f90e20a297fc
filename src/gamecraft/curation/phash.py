"""Perceptual hashes: equal pictures have equal hashes, similar ones hashes that differ in few bits."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["BITS", "difference_hash", "hash_bytes", "hash_distances"]

BITS = 64


def difference_hash(grey: NDArray[np.uint8]) -> str:
    """Whether each of 8x8 places is brighter than the one to its left, as 16 hexadecimal digits.

    Args:
        grey: uint8 [H, W].
    """
    import cv2

    small = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
    return np.packbits(small[:, 1:] > small[:, :-1]).tobytes().hex()


def hash_bytes(hashes: Sequence[str]) -> NDArray[np.uint8]:
    """Hashes as uint8 [N, 8]."""
    return np.frombuffer(bytes.fromhex("".join(hashes)), dtype=np.uint8).reshape(len(hashes), BITS // 8)


def hash_distances(one: NDArray[np.uint8], many: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Differing bits between hashes ``one`` [..., 8] and ``many`` [N, ..., 8]: [N, ...]."""
    return np.asarray(np.bitwise_count(one ^ many).sum(axis=-1, dtype=np.int64))
