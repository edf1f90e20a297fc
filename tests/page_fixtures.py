"""A server and a browser for the tests of the page; both take seconds to start, so the tests of a file share them.

No longer than that: as long as the browser is open, Playwright runs an event loop in this thread, and nothing else can.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from gamecraft.pipeline import GameCraftPipeline

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

    from page_driver import Driver
    from page_server import PageServer


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    from page_driver import CHROMIUM, chromium

    if not CHROMIUM.exists():
        pytest.skip(f"the tests of the page need {CHROMIUM}; scripts/system-packages installs it")
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def page_server(
    browser: "Browser", pipe: GameCraftPipeline, tmp_path_factory: pytest.TempPathFactory
) -> "Iterator[PageServer]":
    from page_server import PageServer

    with PageServer(pipe, tmp_path_factory.mktemp("state")) as server:
        yield server


@pytest.fixture
def context(browser: "Browser") -> "Iterator[BrowserContext]":
    """Like a browser that was never used before."""
    context = browser.new_context(
        viewport={"width": 900, "height": 600}, permissions=["clipboard-read", "clipboard-write"]
    )
    yield context
    context.close()


@pytest.fixture
def driver(context: "BrowserContext", page_server: "PageServer") -> "Iterator[Driver]":
    """The page, ready to begin a play; an error in its scripts fails the test."""
    from page_driver import Driver

    driver = Driver(context.new_page(), page_server.url)
    yield driver.open()
    assert not driver.errors
