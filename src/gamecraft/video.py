"""Frames to files and back, through PyAV: no ffmpeg program is needed."""

from __future__ import annotations

import os
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gamecraft.errors import InputError

__all__ = ["VideoWriter", "read_video", "write_video"]


class VideoWriter:
    """Writes H.264 mp4 frame by frame; the file appears under its name only when `close` succeeds.

    Odd sizes are encoded without chroma subsampling, which has no need for even ones.
    """

    def __init__(self, path: Path, fps: int, *, crf: int = 16) -> None:
        self.path = Path(path)
        self._partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        self._fps, self._crf = fps, crf
        self._container: Any = None
        self._stream: Any = None

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # Ctrl-C keeps the frames so far; any other error leaves no half-written file.
        if kind is None or issubclass(kind, KeyboardInterrupt):
            self.close()
        else:
            self.abort()

    def add(self, frames: NDArray[np.uint8]) -> None:
        """Append frames uint8 [F, H, W, 3]."""
        import av

        for frame in frames:
            if self._container is None:
                self._open(frame.shape[0], frame.shape[1])
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            self._container.mux(self._stream.encode(picture))

    def _open(self, height: int, width: int) -> None:
        import av

        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(self._partial), "w", format="mp4", options={"movflags": "+faststart"})
        self._stream = self._container.add_stream("libx264", rate=Fraction(self._fps))
        self._stream.width, self._stream.height = width, height
        even = height % 2 == 0 and width % 2 == 0
        # Small pictures suffer from subsampled colour, large ones must play everywhere.
        self._stream.pix_fmt = "yuv420p" if even and self._crf >= 16 else "yuv444p"
        # With its lookahead, x264 decides differently from run to run on small pictures; equal frames must give
        # equal files.
        steady = "threads=1:mbtree=0:rc-lookahead=0"
        self._stream.options = {"crf": str(self._crf), "preset": "veryfast", "x264-params": steady}
        self._stream.codec_context.thread_count = 1

    def close(self) -> None:
        """Finish the file and give it its name; without any frame there is no file."""
        if self._container is None:
            return
        try:
            self._container.mux(self._stream.encode())
            self._container.close()
        except BaseException:
            self.abort()
            raise
        self._container = None
        os.replace(self._partial, self.path)

    def abort(self) -> None:
        """Remove the unfinished file."""
        if self._container is not None:
            with suppress(OSError):  # on a full disk, closing fails as well
                self._container.close()
            self._container = None
        self._partial.unlink(missing_ok=True)


def write_video(path: Path, frames: NDArray[np.uint8], fps: int, *, crf: int = 16) -> None:
    """Write frames uint8 [F, H, W, 3] as H.264 mp4; the file is whole or absent."""
    with VideoWriter(path, fps, crf=crf) as writer:
        writer.add(frames)


def read_video(
    path: Path | str, *, last: int | None = None, max_pixels: int | None = None
) -> tuple[NDArray[np.uint8], float]:
    """All frames (or the `last` ones) of the first video stream, uint8 [F, H, W, 3], and its frame rate.

    Raises:
        InputError: there is no such file, it holds no readable video, or one of more than `max_pixels` a frame.
    """
    import av
    from av.error import FFmpegError

    if not Path(path).is_file():
        raise InputError(f"no video at {path}")
    frames: list[NDArray[np.uint8]] = []
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise InputError(f"{path} has no video stream")
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            rate = float(stream.average_rate or 24)
            if max_pixels is not None and stream.width * stream.height > max_pixels:
                raise InputError(f"the video is {stream.width}x{stream.height}, expected at most {max_pixels} pixels")
            for frame in container.decode(stream):
                frames.append(frame.to_ndarray(format="rgb24"))
                if last is not None and len(frames) > last:
                    frames.pop(0)
    except (FFmpegError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a video: {error}") from error
    if not frames:
        raise InputError(f"{path} holds no video frames")
    return np.stack(frames), rate
