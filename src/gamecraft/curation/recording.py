"""Reads a recording of any length frame by frame, whatever its container, rate, rotation and pixel shape.

Frames are taken on a regular grid: frame i is what a viewer sees i / fps seconds after the first frame. Variable frame
rates, missing time stamps and odd clocks end here; all of curation counts in grid frames.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gamecraft.errors import InputError

__all__ = ["MAX_PIXELS", "Probe", "content_hash", "probe", "read_grid"]

logger = logging.getLogger(__name__)

MAX_PIXELS = 8192 * 4320
_MAX_SECONDS = 24 * 3600
# A time stamp may be this share of a frame late and still count as in time: containers round to milliseconds.
_SLACK = 0.25
_MAX_BAD_PACKETS = 100
# Seconds to seek too early, for streams whose key frames carry the time of the frame after.
_SEEK_MARGIN = 0.05


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What a container says about its video, turned the way it is shown.

    Attributes:
        width, height: pixels as shown (rotated, square).
        seconds: length, as far as the container knows; 0 if it does not.
        fps: average rate, for information.
    """

    width: int
    height: int
    seconds: float
    fps: float


def probe(path: Path) -> Probe:
    """Open a recording and decode its first frame.

    Raises:
        InputError: there is no file, it cannot be opened, or it holds no video of a sane size.
    """
    import av

    with _opened(path) as (container, stream):
        first = next(_decoded(container, stream, path), None)
        if first is None:
            raise InputError(f"{path} holds no video frames")
        if first.width * first.height > MAX_PIXELS:
            raise InputError(f"{path} has {first.width}x{first.height} pixels, more than {MAX_PIXELS}")
        width, height = _shown_size(first, stream)
        seconds = float(stream.duration * stream.time_base) if stream.duration else 0.0
        if not seconds and container.duration:
            seconds = container.duration / av.time_base
        if seconds > _MAX_SECONDS:
            raise InputError(f"{path} lasts {seconds / 3600:.0f} hours, more than {_MAX_SECONDS // 3600}; split it")
        return Probe(width=width, height=height, seconds=seconds, fps=float(stream.average_rate or 0))


def read_grid(
    path: Path,
    fps: float,
    *,
    first: int = 0,
    count: int | None = None,
    width: int | None = None,
    wanted: Container[int] | None = None,
) -> Iterator[NDArray[np.uint8]]:
    """Frames of the grid one by one, uint8 [H, W, 3], from number ``first`` on, at most ``count`` of them.

    Args:
        width: scale to this width in pixels, keeping the shape; as recorded if None. Never enlarges.
        wanted: numbers on the grid; the others are left out, which is quicker than making pictures of them.

    Raises:
        InputError: the file cannot be opened. A file that breaks off in the middle ends there.
    """
    with _opened(path) as (container, stream):
        start = _start_of(container, stream, path)
        frames = _from(container, stream, path, start + first / fps)
        number, shown, picture = first, None, None
        last = None if count is None else first + count
        for frame in itertools.chain(frames, [None]):
            # The picture before stays until this one's time has come.
            end = _end_of(shown, stream, start, fps) if frame is None else (_time(frame, stream) - start) * fps - _SLACK
            while shown is not None and number < end and (last is None or number < last):
                if wanted is None or number in wanted:
                    picture = _picture(shown, stream, width) if picture is None else picture
                    yield picture
                number += 1
            if last is not None and number >= last:
                return
            shown, picture = frame, None


def content_hash(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    import av
    from av.error import FFmpegError

    if not path.is_file():
        raise InputError(f"no video at {path}")
    try:
        container = av.open(str(path))
    except (FFmpegError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a video: {getattr(error, 'strerror', None) or error}") from None
    with container:
        if not container.streams.video:
            raise InputError(f"{path} has no video stream")
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        yield container, stream


def _decoded(container: Any, stream: Any, path: Path) -> Iterator[Any]:
    """Frames with a time stamp. A damaged packet is left out; the file ends where nothing more can be read."""
    from av.error import FFmpegError

    bad = 0
    packets = container.demux(stream)
    while bad < _MAX_BAD_PACKETS:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            yield from (frame for frame in packet.decode() if frame.pts is not None)
        except (FFmpegError, ValueError):
            bad += 1
    logger.warning("%s: more than %d damaged packets, the rest is left out", path, _MAX_BAD_PACKETS)


def _start_of(container: Any, stream: Any, path: Path) -> float:
    """Seconds on the stream's clock of the first frame; decoding starts anew after it."""
    first = next(_decoded(container, stream, path), None)
    if first is None:
        raise InputError(f"{path} holds no video frames")
    return _time(first, stream)


def _from(container: Any, stream: Any, path: Path, seconds: float) -> Iterator[Any]:
    """Frames from at or before ``seconds`` on the stream's clock."""
    from av.error import FFmpegError

    for target in (seconds, 0.0):
        try:
            container.seek(max(0, int((target - _SEEK_MARGIN) / stream.time_base)), stream=stream)
        except FFmpegError as error:
            raise InputError(f"{path} cannot be read from the beginning again: {error}") from None
        frames = _decoded(container, stream, path)
        found = next(frames, None)
        # Without an index, some containers land after the place: then everything before it is decoded as well.
        if found is not None and (_time(found, stream) <= seconds or target == 0.0):
            return itertools.chain([found], frames)
    return iter(())


def _time(frame: Any, stream: Any) -> float:
    return float(frame.pts * stream.time_base)


def _end_of(frame: Any, stream: Any, start: float, fps: float) -> float:
    """The grid place at which a recording's last frame is no longer seen; 0 if there is no frame."""
    if frame is None:
        return 0.0
    place = (_time(frame, stream) - start) * fps
    return max(place + float((frame.duration or 0) * stream.time_base) * fps - _SLACK, place + _SLACK)


def _shown_size(frame: Any, stream: Any) -> tuple[int, int]:
    shape = float(stream.sample_aspect_ratio or 1)
    width, height = (round(frame.width * shape) if 0.1 < shape < 10 else frame.width), frame.height
    return (height, width) if frame.rotation % 180 else (width, height)


def _picture(frame: Any, stream: Any, width: int | None) -> NDArray[np.uint8]:
    """The frame as it is shown, uint8 [H, W, 3]."""
    shown_width, shown_height = _shown_size(frame, stream)
    scale = min(1.0, width / shown_width) if width else 1.0
    size = max(1, round(shown_width * scale)), max(1, round(shown_height * scale))
    turned = size[::-1] if frame.rotation % 180 else size
    picture = frame.to_ndarray(format="rgb24", width=turned[0], height=turned[1], interpolation="AREA")
    return np.ascontiguousarray(np.rot90(picture, round(frame.rotation / 90) % 4))
