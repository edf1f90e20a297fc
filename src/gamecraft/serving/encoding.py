"""Pictures to bytes and back, as they go over the network."""

import io
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gamecraft.errors import InputError
from gamecraft.pictures import fit_picture, open_picture
from gamecraft.serving.frames import PictureFormat

__all__ = ["ChunkEncoder", "choose_format", "decode_upload", "encode_picture"]

_FORMATS = ("PNG", "JPEG", "WEBP")
_VIDEO_PIXELS = 2**16  # from here on H.264 saves more than its halved colour resolution costs
_MAX_QUALITY, _BEST_CRF, _WORST_CRF = 100, 16, 40


def choose_format(wanted: str, height: int, width: int) -> PictureFormat:
    """The format for pictures of a play, from what the client wants: H.264 is for large pictures of even size only."""
    form = PictureFormat[wanted.upper()]
    if form is PictureFormat.H264 and (height * width < _VIDEO_PIXELS or height % 2 or width % 2):
        return PictureFormat.JPEG
    return form


class ChunkEncoder:
    """Encodes the frames of one chunk, in order; each can be sent at once.

    Args:
        quality: 1 to 100.
    """

    def __init__(self, form: PictureFormat, quality: int, fps: int) -> None:
        self._form, self._quality, self._fps = form, quality, fps
        self._codec: Any = None

    def encode(self, frame: NDArray[np.uint8]) -> bytes:
        """The next frame, uint8 [H, W, 3]."""
        if self._form is not PictureFormat.H264:
            return encode_picture(frame, self._form, self._quality)
        import av

        if self._codec is None:
            self._open(frame.shape[0], frame.shape[1])
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        return b"".join(bytes(packet) for packet in self._codec.encode(picture))

    def _open(self, height: int, width: int) -> None:
        """No lookahead and no reordering, so that nothing is kept back; BT.601 in words that decoders believe."""
        import av

        codec: Any = av.CodecContext.create("libx264", "w")
        codec.height, codec.width, codec.pix_fmt = height, width, "yuv420p"
        codec.framerate, codec.time_base = Fraction(self._fps), Fraction(1, self._fps)
        codec.thread_count = 1
        crf = _BEST_CRF + (_WORST_CRF - _BEST_CRF) * (_MAX_QUALITY - self._quality) / _MAX_QUALITY
        colours = "colorprim=smpte170m:transfer=smpte170m:colormatrix=smpte170m:range=tv"
        codec.options = {
            "preset": "ultrafast",
            "tune": "zerolatency",
            "profile": "baseline",
            "crf": f"{crf:.1f}",
            "x264-params": f"keyint=infinite:scenecut=0:repeat-headers=1:annexb=1:{colours}",
        }
        self._codec = codec


def encode_picture(frame: NDArray[np.uint8], form: PictureFormat, quality: int) -> bytes:
    """A frame uint8 [H, W, 3] as JPEG or WebP."""
    buffer = io.BytesIO()
    image = Image.fromarray(frame)
    if form is PictureFormat.WEBP:
        image.save(buffer, "WEBP", quality=quality, method=2)
    else:
        image.save(buffer, "JPEG", quality=quality, subsampling=0)  # small pictures suffer from subsampled colour
    return buffer.getvalue()


def decode_upload(content: bytes, *, max_pixels: int, height: int, width: int) -> NDArray[np.uint8]:
    """An uploaded picture as uint8 [height, width, 3]; its size is checked before anything is decoded.

    Raises:
        InputError: it is not a PNG, JPEG or WebP, is damaged, or has too many pixels.
    """
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            pixels = image.width * image.height
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise InputError("the upload is not a PNG, JPEG or WebP picture") from None
    if pixels > max_pixels:
        raise InputError(f"the picture has {pixels} pixels, expected at most {max_pixels}")
    return fit_picture(open_picture(io.BytesIO(content), formats=_FORMATS), height, width)
