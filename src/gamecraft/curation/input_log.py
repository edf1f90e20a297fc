"""Input logs: what a player held and how the mouse moved, second by second, as CSV.

``seconds,event,value`` with one line per change::

    0.000000,keys,w+d      from here on these keys are held (an empty value: none)
    0.041667,look,0.02:0   the mouse turned by so many radians (yaw to the right, pitch upwards)
"""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gamecraft.actions import Action, Key
from gamecraft.errors import InputError

__all__ = ["InputLog", "format_inputs", "read_inputs"]

_HEADER = ["seconds", "event", "value"]


class InputLog:
    """Events in the order of time; seconds count from the first frame of the video."""

    def __init__(
        self, keys: Sequence[tuple[float, frozenset[Key]]], looks: Sequence[tuple[float, float, float]]
    ) -> None:
        self._key_times = np.array([time for time, _ in keys])
        self._keys = [held for _, held in keys]
        self._looks = np.array(looks, dtype=np.float64).reshape(-1, 3)

    def held(self, times: NDArray[np.float64]) -> list[frozenset[Key]]:
        """The keys held at ``times`` [F] in seconds."""
        places = np.searchsorted(self._key_times, times + 1e-6, side="right") - 1
        return [self._keys[place] if place >= 0 else frozenset() for place in places]

    def looked(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Radians of mouse motion [F, 2] since the time before; the first is 0."""
        sums = np.concatenate([[[0.0, 0.0]], np.cumsum(self._looks[:, 1:], axis=0)])
        until = sums[np.searchsorted(self._looks[:, 0], times + 1e-6, side="right")]
        return np.diff(until, axis=0, prepend=until[:1])


def format_inputs(actions: Iterable[Action], fps: float) -> str:
    """The log of one action per frame."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_HEADER)
    held: frozenset[Key] | None = None
    for frame, action in enumerate(actions):
        if action.keys != held:
            writer.writerow([f"{frame / fps:.6f}", "keys", "+".join(sorted(action.keys))])
            held = action.keys
        if any(action.look):
            writer.writerow([f"{frame / fps:.6f}", "look", f"{action.look[0]!r}:{action.look[1]!r}"])
    return out.getvalue()


def read_inputs(path: Path) -> InputLog:
    """Read a log; lines may be in any order.

    Raises:
        InputError: the file cannot be read, or a line is not valid.
    """
    keys: list[tuple[float, frozenset[Key]]] = []
    looks: list[tuple[float, float, float]] = []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            if next(rows, None) != _HEADER:
                raise InputError(f"{path}: the first line must be {','.join(_HEADER)}")
            for number, row in enumerate(rows, start=2):
                _read_row(row, f"{path}, line {number}", keys, looks)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read the input log {path}: {error}") from None
    return InputLog(sorted(keys, key=lambda event: event[0]), sorted(looks))


def _read_row(
    row: list[str],
    place: str,
    keys: list[tuple[float, frozenset[Key]]],
    looks: list[tuple[float, float, float]],
) -> None:
    try:
        seconds, event, value = row
        time = float(seconds)
        if not math.isfinite(time):
            raise ValueError
        if event == "keys":
            keys.append((time, frozenset(Key(name) for name in value.split("+") if name)))
        elif event == "look":
            yaw, pitch = (float(part) for part in value.split(":"))
            if not (math.isfinite(yaw) and math.isfinite(pitch)):
                raise ValueError
            looks.append((time, yaw, pitch))
        else:
            raise ValueError
    except ValueError:
        raise InputError(
            f"{place}: expected seconds,keys,w+d or seconds,look,yaw:pitch, received {row!r:.60}"
        ) from None
