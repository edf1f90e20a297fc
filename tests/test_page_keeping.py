"""What the page keeps and brings back: after a lost connection, from files and links, as videos."""

from pathlib import Path

import av
from playwright.sync_api import BrowserContext

from gamecraft.pipeline import GameCraftPipeline
from gamecraft.session import Session
from page_driver import Driver
from page_server import PageServer


def test_a_play_outlives_the_connection_and_the_server(driver: Driver, page_server: PageServer) -> None:
    driver.begin()
    driver.page.keyboard.down("w")
    driver.until(lambda: driver.of("chunk"))
    page_server.stop()
    driver.until(lambda: driver.page.locator("#banner").is_visible(), "to be told that the connection is lost")
    before = driver.state
    chunks = driver.of("chunk")[-1]["chunk"] + 1
    count = len(driver.of("state"))

    page_server.may_load.clear()
    page_server.start()
    driver.until(driver.page.locator("#cover >> text=Warming up").is_visible, "to see that the model is loaded")
    page_server.may_load.set()
    driver.until(lambda: len(driver.of("state")) > count, "to be back")
    assert driver.state["session"] == before["session"]
    assert driver.state["seed"] == before["seed"]
    assert driver.state["chunks"] >= chunks
    assert not driver.page.locator("#banner").is_visible()
    count = len(driver.of("chunk"))  # W has been held all the time
    driver.until(lambda: any(f["keys"] == ["w"] for chunk in driver.of("chunk")[count:] for f in chunk["frames"]))
    driver.page.keyboard.up("w")


def test_a_reloaded_tab_goes_on_and_another_window_takes_over_when_asked(
    driver: Driver, context: BrowserContext, page_server: PageServer
) -> None:
    driver.begin()
    driver.walk(1)
    session = driver.state["session"]
    count = len(driver.of("state"))
    driver.page.reload()
    driver.until(lambda: len(driver.of("state")) > count)
    assert driver.state["session"] == session

    other = Driver(context.new_page(), page_server.url).open()
    other.page.click(f"#continue-list img[src*='{session}']")
    other.until(lambda: other.of("state"))
    assert other.state["session"] == session
    driver.until(lambda: driver.page.locator("text=Played elsewhere").is_visible())
    driver.page.click("text=Play here")
    other.until(lambda: other.page.locator("text=Played elsewhere").is_visible())


def test_a_session_file_replays_the_same_in_python_and_on_the_page(
    driver: Driver, pipe: GameCraftPipeline, tmp_path: Path
) -> None:
    driver.begin()
    driver.walk(2)
    played = driver.played()
    driver.page.keyboard.press("k")
    with driver.page.expect_download() as download:
        driver.page.click("#keep button[value=file]")
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    session, _ = Session.load(path, pipe)
    assert session.num_chunks == driver.of("chunk")[-1]["chunk"] + 1
    assert [sorted(action.keys) for action in session.actions] == [frame["keys"] for frame in driver.acknowledged()]

    first = driver.state["session"]
    driver.page.click("#leave")
    driver.page.set_input_files("#session-file", path)
    driver.page.click("#file-choice button[value=replay]")
    driver.see_replay_of(played)
    assert driver.state["session"] != first, "a file opens as a copy"


def test_a_link_shows_a_copy_to_somebody_else(driver: Driver, context: BrowserContext) -> None:
    driver.begin()
    driver.walk(1)
    driver.page.keyboard.press("k")
    driver.page.click("#keep button[value=link]")
    driver.until(lambda: driver.page.locator("text=The link is copied").is_visible())
    other = Driver(context.new_page(), driver.page.evaluate("navigator.clipboard.readText()")).open_linked()
    other.see_replay_of(driver.played())
    assert other.state["session"] != driver.state["session"]


def test_recordings_and_videos_can_be_watched(driver: Driver, tmp_path: Path) -> None:
    driver.begin()
    driver.page.keyboard.press("v")
    driver.walk(3)
    with driver.page.expect_download() as download:
        driver.page.keyboard.press("v")
    assert download.value.suggested_filename.endswith((".mp4", ".webm"))
    download.value.save_as(recording := tmp_path / "recording")
    with av.open(recording) as video:
        frames = list(video.decode(video=0))
    assert len(frames) >= 5
    assert frames[0].width == 48 * 20, "enlarged by a whole number, so that pixels stay crisp"

    driver.page.keyboard.press("k")
    with driver.page.expect_download() as download:
        driver.page.click("#keep button[value=video]")
    download.value.save_as(whole := tmp_path / download.value.suggested_filename)
    with av.open(whole) as video:
        assert len(list(video.decode(video=0))) >= len(driver.played())
