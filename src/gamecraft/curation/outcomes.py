"""What became of every clip, read back from the results of the stages."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gamecraft.curation.store import Result, Store

__all__ = ["KEPT", "Outcome", "funnel", "outcomes"]

KEPT, NOT_CHOSEN = "kept", "not chosen"
_STAGES = ("borders", "text", "checks", "duplicates", "poses", "captions", "balance")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a clip.

    Attributes:
        clip, recording, first: its name, its recording's name and its first frame.
        stage: where it ended; ``write`` if it is in the dataset.
        reason, detail: why; ``kept`` in the dataset.
    """

    clip: str
    recording: str
    first: int
    stage: str
    reason: str
    detail: str = ""


def outcomes(store: Store, recordings: Iterable[str]) -> list[Outcome]:
    """The fate of every clip that was cut from these recordings, after a finished run."""
    duplicates = {name: {"rejected": why} for name, why in _read(store, "duplicates", "all").get("clips", {}).items()}
    chosen = {name for name, _ in _read(store, "balance", "all").get("clips", [])}
    found = []
    for recording in recordings:
        clips = _read(store, "split", recording).get("clips", [])
        pictures = _read(store, "picture", recording).get("clips", [])
        for first, picture in zip(clips, pictures, strict=True):
            name = f"{recording}/{first:08d}"
            stage, reason, detail = _fate(store, name, picture, duplicates.get(name, {}), chosen)
            found.append(
                Outcome(clip=name, recording=recording, first=first, stage=stage, reason=reason, detail=detail)
            )
    return found


def funnel(found: Sequence[Outcome]) -> list[tuple[str, int, Counter[str]]]:
    """For each stage after the split: its name, the clips that came in, and the reasons of those it rejected."""
    rows, left = [], len(found)
    for stage in ("picture", *_STAGES):
        reasons = Counter(outcome.reason for outcome in found if outcome.stage == stage)
        rows.append((stage, left, reasons))
        left -= reasons.total()
    return rows


def _fate(store: Store, name: str, picture: Result, duplicate: Result, chosen: set[str]) -> tuple[str, str, str]:
    known = {"picture": picture, "duplicates": duplicate}
    for stage in ("picture", *_STAGES[:-1]):
        result = known[stage] if stage in known else _read(store, stage, name)
        if rejected := result.get("rejected"):
            return stage, rejected[0], rejected[1]
    return ("write", KEPT, "") if name in chosen else ("balance", NOT_CHOSEN, "its kind of motion has clips enough")


def _read(store: Store, stage: str, unit: str) -> Result:
    return store.read(stage, unit) or {}
