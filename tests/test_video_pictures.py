"""Large pictures go as H.264, where the client can decode it; small ones and those of other clients do not."""

import base64
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest

from gamecraft.errors import InputError
from gamecraft.serving.client import Client
from gamecraft.serving.encoding import ChunkEncoder, choose_format
from gamecraft.serving.frames import Frame, FrameFlag, PictureFormat
from gamecraft.serving.messages import Hello
from gamecraft.serving.remote_play import RemotePlay, decode_frame
from page_server import PageServer
from tiny import CHUNK, tiny_pipeline

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

LARGE = (256, 272)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    """A server whose pictures are large enough."""
    pipe = tiny_pipeline(height=LARGE[0], width=LARGE[1])
    with PageServer(pipe, tmp_path_factory.mktemp("state")) as server:
        with Client(server.url) as client:
            client.wait_until_ready(300)
        yield server


def moving(frames: int = CHUNK) -> np.ndarray:
    """Coloured shapes that move over a gradient, uint8 [F, H, W, 3]."""
    picture = np.zeros((frames, *LARGE, 3), np.uint8)
    picture[..., 0] = np.linspace(20, 230, LARGE[1])
    picture[..., 2] = np.linspace(200, 40, LARGE[0])[:, None]
    for index in range(frames):
        picture[index, 60:120, 20 + 8 * index : 90 + 8 * index] = (240, 200, 40)
    return picture


def decoded(units: list[bytes]) -> np.ndarray:
    codec: Any = av.CodecContext.create("h264", "r")
    pictures = [codec.decode(av.Packet(unit)) for unit in units] + [codec.decode(None)]
    return np.stack([picture.to_ndarray(format="rgb24") for some in pictures for picture in some])


def test_every_frame_is_there_at_once_and_looks_right() -> None:
    frames, encoder = moving(), ChunkEncoder(PictureFormat.H264, 95, 24)
    units = [encoder.encode(frame) for frame in frames]
    assert all(units), "nothing is kept back"
    assert np.abs(decoded(units).astype(int) - frames).mean() < 3
    assert units == [*map(ChunkEncoder(PictureFormat.H264, 95, 24).encode, frames)], "equal frames give equal bytes"
    assert sum(map(len, units)) < sum(len(ChunkEncoder(PictureFormat.JPEG, 95, 24).encode(one)) for one in frames)


@pytest.mark.parametrize(
    ("wanted", "size", "used"),
    [
        ("h264", (704, 1216), PictureFormat.H264),
        ("h264", (96, 160), PictureFormat.JPEG),
        ("h264", (705, 1216), PictureFormat.JPEG),
        ("webp", (704, 1216), PictureFormat.WEBP),
        ("jpeg", (704, 1216), PictureFormat.JPEG),
    ],
)
def test_video_is_for_large_pictures_of_even_size(wanted: str, size: tuple[int, int], used: PictureFormat) -> None:
    assert choose_format(wanted, *size) is used


def test_chunks_are_video_and_stills_are_pictures(large: PageServer) -> None:
    with RemotePlay(large.url.replace("http", "ws") + "api/play", hello=Hello(version=1, format="h264")) as play:
        assert play.welcome.format == "h264"
        play.start("village", seed=3)
        frames: list[Frame] = []
        for chunk in range(2):
            play.request("step")
            while len(frames) < CHUNK * (chunk + 1):
                item = play.receive()
                if isinstance(item, Frame) and FrameFlag.STILL in item.flags:
                    assert item.format is PictureFormat.JPEG
                elif isinstance(item, Frame):
                    frames.append(item)
    assert {frame.format for frame in frames} == {PictureFormat.H264}
    assert [frame.frame for frame in frames if FrameFlag.KEY in frame.flags] == [0, CHUNK], "each chunk by itself"
    with pytest.raises(InputError, match=r"is H\.264"):
        decode_frame(frames[0])
    with Client(large.url) as client, client.play() as play:  # the same play as JPEG
        play.start("village", seed=3)
        shown = np.concatenate([play.step().frames for _ in range(2)])
    seen = np.concatenate([decoded([f.picture for f in frames[:CHUNK]]), decoded([f.picture for f in frames[CHUNK:]])])
    assert np.abs(seen.astype(int) - shown).mean() < 12  # the networks are random, so the pictures are noise


def test_the_page_shows_what_the_server_sent(large: PageServer, context: "BrowserContext") -> None:
    from page_driver import Driver

    driver = Driver(context.new_page(), large.url).open().begin()
    if next(message for message in driver.sent if message["type"] == "hello")["format"] != "h264":
        pytest.skip("this browser cannot decode H.264")
    driver.page.keyboard.down("w")
    driver.until(lambda: len(driver.of("chunk")) >= 2)
    driver.page.keyboard.up("w")
    driver.page.keyboard.press("p")
    driver.until(lambda: not driver.state["playing"])
    last = driver.of("chunk")[-1]["chunk"]
    driver.until(lambda: driver.frame.chunk == last and FrameFlag.LAST in driver.frame.flags)
    assert driver.frame.format is PictureFormat.H264
    expected = (
        decoded([frame.picture for frame in driver.frames if frame.chunk == last])[-1].reshape(-1, 3).mean(axis=0)
    )
    driver.until(lambda: np.allclose(driver.mean_colour(), expected, atol=3), f"for a picture of colour {expected}")


def test_after_a_lost_frame_the_page_waits_for_one_that_it_can_decode(
    large: PageServer, context: "BrowserContext"
) -> None:
    encoder = ChunkEncoder(PictureFormat.H264, 95, 24)
    units = [base64.b64encode(encoder.encode(frame)).decode() for frame in moving(4)]
    page = context.new_page()
    page.goto(large.url)
    came = page.evaluate(
        """async (units) => {
          const { VideoPictures, canDecodeVideo } = await import(new URL("video.js", document.baseURI));
          if (!(await canDecodeVideo())) return null;
          const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
          const frame = (number, unit, flags) => ({ frame: number, flags, bytes: bytes(units[unit]) });
          const pictures = new VideoPictures(), KEY = 8;
          const all = [frame(1, 1, 0), frame(10, 0, KEY), frame(11, 1, 0), frame(13, 3, 0), frame(20, 0, KEY)];
          return Promise.all(all.map((one) => pictures.decode(one).then((picture) => picture !== null)));
        }""",
        units,
    )
    if came is None:
        pytest.skip("this browser cannot decode H.264")
    assert came == [False, True, True, False, True]
