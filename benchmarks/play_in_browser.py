"""Play the page in a real browser: the frames per second that arrive there, and the time from a key to its first frame.

    python benchmarks/play_in_browser.py --seconds 60 --screenshot outputs/play.png

Starts `gamecraft play` with a state folder of its own and opens its page in headless Chromium, which needs the package
chromium and Playwright. Another key is pressed every second or two, and what the page itself shows of its speed is read
after each; the first ten seconds are left out. Server and browser share the machine. Prints JSON.
"""

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Page, sync_playwright

KEYS = ("w", "a", "s", "d", "ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown")
WARM_UP = 10.0
ARGUMENTS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")


def main() -> int:
    """Start the server, play, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="of play; default: %(default)g")
    parser.add_argument("--seed", type=int, default=0, help="of the keys; default: %(default)s")
    parser.add_argument("--chromium", type=Path, default=Path("/usr/bin/chromium"), help="default: %(default)s")
    parser.add_argument("--screenshot", type=Path, metavar="FILE", help="PNG of the page in the middle of the play")
    parser.add_argument("options", nargs="*", metavar="OPTION", help="of `gamecraft play`, after --")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as state:
        command = [sys.executable, "-m", "gamecraft", "play", "--no-browser", "--port", "0", "--state", state]
        server = subprocess.Popen([*command, *args.options], stderr=subprocess.PIPE, text=True)
        try:
            url = address(server)
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=args.chromium, args=ARGUMENTS)
                page = browser.new_page(viewport={"width": 1280, "height": 768})
                page.goto(url)
                print(json.dumps(play(page, args)), flush=True)
                browser.close()
        finally:
            server.terminate()
            server.wait()
    return 0


def address(server: subprocess.Popen[str]) -> str:
    """Where the server that is starting says it can be found."""
    assert server.stderr is not None
    said = ""
    for line in server.stderr:
        said += line
        if found := re.search(r"http://\S+", line):
            threading.Thread(target=server.stderr.read, daemon=True).start()  # or it would wait for a reader
            return found[0]
    raise SystemExit(f"the server did not start:\n{said}")


def play(page: Page, args: argparse.Namespace) -> dict[str, Any]:
    """Press keys for so long; what the page showed."""
    page.click("#begin:enabled", timeout=600_000)
    page.wait_for_selector("#hud-chunk", timeout=600_000)
    while not page.inner_text("#hud-chunk").isdecimal() or int(page.inner_text("#hud-chunk")) < 2:
        page.keyboard.down("w")  # a play begins with the first key after the start picture has come
        page.wait_for_timeout(500)
        page.keyboard.up("w")
    rng = random.Random(args.seed)
    frames, latencies = [], []
    begun = time.monotonic()
    shown = args.screenshot is None
    while (now := time.monotonic() - begun) < args.seconds:
        key = rng.choice(KEYS)
        page.keyboard.down(key)
        page.wait_for_timeout(1000 * rng.uniform(1, 2))
        if not shown and now > args.seconds / 2:
            args.screenshot.parent.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=args.screenshot)
            shown = True
        latency = re.fullmatch(r"(\d+) ms", page.inner_text("#hud-latency"))
        if now > WARM_UP and latency:
            frames.append(float(page.inner_text("#hud-fps")))
            latencies.append(int(latency[1]) / 1000)
        page.keyboard.up(key)
    return {
        "keys": len(latencies),
        "frames_per_second": float(np.median(frames)),
        "key_to_frame_p50": float(np.percentile(latencies, 50)),
        "key_to_frame_p95": float(np.percentile(latencies, 95)),
    }


if __name__ == "__main__":
    raise SystemExit(main())
