"""Trajectories as files: the published pose text, TUM, and JSON.

* pose text (``.txt``): one header line, then ``index fx fy cx cy 0 0`` and a 3x4 *world-to-camera* matrix, row by row.
* TUM (``.tum``): ``seconds tx ty tz qx qy qz qw`` camera-to-world; lines that start with # are comments.
* JSON (``.json``): times, intrinsics and poses, camera-to-world; the only one of the three that keeps everything.
"""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gamecraft.errors import InputError
from gamecraft.files import write_atomically
from gamecraft.rotations import quaternions_to_rotations, rotations_to_quaternions
from gamecraft.trajectory import Trajectory

__all__ = ["format_trajectory", "parse_trajectory", "read_trajectory", "write_trajectory"]

_HEADER = "index fx fy cx cy 0 0 and a 3x4 world-to-camera matrix, by rows"
_POSE_COLUMNS, _TUM_COLUMNS = 19, 8


def read_trajectory(path: str | Path) -> Trajectory:
    """Read a trajectory; the format is told by the content.

    Raises:
        InputError: the file cannot be read or is not one of the formats.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the trajectory {path}: {error}") from None
    try:
        return parse_trajectory(text)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def write_trajectory(trajectory: Trajectory, path: str | Path) -> None:
    """Write a trajectory in the format of the file name's ending; the file is whole or absent.

    Raises:
        InputError: the ending is none of .txt, .tum, .json, or the file cannot be written.
    """
    text = format_trajectory(trajectory, Path(path).suffix)
    try:
        with write_atomically(Path(path)) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write the trajectory {path}: {error}") from None


def parse_trajectory(text: str) -> Trajectory:
    """Read any of the three formats.

    Raises:
        InputError: it is none of them, or its poses are not valid (see ``Trajectory``).
    """
    if text.lstrip().startswith("{"):
        return _parse_json(text)
    lines = [(n, line.split()) for n, line in enumerate(text.splitlines(), start=1) if line.strip()]
    columns = len(lines[-1][1]) if lines else 0
    if columns == _POSE_COLUMNS:
        # The first line is a header whatever it holds, as in the published reader.
        return _from_pose_rows(_numbers([line for line in lines if line[0] > 1], columns))
    if columns == _TUM_COLUMNS:
        return _from_tum_rows(_numbers([line for line in lines if not line[1][0].startswith("#")], columns))
    raise InputError(
        f"expected a trajectory as JSON, as pose text ({_POSE_COLUMNS} numbers a line after a header) or as TUM "
        f"({_TUM_COLUMNS} numbers a line); the last line has {columns} words"
    )


def format_trajectory(trajectory: Trajectory, suffix: str) -> str:
    """The text of a file that ends in ``suffix``; numbers keep all their bits.

    Raises:
        InputError: ``suffix`` is none of .txt, .tum, .json.
    """
    if suffix == ".json":
        data = {"version": 1, "convention": "opencv camera-to-world, metres"}
        arrays = {name: getattr(trajectory, name).tolist() for name in ("times", "intrinsics", "poses")}
        return json.dumps(data | arrays) + "\n"
    if suffix == ".tum":
        rotations = rotations_to_quaternions(trajectory.poses[:, :3, :3])
        rows = np.concatenate([trajectory.times[:, None], trajectory.poses[:, :3, 3], rotations], axis=1)
        return _lines("# seconds tx ty tz qx qy qz qw", [[repr(float(v)) for v in row] for row in rows])
    if suffix == ".txt":
        w2c = np.linalg.inv(trajectory.poses)[:, :3].reshape(-1, 12)
        rows = np.concatenate([trajectory.intrinsics, np.zeros((len(w2c), 2)), w2c], axis=1)
        return _lines(_HEADER, [[str(i), *(repr(float(v)) for v in row)] for i, row in enumerate(rows)])
    raise InputError(f"unknown trajectory format {suffix!r}; use .txt (pose text), .tum or .json")


def _lines(header: str, rows: list[list[str]]) -> str:
    return "\n".join([header, *(" ".join(row) for row in rows)]) + "\n"


def _numbers(lines: list[tuple[int, list[str]]], columns: int) -> npt.NDArray[np.float64]:
    rows = []
    for number, words in lines:
        try:
            row = [float(word) for word in words]
        except ValueError:
            row = []
        if len(row) != columns:
            raise InputError(f"line {number}: expected {columns} numbers, received {' '.join(words)!r:.60}")
        rows.append(row)
    return np.array(rows, dtype=np.float64).reshape(len(rows), columns)


def _from_pose_rows(rows: npt.NDArray[np.float64]) -> Trajectory:
    w2c = np.tile(np.eye(4), (len(rows), 1, 1))
    w2c[:, :3] = rows[:, 7:].reshape(-1, 3, 4)
    Trajectory(poses=w2c)  # refuses matrices without a (sensible) inverse
    return Trajectory(poses=np.asarray(np.linalg.inv(w2c), dtype=np.float64), intrinsics=rows[:, 1:5])


def _from_tum_rows(rows: npt.NDArray[np.float64]) -> Trajectory:
    with np.errstate(over="ignore"):  # a length too large to compute is not 1 either
        lengths = np.linalg.norm(rows[:, 4:], axis=1)
    bad = np.flatnonzero(~(np.abs(lengths - 1) <= 1e-2))
    if bad.size:
        raise InputError(f"quaternion {bad[0]} does not have length 1")
    poses = np.tile(np.eye(4), (len(rows), 1, 1))
    poses[:, :3, :3] = quaternions_to_rotations(rows[:, 4:])
    poses[:, :3, 3] = rows[:, 1:4]
    return Trajectory(poses=poses, times=rows[:, 0])


def _parse_json(text: str) -> Trajectory:
    try:
        data = json.loads(text)
        if data.get("version") != 1:
            raise InputError(f"expected a trajectory of version 1, received version {data.get('version')!r:.40}")
        poses, times, intrinsics = (np.array(data[name], dtype=np.float64) for name in ("poses", "times", "intrinsics"))
    except KeyError as error:
        raise InputError(f"the JSON trajectory lacks {error}") from None
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise InputError(f"not a valid JSON trajectory: {error}") from None
    return Trajectory(poses=poses, times=times, intrinsics=intrinsics)
