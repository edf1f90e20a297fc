"""What a picture costs on its way to the page, as JPEG or WebP by itself and as H.264 video.

Walks through a rendered world and encodes every frame as the server does (one at a time, to be sent at once), measuring
CPU time and bytes; then Chromium decodes them, one at a time: pictures with `createImageBitmap`, H.264 with WebCodecs.
For example:

    python benchmarks/picture_formats.py --sizes 160x96 1216x704 --frames 96

CPU time is of the encoding thread, so other work on the machine disturbs it little; the browser's times are wall clock.
"""

import argparse
import base64
import json
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Page, sync_playwright

from gamecraft.actions import parse_script
from gamecraft.serving.encoding import encode_picture
from gamecraft.serving.frames import PictureFormat
from gamecraft.worlds.environment import LowPolyWorld
from gamecraft.worlds.renderer import Renderer

FPS = 24
QUALITY = 95  # what the page asks for
CRF = 18  # of H.264, about as good to the eye

DECODE = """async ([kind, items, width, height]) => {
  const bytes = items.map((text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)));
  const times = [];
  if (kind !== "h264") {
    for (const one of bytes) {
      const began = performance.now();
      (await createImageBitmap(new Blob([one], {type: `image/${kind}`}))).close();
      times.push(performance.now() - began);
    }
    return {times, behind: 0};
  }
  if (!window.VideoDecoder) return {error: "no WebCodecs here"};
  const config = {codec: "avc1.42c02a", codedWidth: width, codedHeight: height, optimizeForLatency: true};
  if (!(await VideoDecoder.isConfigSupported(config)).supported) return {error: "no H.264 in WebCodecs here"};
  const came = [];
  let failure = null;
  const output = (frame) => { came.push([frame.timestamp, performance.now()]); frame.close(); };
  const decoder = new VideoDecoder({output, error: (error) => { failure = String(error); }});
  decoder.configure(config);
  const sent = [];
  let behind = 0;
  for (let i = 0; i < bytes.length; i += 1) {
    sent.push(performance.now());
    decoder.decode(new EncodedVideoChunk({type: i % 24 ? "delta" : "key", timestamp: i, data: bytes[i]}));
    const patience = performance.now() + 300;  // for a decoder that keeps frames back
    while (came.length <= i && performance.now() < patience) await new Promise((resume) => setTimeout(resume, 0));
    behind = Math.max(behind, i + 1 - came.length);
  }
  await decoder.flush();
  return failure ? {error: failure} : {times: came.map(([index, when]) => when - sent[index]), behind};
}"""


def walk(width: int, height: int, frames: int) -> NDArray[np.uint8]:
    """Frames uint8 [F, H, W, 3] of a walk with turns."""
    world = LowPolyWorld(7, "village", renderer=Renderer(height=height, width=width))
    world.reset()
    actions = parse_script("3x(w 1s, w+right 1s, left 1s)", FPS)
    return np.stack([world.step(actions[index % len(actions)]) for index in range(frames)])


def by_itself(form: PictureFormat) -> Callable[[NDArray[np.uint8]], bytes]:
    """The server's own encoding of one picture."""
    return lambda frame: encode_picture(frame, form, QUALITY)


def as_video(width: int, height: int) -> Callable[[NDArray[np.uint8]], bytes]:
    """An encoder that gives every frame at once: no lookahead, no reordering, a key frame each second."""
    codec: Any = av.CodecContext.create("libx264", "w")
    codec.width, codec.height, codec.pix_fmt = width, height, "yuv420p"
    codec.framerate, codec.time_base = Fraction(FPS), Fraction(1, FPS)
    codec.thread_count = 1
    tuning = {"preset": "ultrafast", "tune": "zerolatency", "crf": str(CRF), "profile": "baseline"}
    codec.options = tuning | {"x264-params": f"keyint={FPS}:min-keyint={FPS}:scenecut=0:repeat-headers=1:annexb=1"}

    def encode(frame: NDArray[np.uint8]) -> bytes:
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        return b"".join(bytes(packet) for packet in codec.encode(picture))

    return encode


def measure(name: str, encode: Callable[[NDArray[np.uint8]], bytes], frames: NDArray[np.uint8], page: Page) -> Any:
    """Encoding and decoding of all frames, in order."""
    contents, seconds = [], []
    for frame in frames:
        began = time.thread_time()
        contents.append(encode(frame))
        seconds.append(time.thread_time() - began)
    height, width = frames.shape[1:3]
    decoded = page.evaluate(DECODE, [name, [base64.b64encode(one).decode() for one in contents], width, height])
    times = decoded.get("times") or [float("nan")]
    return {
        "encode_cpu_ms": round(1000 * float(np.median(seconds)), 2),
        "kilobytes": round(float(np.mean([len(one) for one in contents])) / 1000, 2),
        "frames_kept_back_by_encoder": sum(not one for one in contents),
        "decode_ms": {f"p{p}": round(float(np.percentile(times, p)), 2) for p in (50, 95)},
        "frames_kept_back_by_decoder": decoded.get("behind"),
        "error": decoded.get("error"),
    }


def main() -> int:
    """Measure and report; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["160x96", "1216x704"], metavar="WxH")
    parser.add_argument("--frames", type=int, default=96)
    parser.add_argument("--chromium", type=Path, default=Path("/usr/bin/chromium"))
    args = parser.parse_args()
    result: dict[str, Any] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=args.chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.route("http://localhost/", lambda route: route.fulfill(body="", content_type="text/html"))
        page.goto("http://localhost/")  # WebCodecs is for secure places only
        for size in args.sizes:
            width, height = map(int, size.split("x"))
            frames = walk(width, height, args.frames)
            formats = {form.name.lower(): by_itself(form) for form in PictureFormat} | {"h264": as_video(width, height)}
            result[size] = {name: measure(name, encode, frames, page) for name, encode in formats.items()}
        browser.close()
    print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
