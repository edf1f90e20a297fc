"""Does curation find what is wrong? Doom recordings with cuts and planted defects, their truth, and the score.

    python benchmarks/curation_defects.py record --folder /tmp/defects --recordings 4 --first 1100 --held-out
    python benchmarks/curation_defects.py score --folder /tmp/defects --curation /tmp/dataset/curation

Between the two, `gamecraft curate /tmp/defects --output /tmp/dataset --set split.frames=48`. Each recording is a row of
pieces of play in several maps; half of them are spoilt, each in its own degree. The truth says what every piece is and
where the cuts are. Without `--held-out` the maps are those that thresholds may be chosen on.
"""

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import count, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from gamecraft.actions import Action
from gamecraft.curation.outcomes import outcomes
from gamecraft.curation.raw import About, RawWriter, truth_path
from gamecraft.curation.store import Store
from gamecraft.worlds.doom import DoomWorld, doom_intrinsics
from gamecraft.worlds.wanderer import Wanderer

FPS, WIDTH, HEIGHT = 24, 512, 288
MAPS = ("freedoom1/e1m1", "freedoom2/map01", "freedoom1/e2m2", "freedoom2/map07", "freedoom1/e3m3", "freedoom2/map11")
HELD_OUT_MAPS = (
    "freedoom1/e1m3", "freedoom1/e1m5", "freedoom1/e2m4", "freedoom1/e2m6", "freedoom1/e3m1", "freedoom1/e4m2",
    "freedoom2/map03", "freedoom2/map05", "freedoom2/map09", "freedoom2/map14", "freedoom2/map18", "freedoom2/map22",
)  # fmt: skip
"""Maps in which no threshold was chosen."""
MENUS = (
    ("NEW GAME", "LOAD GAME", "OPTIONS", "GRAPHICS AND SOUND", "CONTROLS", "QUIT TO DESKTOP"),
    ("Continue", "Inventory", "Save and exit", "Return to main menu"),
    ("PAUSED", "Resume", "Restart level", "Audio settings", "Leave the game"),
    ("Loading the next level", "Tip: look for hidden doors", "Please wait"),
)

Frame = NDArray[np.uint8]
Spoiler = Callable[[Frame, int], Frame]
"""Spoils a frame; the number is its place within the piece."""


def dark(rng: np.random.Generator) -> Spoiler:
    """A room without light."""
    light = rng.uniform(0.03, 0.15)
    return lambda frame, number: (frame * light).astype(np.uint8)


def overexposed(rng: np.random.Generator) -> Spoiler:
    """A flash that does not end."""
    gain, offset = rng.uniform(3, 5), rng.uniform(150, 200)
    return lambda frame, number: np.clip(frame.astype(np.float32) * gain + offset, 0, 255).astype(np.uint8)


def blurred(rng: np.random.Generator) -> Spoiler:
    """Out of focus."""
    sigma = rng.uniform(4, 8)
    return lambda frame, number: np.asarray(cv2.GaussianBlur(frame, (0, 0), sigma), dtype=np.uint8)


def letterboxed(rng: np.random.Generator) -> Spoiler:
    """Bars of a cut scene, wide enough to reach into the window of the dataset's lens."""
    bar = round(rng.uniform(0.15, 0.25) * HEIGHT)

    def spoil(frame: Frame, number: int) -> Frame:
        out = frame.copy()
        out[:bar] = out[-bar:] = 0
        return out

    return spoil


def menu(rng: np.random.Generator) -> Spoiler:
    """A pause menu over the running game, with a cursor that moves."""
    lines = MENUS[rng.integers(len(MENUS))]
    light, left, size = rng.uniform(0.15, 0.6), int(rng.integers(100, 200)), rng.uniform(0.5, 0.8)

    def spoil(frame: Frame, number: int) -> Frame:
        out = (frame * light).astype(np.uint8)
        for row, text in enumerate(lines):
            lit = (number // 12) % len(lines) == row
            place, colour = (left, 80 + 28 * row), (255, 220, 90) if lit else (210, 210, 210)
            cv2.putText(out, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)
        return out

    return spoil


SPOIL: dict[str, Callable[[np.random.Generator], Spoiler]] = {
    "dark": dark, "overexposed": overexposed, "blurred": blurred, "letterbox": letterboxed, "text": menu,
}  # fmt: skip
LATER = ("poses", "captions", "balance", "write")
KINDS = (*SPOIL, "hud", "static", "duplicate")


class Play:
    """A map being played."""

    def __init__(self, place: str, seed: int, *, hud: bool = False) -> None:
        self.world = DoomWorld(place, seed=seed, hud=hud, width=WIDTH, height=HEIGHT)
        self.player, self.place = Wanderer(seed), place
        self.world.reset()

    def step(self) -> tuple[Frame, NDArray[np.float64], Action] | None:
        """A frame with its pose and action; None where the map ends and starts again."""
        action = self.player.next(blocked=self.world.blocked)
        picture = self.world.step(action, use=self.world.blocked)
        if self.world.ended:
            self.world.reset()
            return None
        return picture, self.world.state.pose(), action


def record(folder: Path, numbers: range, seconds: float, *, held_out: bool) -> None:
    """Record, with the truth beside; recordings that are there are kept."""
    known = HELD_OUT_MAPS if held_out else MAPS
    for number in numbers:
        name = f"defects{number:02d}"
        if (folder / f"{name}.mp4").exists():
            continue
        rng = np.random.default_rng([number, 7])
        maps = [known[i] for i in rng.choice(len(known), 3, replace=False)]
        plays = [Play(place, 100 * number + i) for i, place in enumerate(maps)]
        hud = Play(maps[0], 100 * number + 50, hud=True)
        about = About(game="Freedoom", place=", ".join(maps), intrinsics=doom_intrinsics(WIDTH, HEIGHT))
        with RawWriter(folder, name, about, fps=FPS) as writer:
            record_pieces(writer, plays, hud, round(seconds * FPS), rng)
        for play in (*plays, hud):
            play.world.close()
        print(folder / f"{name}.mp4")


def record_pieces(writer: RawWriter, plays: list[Play], hud: Play, frames: int, rng: np.random.Generator) -> None:
    """Pieces of 5 to 10 seconds until there are enough frames; every second one is spoilt, each kind in turn."""
    kinds: list[str] = []
    good: list[list[Any]] = []
    recorded = 0
    for piece in count():
        if recorded >= frames:
            return
        if not kinds:
            kinds = [str(kind) for kind in rng.permutation(KINDS)]
        kind = "good" if piece % 2 == 0 else kinds.pop()
        length = int(rng.integers(5 * FPS, 10 * FPS))
        # Pieces that follow each other come from different maps, so that there is a cut between them.
        play = hud if kind == "hud" else plays[piece % len(plays)]
        if kind == "duplicate":
            # The piece just before would continue without a cut.
            shots = good[int(rng.integers(max(1, len(good) - 1)))]
        else:
            # A piece ends early where the map does.
            shots = [shot for shot in islice(iter(play.step, None), length) if shot is not None]
        if kind == "static":
            shots = [shots[0]] * length
        if kind == "good":
            good.append(shots)
        writer.event(kind, frames=len(shots), place=play.place)
        spoil = SPOIL[kind](rng) if kind in SPOIL else None
        for number, (frame, pose, action) in enumerate(shots):
            writer.add(spoil(frame, number) if spoil else frame, pose, action)
        recorded += len(shots)


def score(folder: Path, curation: Path) -> dict[str, Any]:
    """Recall and precision of cuts and of every reason, over all recordings of the folder."""
    store = Store(curation)
    cuts: Counter[str] = Counter()
    verdicts: dict[str, Counter[str]] = defaultdict(Counter)
    frames = json.loads((curation / "settings.json").read_text())["split"]["frames"]
    for video in sorted(folder.glob("defects*.mp4")):
        events = json.loads(truth_path(video, "events").read_text())
        name = next(path.stem for path in (curation / "scenes").glob(f"{video.stem}-*.json"))
        found, true = (store.read("scenes", name) or {})["cuts"], [event["first"] for event in events[1:]]
        missed = [cut for cut in true if not any(abs(cut - other) <= 2 for other in found)]
        false = [cut for cut in found if not any(abs(cut - other) <= 2 for other in true)]
        cuts += Counter(true=len(true), found=len(found), hits=len(true) - len(missed))
        print(f"{video.stem}: missed cuts {missed}, false cuts {false}")
        for outcome in outcomes(store, [name]):
            kind, reason = kind_of(events, outcome.first, frames), outcome.reason
            # What later stages say of a clip is no matter of defects.
            verdicts[kind]["kept" if outcome.stage in LATER else reason] += 1
            if kind not in ("mixed", reason) and not (kind == "good" and outcome.stage in LATER):
                print(f"  {outcome.clip}: {kind}, judged {reason} ({outcome.detail})")
    return {"cuts": dict(cuts), "verdicts": {kind: dict(counts) for kind, counts in verdicts.items()}}


def kind_of(events: list[dict[str, Any]], first: int, frames: int) -> str:
    """The kind of the piece that a clip lies in, or ``mixed``."""
    kinds = {event["kind"] for event in events if first <= event["last"] and first + frames > event["first"]}
    return kinds.pop() if len(kinds) == 1 else "mixed"


def print_score(result: dict[str, Any]) -> None:
    """As a table."""
    cuts = result["cuts"]
    print(f"cuts: {cuts['true']} planted, recall {cuts['hits'] / cuts['true']:.3f}, "
          f"precision {cuts['hits'] / max(1, cuts['found']):.3f}")  # fmt: skip
    verdicts = result["verdicts"]
    rejected = Counter[str]()
    for counts in verdicts.values():
        rejected += Counter(counts)
    for kind, counts in sorted(verdicts.items()):
        clips, right = sum(counts.values()), counts.get("kept" if kind == "good" else kind, 0)
        named = rejected["kept" if kind == "good" else kind]
        print(f"{kind:12s} {clips:4d} clips, recall {right / clips:.3f}, "
              f"precision {right / named if named else float('nan'):.3f}  {dict(counts)}")  # fmt: skip


def main() -> None:
    """Record or score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("record", "score"))
    parser.add_argument("--folder", type=Path, required=True, help="the recordings")
    parser.add_argument("--curation", type=Path, help="the folder `curation` of the finished dataset")
    parser.add_argument("--recordings", type=int, default=2)
    parser.add_argument("--first", type=int, default=0, help="number of the first recording, which is its seed")
    parser.add_argument("--held-out", action="store_true", help="in maps in which nothing was tuned")
    parser.add_argument("--seconds", type=float, default=180, help="of each recording")
    args = parser.parse_args()
    if args.task == "record":
        numbers = range(args.first, args.first + args.recordings)
        record(args.folder, numbers, args.seconds, held_out=args.held_out)
    else:
        print_score(score(args.folder, args.curation))


if __name__ == "__main__":
    main()
