"""Pictures of a camera's path."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gamecraft.errors import InputError

__all__ = ["plot_paths"]

_ARROWS = 24


def plot_paths(paths: Mapping[str, npt.NDArray[np.float64]], file: str | Path) -> None:
    """Draw paths from above (x to the right, z upwards, metres) with headings, start and end, as a PNG.

    Args:
        paths: label -> camera-to-world poses [F, 4, 4].
        file: the PNG to write.

    Raises:
        InputError: there is no path, a path has no pose, or the file cannot be written.
    """
    if not paths or not all(len(poses) for poses in paths.values()):
        raise InputError("there is no path to draw; pass at least one with at least one pose")
    # A figure of its own, without pyplot: no global state, no display.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.add_subplot()
    for index, (label, poses) in enumerate(paths.items()):
        color = f"C{index}"
        x, z = poses[:, 0, 3], poses[:, 2, 3]
        axes.plot(x, z, color=color, label=label)
        some = np.unique(np.linspace(0, len(poses) - 1, _ARROWS).astype(int))
        heading = poses[some, :, 2]
        axes.quiver(x[some], z[some], heading[:, 0], heading[:, 2], angles="xy", color=color, width=0.004, alpha=0.6)
        axes.plot(x[0], z[0], "o", color=color, markersize=9, label="start" if index == 0 else None)
        axes.plot(x[-1], z[-1], "s", color=color, markersize=9, label="end" if index == 0 else None)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set(xlabel="x, metres (right)", ylabel="z, metres (forward)")
    axes.grid(alpha=0.3)
    axes.legend()
    try:
        figure.savefig(file, format="png", dpi=120)
    except OSError as error:
        raise InputError(f"cannot write the plot {file}: {error}") from None
