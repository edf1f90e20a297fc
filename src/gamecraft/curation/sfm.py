"""The camera of a clip from its pictures alone: tracked points, then incremental structure from motion by COLMAP.

COLMAP places key frames; the frames between see the same points, which place them too.
Where the camera only turns there is no structure to be had, and nothing to have it for: then the rotation that explains
the tracks is the answer.
"""

from __future__ import annotations

import signal
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gamecraft.curation.certainty import certainty, pose_deviation, turn_deviation
from gamecraft.curation.extras import require
from gamecraft.curation.resection import resect
from gamecraft.curation.tracks import Sighting, track_points
from gamecraft.intrinsics import Intrinsics
from gamecraft.trajectory import Trajectory, interpolate

__all__ = ["CameraPath", "estimate_path", "load_colmap", "rotations", "structure", "turning"]

Array = NDArray[np.float64]

# Pairs of key frames whose shared tracks are offered to COLMAP, in key frames from one to the other.
_GAPS = (1, 2, 3, 4, 6, 8, 12, 16, 24)
_MIN_SHARED = 15
_TURNING_ERROR = 1.0  # pixels, at which tracks count as explained by turning alone
_TURNING_LIMIT = 2.5  # pixels, of any frame


@dataclass(frozen=True, kw_only=True, eq=False)
class CameraPath:
    """The poses of some frames of a clip, in a world of unknown orientation and scale.

    Attributes:
        frames: [K] numbers of the frames.
        poses: [K, 4, 4] camera-to-world.
        confidence: 0 to 1, from the share of frames that have a pose and how exactly their points determine it.
        turning: whether the camera only turns.
        error: pixels between where points are seen and where they should be, on average.
        points: for each frame the points [3] that it sees, by the number of their track; none if the camera only turns.
    """

    frames: NDArray[np.int64]
    poses: Array
    confidence: float
    turning: bool
    error: float
    points: tuple[Mapping[int, Array], ...] = ()


def estimate_path(frames: Sequence[NDArray[np.uint8]], lens: Intrinsics, stride: int) -> CameraPath | None:
    """Estimate the camera of a clip's frames, as far as those before and after can be placed; None if none can be.

    Every ``stride``-th frame and the last are key frames.

    Args:
        frames: F pictures uint8 [H, W, 3].
        lens: of the pictures.

    Raises:
        GameCraftError: pycolmap is not installed.
    """
    height, width = frames[0].shape[:2]
    sightings = track_points(frames)
    keys = sorted({*range(0, len(frames), stride), len(frames) - 1})
    seen = [sightings[key] for key in keys]
    focal = np.array([lens.fx * width, lens.fy * height])
    centre = np.array([lens.cx * width, lens.cy * height])
    if path := turning(keys, seen, focal, centre):
        return turning(range(len(frames)), sightings, focal, centre) or path
    colmap = load_colmap()
    camera = colmap.Camera(model="PINHOLE", width=width, height=height, params=[*focal, *centre])
    camera.has_prior_focal_length = True
    found = structure(keys, seen, camera)
    return found and _with_frames_between(found[0], stride, sightings, focal, centre)


def _with_frames_between(
    path: CameraPath, stride: int, sightings: Sequence[Sighting], focal: Array, centre: Array
) -> CameraPath:
    """The path and the frames between its neighbouring key frames, placed by the points that both of these see."""
    known = Trajectory(poses=path.poses, times=path.frames.astype(np.float64))
    poses = {int(frame): pose for frame, pose in zip(path.frames, path.poses, strict=True)}
    for number, (first, last) in enumerate(pairwise(path.frames.tolist())):
        if not 1 < last - first <= stride:
            continue
        here, there = path.points[number], path.points[number + 1]
        points = {track: point for track, point in here.items() if track in there and (there[track] == point).all()}
        between = np.arange(first + 1, last)
        guesses = interpolate(known, between.astype(np.float64)).poses
        for frame, guess in zip(between.tolist(), guesses, strict=True):
            poses[frame] = resect(guess, sightings[frame], points, focal, centre)
    frames = np.array(sorted(poses))
    return replace(path, frames=frames, poses=np.stack([poses[int(frame)] for frame in frames]), points=())


def turning(keys: Sequence[int], seen: Sequence[Sighting], focal: Array, centre: Array) -> CameraPath | None:
    """The path if rotations explain all tracks, between neighbours and over longer gaps.

    Args:
        keys, seen: K numbers of frames and what is seen in them.
        focal, centre: [2] of the lens, in pixels.
    """
    found = rotations(seen, focal, centre, limit=_TURNING_LIMIT)
    if found is None:
        return None
    poses, errors = found
    error = float(np.median(errors))
    if error > _TURNING_ERROR:
        return None
    points = float(np.mean([len(sighting.ids) for sighting in seen]))
    return CameraPath(
        frames=np.array(keys),
        poses=poses,
        confidence=round(certainty(turn_deviation(points, focal, error)), 4),
        turning=True,
        error=round(error, 4),
    )


def rotations(
    seen: Sequence[Sighting], focal: Array, centre: Array, *, limit: float = np.inf
) -> tuple[Array, Array] | None:
    """Poses [K, 4, 4] of a camera that only turns, as well as tracks can be explained that way, and errors [K - 1].

    Errors are median pixels of a frame's tracks, against the frame before and one farther away. None if an error is
    above ``limit``, or neighbours share too few tracks.
    """
    rotation = np.eye(3)
    poses = [np.eye(4)]
    errors = []
    # A slow walk looks like turning from one key frame to the next, but not over many.
    anchor, anchor_rotation = 0, rotation
    for number in range(1, len(seen)):
        step = _rotation_between(seen[number - 1], seen[number], focal, centre)
        if step is None:
            return None
        rotation = rotation @ step[0]
        far = _rotation_error(seen[anchor], seen[number], anchor_rotation.T @ rotation, focal, centre)
        if far is None:
            anchor, anchor_rotation = number - 1, poses[-1][:3, :3]
            far = _rotation_error(seen[anchor], seen[number], step[0], focal, centre)
        errors.append(max(step[1], far or 0.0))
        if errors[-1] > limit:
            return None
        pose = np.eye(4)
        pose[:3, :3] = rotation
        poses.append(pose)
    return np.stack(poses), np.array(errors)


def _rotation_between(a: Sighting, b: Sighting, focal: Array, centre: Array) -> tuple[Array, float] | None:
    """The rotation [3, 3] from camera ``b`` to camera ``a`` that explains the shared tracks best, and its error."""
    _, i, j = np.intersect1d(a.ids, b.ids, return_indices=True)
    if len(i) < _MIN_SHARED:
        return None
    one, two = _bearings(a.points[i], focal, centre), _bearings(b.points[j], focal, centre)
    weights = np.ones(len(i))
    rotation = np.eye(3)
    for _ in range(8):  # reweighted, so that moving things do not count
        u, _, vt = np.linalg.svd((one * weights[:, None]).T @ two)
        rotation = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
        residual = np.linalg.norm(one - two @ rotation.T, axis=1) * focal[0]
        weights = 1 / (residual**2 + 0.25)
    return rotation, float(np.median(residual))


def _rotation_error(a: Sighting, b: Sighting, rotation: Array, focal: Array, centre: Array) -> float | None:
    """Median pixels by which shared tracks contradict a rotation from ``b`` to ``a``; None if too few are shared."""
    _, i, j = np.intersect1d(a.ids, b.ids, return_indices=True)
    if len(i) < _MIN_SHARED:
        return None
    one, two = _bearings(a.points[i], focal, centre), _bearings(b.points[j], focal, centre)
    return float(np.median(np.linalg.norm(one - two @ rotation.T, axis=1)) * focal[0])


def _bearings(points: NDArray[np.float32], focal: Array, centre: Array) -> Array:
    rays = np.concatenate([(points + 0.5 - centre) / focal, np.ones((len(points), 1))], axis=1)
    return np.asarray(rays / np.linalg.norm(rays, axis=1, keepdims=True))


def load_colmap() -> Any:
    """The module ``pycolmap``, quietly.

    Raises:
        GameCraftError: it is not installed.
    """
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    colmap = require("pycolmap", "estimating camera poses")
    if main and before is not None:
        signal.signal(signal.SIGTERM, before)  # its logging prints a stack trace when the process is told to end
    colmap.logging.minloglevel = 3
    return colmap


def structure(keys: Sequence[int], seen: Sequence[Sighting], camera: Any) -> tuple[CameraPath, float] | None:
    """The path that COLMAP's incremental mapper finds, and the camera's first focal length in pixels.

    Args:
        keys, seen: K numbers of frames and what is seen in them.
        camera: ``pycolmap.Camera``; its focal length is estimated as well if it has no prior one.
    """
    colmap = load_colmap()
    with tempfile.TemporaryDirectory(prefix="gamecraft-sfm-") as folder:
        database = Path(folder) / "database.db"
        _write_database(colmap, database, keys, seen, camera)
        verifier, geometry = colmap.GeometricVerifierOptions(), colmap.TwoViewGeometryOptions()
        verifier.num_threads = 1
        geometry.ransac.random_seed = 0
        geometry.ransac.max_error = 2.0
        colmap.geometric_verification(database, verifier, two_view_geometry_options=geometry)
        options = _mapping_options(colmap, refine=not camera.has_prior_focal_length)
        models = colmap.incremental_mapping(database, folder, folder, options)
    if not models:
        return None
    model = max(models.values(), key=lambda found: found.num_reg_images())
    (lens,) = model.cameras.values()
    focal = np.array([lens.focal_length_x, lens.focal_length_y])
    error = float(model.compute_mean_reprojection_error())
    poses, points, deviations = {}, {}, []
    for image in model.images.values():
        rows = [row for row, point in enumerate(image.points2D) if point.has_point3D()]
        if not image.has_pose or len(rows) < _MIN_SHARED:
            continue
        frame = int(image.name)
        places = [model.points3D[image.points2D[row].point3D_id].xyz for row in rows]
        tracks = seen[keys.index(frame)].ids[rows].tolist()
        points[frame] = dict(zip(tracks, places, strict=True))
        poses[frame] = pose = np.eye(4)
        pose[:3] = image.cam_from_world().inverse().matrix()
        deviations.append(pose_deviation((np.array(places) - pose[:3, 3]) @ pose[:3, :3], focal, error))
    if not poses:
        return None
    frames = sorted(poses)
    path = CameraPath(
        frames=np.array(frames),
        poses=np.stack([poses[frame] for frame in frames]),
        confidence=round(len(frames) / len(keys) * certainty(float(np.mean(deviations))), 4),
        turning=False,
        error=round(error, 4),
        points=tuple(points[frame] for frame in frames),
    )
    return path, float(lens.params[0])


def _write_database(colmap: Any, path: Path, keys: Sequence[int], seen: Sequence[Sighting], camera: Any) -> None:
    database = colmap.Database.open(path)
    camera_id = database.write_camera(camera)
    rig = colmap.Rig()
    rig.add_ref_sensor(colmap.sensor_t(colmap.SensorType.CAMERA, camera_id))
    rig_id = database.write_rig(rig)
    images = []
    for key, sighting in zip(keys, seen, strict=True):
        image = colmap.Image(name=f"{key:06d}", camera_id=camera_id)
        image.image_id = database.write_image(image)
        frame = colmap.Frame()
        frame.rig_id = rig_id
        frame.add_data_id(image.data_id)
        database.write_frame(frame)
        # COLMAP's pixels have their middle at a half, OpenCV's at a whole number.
        database.write_keypoints(image.image_id, sighting.points + np.float32(0.5))
        images.append(image.image_id)
    for first in range(len(keys)):
        for second in (first + gap for gap in _GAPS if first + gap < len(keys)):
            _, i, j = np.intersect1d(seen[first].ids, seen[second].ids, return_indices=True)
            if len(i) >= _MIN_SHARED:
                database.write_matches(images[first], images[second], np.stack([i, j], axis=1).astype(np.uint32))
    database.close()


def _mapping_options(colmap: Any, *, refine: bool) -> Any:
    """One model, the same result every time; the focal length as given, or refined."""
    options = colmap.IncrementalPipelineOptions()
    options.num_threads = 1
    options.random_seed = 0
    options.ba_refine_focal_length = refine
    options.ba_refine_extra_params = False
    options.extract_colors = False
    options.multiple_models = False
    options.min_model_size = 5
    options.mapper.init_min_tri_angle = 8
    options.mapper.init_min_num_inliers = 50
    # Tracks are good to a pixel or two. With more tolerance, a wrong mix of turning and moving passes as the view of a
    # flat wall, and the tracks that speak against it as outliers.
    options.mapper.init_max_error = 2
    options.mapper.abs_pose_max_error = 4
    options.mapper.filter_max_reproj_error = 2
    options.mapper.abs_pose_min_num_inliers = _MIN_SHARED
    # Clips are short and their tracks long, so that local adjustment sees nearly everything.
    options.ba_global_frames_ratio = options.ba_global_points_ratio = 1.5
    return options
