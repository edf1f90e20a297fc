"""Drives the page in a real browser and listens to what it says to the server and hears from it."""

import base64
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, WebSocket, sync_playwright

from gamecraft.serving.frames import Frame, FrameFlag

CHROMIUM = Path("/usr/bin/chromium")
_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_PATIENCE = 240.0
"""Seconds until a test gives up; the machine may be busy."""

_TOOLS = """
window.pixelsOf = (canvas) => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
window.digestOf = (canvas) => {
  let hash = 2166136261;
  for (const byte of pixelsOf(canvas)) hash = Math.imul(hash ^ byte, 16777619);
  return `${canvas.width}x${canvas.height} ${hash >>> 0}`;
};
window.decode = async (base64) => {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const picture = await createImageBitmap(new Blob([bytes], {type: "image/jpeg"}));
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  canvas.getContext("2d").drawImage(picture, 0, 0);
  return digestOf(canvas);
};
window.watch = () => {
  window.watched = [];
  const view = document.getElementById("view");
  const draw = CanvasRenderingContext2D.prototype.drawImage;
  CanvasRenderingContext2D.prototype.drawImage = function (...all) {
    draw.apply(this, all);
    if (this.canvas === view) watched.push(digestOf(view));
  };
};
"""
"""Digests of pictures, so that what is on the screen can be compared without sending it here."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's browser, without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        yield browser
        browser.close()


class Driver:
    """A page, with every message it sent and received since it was opened."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.sent: list[dict[str, Any]] = []
        self.received: list[dict[str, Any]] = []
        self.frames: list[Frame] = []
        self.requests: list[str] = []
        self.errors: list[str] = []
        page.add_init_script(_TOOLS)
        page.on("websocket", self._listen)
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _listen(self, socket: WebSocket) -> None:
        socket.on("framesent", lambda text: self.sent.append(json.loads(text)))
        socket.on("framereceived", self._hear)

    def _hear(self, content: str | bytes) -> None:
        if isinstance(content, bytes):
            self.frames.append(Frame.unpack(content))
        else:
            self.received.append(json.loads(content))

    def open(self) -> "Driver":
        """Load the page and wait until a play could begin."""
        self.page.goto(self.url)
        self.page.wait_for_selector("#begin:enabled", timeout=_PATIENCE * 1000)
        return self

    def open_linked(self) -> "Driver":
        """Load the page by a link that leads into a play, and wait for it."""
        self.page.goto(self.url)
        self.until(lambda: self.of("state"))
        return self

    def begin(self) -> "Driver":
        """Press Play and wait for the picture of the start."""
        self.page.click("#begin")
        self.until(lambda: self.frames and self.of("done"))
        return self

    def walk(self, chunks: int, key: str = "w") -> None:
        """Hold a key for so many chunks more, then pause and wait until nothing comes any more."""
        goal = len(self.of("chunk")) + chunks
        self.page.keyboard.down(key)
        self.until(lambda: len(self.of("chunk")) >= goal)
        self.page.keyboard.up(key)
        self.pause()

    def pause(self) -> None:
        """Pause, and wait until the last picture of the chunks that were announced is on the screen."""
        self.page.keyboard.press("p")
        self.until(lambda: not self.state["playing"], "for the pause")
        last = self.of("chunk")[-1]["chunk"]
        self.until(lambda: self.frame.chunk == last and FrameFlag.LAST in self.frame.flags, "for the last picture")
        self.settle()

    def played(self) -> dict[int, bytes]:
        """The encoded pictures of the play, by the number of their frame."""
        return self._pictures(FrameFlag(0))

    def see_replay_of(self, played: dict[int, bytes]) -> None:
        """Wait until a replay has ended, and compare. A busy machine may leave out pictures, never the last."""
        self.until(lambda: max(played) in self._pictures(FrameFlag.REPLAY), "for the end of the replay")
        replayed = self._pictures(FrameFlag.REPLAY)
        common = replayed.keys() & played.keys()
        assert len(common) > 1
        assert {frame: replayed[frame] for frame in common} == {frame: played[frame] for frame in common}

    def _pictures(self, kind: FrameFlag) -> dict[int, bytes]:
        flags = FrameFlag.STILL | FrameFlag.REPLAY
        return {frame.frame: frame.picture for frame in self.frames if frame.flags & flags == kind}

    def until(self, condition: Callable[[], Any], what: str = "") -> Any:
        """Let the page go on until a condition is true; its value."""
        deadline = time.monotonic() + _PATIENCE
        while not (value := condition()):
            assert time.monotonic() < deadline, f"waited in vain {what}; page errors: {self.errors}"
            self.page.wait_for_timeout(20)
        return value

    def of(self, kind: str) -> list[dict[str, Any]]:
        """All messages of a type from the server."""
        return [message for message in self.received if message["type"] == kind]

    def inputs(self) -> dict[int, dict[str, Any]]:
        """All inputs sent, by number."""
        return {message["seq"]: message for message in self.sent if message["type"] == "input"}

    def acknowledged(self) -> list[dict[str, Any]]:
        """What the server says conditioned each frame of the chunks it made, in order."""
        return [frame for chunk in self.of("chunk") if not chunk["replay"] for frame in chunk["frames"]]

    @property
    def state(self) -> dict[str, Any]:
        """The newest state from the server."""
        return self.of("state")[-1]

    @property
    def frame(self) -> Frame:
        """The newest picture from the server."""
        return self.frames[-1]

    def shown(self) -> str:
        """What stands on the screen, as a digest of its pixels."""
        return str(self.page.evaluate("digestOf(document.getElementById('view'))"))

    def decoded(self, frame: Frame) -> str:
        """What a frame looks like on the screen, as ``shown``."""
        return str(self.page.evaluate("decode", base64.b64encode(frame.picture).decode()))

    def settle(self) -> str:
        """Wait until the newest picture is on the screen; what it looks like."""
        self.until(lambda: self.shown() == self.decoded(self.frame))
        return self.shown()

    def watch(self) -> None:
        """Note every picture that comes to the screen from now on."""
        self.page.evaluate("watch()")

    def watched(self) -> list[str]:
        """The pictures since ``watch``, as ``shown``."""
        return list(self.page.evaluate("watched"))

    def mean_colour(self) -> tuple[float, float, float]:
        """Of the picture on the screen, 0 to 255."""
        pixels = self.page.evaluate("[...pixelsOf(document.getElementById('view'))]")
        red, green, blue = (sum(pixels[channel::4]) / (len(pixels) / 4) for channel in range(3))
        return red, green, blue
