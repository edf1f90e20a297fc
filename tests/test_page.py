"""The page, played by a real browser against the real server with a tiny random model."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from gamecraft.controls import MAX_MOVE_SPEED
from gamecraft.serving.client import Client
from gamecraft.serving.frames import FrameFlag
from page_driver import Driver

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from page_server import PageServer


def test_holding_w_moves_the_world_and_the_server_says_which_input_did_it(driver: Driver) -> None:
    driver.begin()
    page = driver.page
    before = driver.settle()
    assert not driver.of("chunk"), "the start picture stays until the player moves"

    page.keyboard.down("w")
    assert page.get_attribute("[data-key-name=w]", "aria-pressed") == "true"
    driver.until(lambda: len(driver.of("chunk")) >= 2)
    page.keyboard.up("w")
    assert page.get_attribute("[data-key-name=w]", "aria-pressed") == "false"
    driver.until(lambda: driver.of("chunk")[-1]["frames"][-1]["keys"] == [], "for a chunk without keys")
    driver.pause()

    sent, acknowledged = driver.inputs(), driver.acknowledged()
    assert {tuple(frame["keys"]) for frame in acknowledged} == {("w",), ()}
    assert all(sent[frame["input"]]["keys"] == frame["keys"] for frame in acknowledged)
    moving = [frame for frame in driver.frames if FrameFlag.STILL not in frame.flags]
    assert [frame.input for frame in moving] == [acknowledged[frame.frame]["input"] for frame in moving]
    assert driver.settle() != before


def test_the_mouse_turns_by_what_the_hand_moved(driver: Driver) -> None:
    driver.begin()
    page = driver.page
    page.mouse.click(450, 300)
    driver.until(lambda: page.evaluate("document.pointerLockElement?.id === 'view'"))
    page.mouse.move(450, 300)
    for x in range(455, 551, 5):
        page.mouse.move(x, 290)
    turned = np.multiply([100, 10], 0.0022)  # pixels right and up, at the default sensitivity
    driver.until(
        lambda: np.allclose(np.sum([each["look"] for each in driver.inputs().values()], axis=0), turned), "to send"
    )
    driver.until(
        lambda: np.allclose(np.sum([frame["look"] for frame in driver.acknowledged()], axis=0), turned), "to turn"
    )


def test_the_timeline_leads_back_and_play_goes_on_from_there(driver: Driver) -> None:
    driver.begin()
    driver.walk(3)
    second = [frame for frame in driver.frames if frame.chunk == 1][-1]
    driver.page.click("#chunks li:nth-child(3) button")
    driver.page.click("text=Back to here")
    driver.until(lambda: driver.state["chunks"] == 2 and FrameFlag.STILL in driver.frame.flags)
    driver.settle()
    assert driver.frame.picture == second.picture
    assert driver.page.locator("#chunks li").count() == 3, "the start and two chunks"
    driver.page.keyboard.down("w")
    driver.until(lambda: driver.of("chunk")[-1]["chunk"] == 3)
    driver.page.keyboard.up("w")


def test_backspace_leads_back_one_chunk(driver: Driver) -> None:
    driver.begin()
    driver.walk(2)
    played = driver.of("chunk")[-1]["chunk"] + 1
    driver.page.keyboard.press("Backspace")
    driver.until(lambda: driver.state["chunks"] == played - 1)


def test_a_branch_is_another_session_and_the_old_one_is_kept(driver: Driver) -> None:
    driver.begin()
    driver.walk(2)
    first = driver.state["session"]
    driver.page.click("#chunks li:nth-child(2) button")
    driver.page.click("text=Branch off here")
    driver.until(lambda: driver.state["session"] != first)
    assert driver.state["chunks"] == 1
    driver.walk(1)
    driver.page.click("#leave")
    driver.until(lambda: driver.page.locator("#continue-list li").count() >= 2)


def test_watching_again_shows_the_same_pictures_and_keys(driver: Driver) -> None:
    driver.begin()
    driver.walk(2)
    driver.page.keyboard.press("k")
    driver.page.click("#keep button[value=replay]")
    driver.until(lambda: FrameFlag.REPLAY in driver.frame.flags)
    driver.until(lambda: driver.page.get_attribute("[data-key-name=w]", "aria-pressed") == "true")
    driver.see_replay_of(driver.played())


def test_nothing_from_before_a_reset_is_shown_after_it(driver: Driver) -> None:
    driver.begin()
    start = driver.frame
    driver.settle()
    driver.watch()
    driver.page.keyboard.down("w")
    driver.until(lambda: len(driver.of("chunk")) >= 2)
    driver.page.keyboard.press("Shift+R")  # while the next chunk is being made
    driver.until(lambda: driver.frame.generation == driver.state["generation"] > start.generation)
    driver.until(lambda: driver.of("chunk")[-1]["generation"] == driver.state["generation"])
    driver.page.keyboard.up("w")
    driver.pause()
    driver.settle()
    new = [frame for frame in driver.frames if frame.generation == driver.state["generation"]]
    assert [frame.frame for frame in new] == [0, *range(len(new) - 1)], "the start as a still, then all from the first"
    assert new[0].picture == start.picture
    seen = driver.watched()
    assert seen[-len(new) :] == [driver.decoded(frame) for frame in new]
    assert driver.decoded(start) not in seen[: -len(new)] + seen[1 - len(new) :], (
        "nothing old came after the start was back"
    )


def test_an_upload_starts_from_the_part_that_was_chosen(driver: Driver, tmp_path: Path) -> None:
    picture = np.zeros((400, 1200, 3), np.uint8)
    picture[:, :600, 0] = 230  # red to the left, blue to the right
    picture[:, 600:, 2] = 230
    Image.fromarray(picture).save(tmp_path / "halves.png")
    page = driver.page
    page.set_input_files("#picture-file", tmp_path / "halves.png")
    page.focus("#crop-canvas")
    for _ in range(12):
        page.keyboard.press("ArrowLeft")
    page.click("#crop button[value=use]")
    page.wait_for_selector(".card[data-name='your picture'][aria-checked=true]")
    driver.begin()
    driver.settle()
    red, _, blue = driver.mean_colour()
    assert red > 180
    assert blue < 40


def test_the_page_asks_nobody_but_its_own_server(driver: Driver) -> None:
    driver.begin()
    assert driver.requests
    assert [url for url in driver.requests if not url.startswith((driver.url, "blob:", "data:"))] == []


def test_all_can_be_reached_by_keyboard_and_has_a_name(driver: Driver) -> None:
    page = driver.page
    page.focus(".card[aria-checked=true]")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.getAttribute('aria-checked')") == "true"
    page.keyboard.press("Enter")
    driver.until(lambda: driver.frames)
    nameless = page.evaluate("""() => {
        const named = (item) => item.ariaLabel || item.getAttribute("aria-labelledby") || item.textContent.trim()
          || item.closest("label")?.textContent.trim() || ["log", "status"].includes(item.role);
        return [...document.querySelectorAll("button, input, select, dialog, [role]")]
          .filter((item) => !item.closest("[hidden]") && !named(item)).map((item) => item.outerHTML);
    }""")
    assert nameless == []
    page.keyboard.press("?")
    assert page.locator("#help[open]").is_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("h")
    assert page.evaluate("getComputedStyle(document.getElementById('hud')).opacity") == "0"
    page.keyboard.press("h")
    assert page.evaluate("getComputedStyle(document.getElementById('hud')).opacity") == "1"


def test_typing_a_prompt_does_not_move_the_world(driver: Driver) -> None:
    driver.begin()
    driver.page.keyboard.press("Enter")
    driver.page.keyboard.type("snow was falling")
    driver.page.keyboard.press("Enter")
    driver.until(lambda: driver.state["prompt"] == "snow was falling")
    assert not any(message["keys"] for message in driver.inputs().values())


def test_the_world_waits_while_a_dialog_is_open(driver: Driver) -> None:
    driver.begin()
    driver.page.keyboard.down("w")
    driver.until(lambda: driver.of("chunk"))
    driver.page.keyboard.press("?")
    driver.until(lambda: not driver.state["playing"])
    assert driver.inputs()[max(driver.inputs())]["keys"] == [], "what was held is let go"
    driver.page.keyboard.up("w")
    driver.page.keyboard.press("Escape")
    driver.page.keyboard.down("a")
    driver.until(lambda: driver.state["playing"])
    driver.page.keyboard.up("a")


def test_settings_count_at_once_and_are_remembered(driver: Driver) -> None:
    driver.begin()
    page = driver.page
    page.keyboard.press(",")
    page.focus("#settings input[name=moveSpeed]")
    page.keyboard.press("End")
    page.uncheck("#settings input[name=crisp]")
    page.select_option("#settings select[name=theme]", "light")
    page.keyboard.press("Escape")
    driver.until(lambda: driver.state["move_speed"] == MAX_MOVE_SPEED)
    page.reload()
    assert page.evaluate("getComputedStyle(document.getElementById('view')).imageRendering") == "auto"
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light"


def test_sticks_and_gamepads_hold_keys_and_turn(driver: Driver) -> None:
    driver.page.evaluate("""() => { navigator.getGamepads = () => [{
        connected: true, axes: [0, -1, 0.8, 0], buttons: [] }] }""")
    driver.begin()
    driver.until(lambda: driver.of("chunk"))
    driver.until(lambda: any(frame["look"][0] > 0 for chunk in driver.of("chunk") for frame in chunk["frames"]))
    assert all(message["keys"] == ["w"] for message in driver.inputs().values())
    keys = driver.page.evaluate("""async () => {
        const { stickKeys } = await import(new URL("sticks.js", document.baseURI));
        return [stickKeys(0, 0), stickKeys(0.7, -0.7), stickKeys(-1, 0), stickKeys(0.2, 0.9)]; }""")
    assert keys == [[], ["w", "d"], ["a"], ["s"]]


@pytest.fixture
def touched(browser: "Browser", page_server: "PageServer") -> Iterator[Driver]:
    """The page on a telephone, a play begun by a finger."""
    context = browser.new_context(viewport={"width": 390, "height": 780}, has_touch=True, is_mobile=True)
    driver = Driver(context.new_page(), page_server.url).open()
    driver.page.tap("#begin")
    driver.until(lambda: driver.frames and driver.of("done"))
    yield driver
    assert not driver.errors
    context.close()


def centre(driver: Driver, selector: str) -> tuple[float, float]:
    box = driver.page.locator(selector).bounding_box()
    assert box is not None, f"{selector} cannot be seen"
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_thumbs_walk_and_turn_on_a_touch_screen(touched: Driver) -> None:
    fingers = touched.page.context.new_cdp_session(touched.page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        where = [{"x": x, "y": y, "id": finger} for finger, (x, y) in enumerate(points)]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": where})

    walk, look = centre(touched, "#stick-move"), centre(touched, "#stick-look")
    touch("touchStart", walk, look)
    touch("touchMove", (walk[0], walk[1] - 50), (look[0] + 50, look[1]))
    touched.until(
        lambda: any(frame["keys"] == ["w"] and frame["look"][0] > 0 for frame in touched.acknowledged()),
        "to walk and turn",
    )
    touch("touchMove", (walk[0] + 40, walk[1] - 40), look)
    touched.until(lambda: touched.acknowledged()[-1]["keys"] == ["d", "w"], "for the diagonal")
    touch("touchEnd")
    touched.until(lambda: touched.acknowledged()[-1]["keys"] == [], "to stand")
    assert touched.inputs()[max(touched.inputs())]["keys"] == []

    rise = centre(touched, "[data-key-name=space]")
    touch("touchStart", rise)
    touched.until(lambda: touched.acknowledged()[-1]["keys"] == ["space"], "to rise")
    touch("touchEnd")


def test_many_plays_to_go_on_with_do_not_widen_the_first_page(browser: "Browser", page_server: "PageServer") -> None:
    context = browser.new_context(viewport={"width": 390, "height": 780}, has_touch=True, is_mobile=True)
    with Client(page_server.url) as client:
        for seed in range(4):
            client.create("village", seed=seed)
    page = Driver(context.new_page(), page_server.url).open().page
    page.wait_for_selector("#continue-list li:nth-child(4)")
    outside = page.evaluate("""() => [...document.querySelectorAll("#gallery .card, .start-header *, .drop")]
      .filter((item) => item.getBoundingClientRect().right > innerWidth).map((item) => item.outerHTML)""")
    assert outside == []
    context.close()


@pytest.mark.parametrize("size", [(390, 780), (844, 390), (360, 640)])
def test_on_small_screens_nothing_covers_the_controls(touched: Driver, size: tuple[int, int]) -> None:
    page = touched.page
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.wait_for_timeout(100)
    covered = page.evaluate("""() => {
        const wanted = document.querySelectorAll("#tools .tool, .stick, .key.wide, #play-prompt");
        return [...wanted].filter((item) => item.checkVisibility()).flatMap((item) => {
          const box = item.getBoundingClientRect(), x = box.x + box.width / 2, y = box.y + box.height / 2;
          const hit = document.elementFromPoint(x, y);
          return hit && (item === hit || item.contains(hit)) ? [] : [`${item.id || item.className}: ${hit?.id}`];
        }); }""")
    assert covered == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_glow_is_drawn_only_beside_the_picture(driver: Driver) -> None:
    driver.begin()
    driver.settle()
    page = driver.page
    width, height = page.evaluate("[view.width, view.height]")
    page.set_viewport_size({"width": 20 * width, "height": 20 * height})
    driver.until(lambda: page.evaluate("ambient.hidden"))
    page.set_viewport_size({"width": 20 * width, "height": 30 * height})
    driver.until(lambda: not page.evaluate("ambient.hidden"))
    assert page.evaluate("pixelsOf(ambient).some((byte, place) => place % 4 < 3 && byte > 0)"), "the picture glows"
