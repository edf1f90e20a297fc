"""A bot that walks through a world: it goes on while the picture changes, and turns where it seems to be stuck.

Start a server with `gamecraft play --no-browser`, then: python examples/bot.py
"""

import argparse
import math

import numpy as np

from gamecraft import Client

STUCK = 3.0
"""Mean difference between first and last frame of a chunk, of 255, below which the way seems blocked."""
TURN = math.radians(40)


def main() -> None:
    """Play some chunks and say what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--token")
    parser.add_argument("--image", default="village")
    parser.add_argument("--chunks", type=int, default=20)
    args = parser.parse_args()
    with Client(args.url, args.token) as client:
        client.wait_until_ready()
        with client.play() as play:
            session = play.start(args.image).session
            look = 0.0
            for number in range(args.chunks):
                play.hold(["w"], look=(look, 0.0))
                frames = play.step().frames.astype(float)
                change = float(np.abs(frames[-1] - frames[0]).mean())
                look = TURN if change < STUCK else 0.0
                print(f"chunk {number}: the picture changed by {change:.1f}{', turning' if look else ''}")
            play.request("save", name="the bot's walk")
        print(f"session {session}; go on in the page, or: client.play({session!r})")


if __name__ == "__main__":
    main()
