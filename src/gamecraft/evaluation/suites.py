"""Evaluation suites: which starts, signals, rows and metrics; fixed, so that numbers can be compared between models."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gamecraft.errors import InputError
from gamecraft.evaluation.signals import Signal

__all__ = ["SUITES", "Suite", "suite_named"]

_PLAYED = ("model", "idle", "freeze", "warp", "vae", "soft", "truth")
_COMPARED = ("model", "freeze", "soft", "truth")


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A set of rollouts.

    Attributes:
        about: what it is for, one line. signals: name -> signal; every start is played with each of them.
        rows: what is measured beside one another, see ``gamecraft.evaluation.rows``.
        groups: groups of metrics, see ``gamecraft.evaluation.measures``.
        starts, chunks: how many, unless asked otherwise.
    """

    name: str
    about: str
    signals: Mapping[str, Signal]
    rows: tuple[str, ...] = _COMPARED
    groups: tuple[str, ...] = ("motion", "pictures", "dynamics")
    starts: int = 12
    chunks: int = 4


def _holding(*names: str) -> Mapping[str, Signal]:
    return MappingProxyType({name: Signal(keys=name) for name in names})


_SINGLE = ("w", "s", "a", "d", "left", "right", "up", "down")
_SWITCHES = (("", "w"), ("", "d"), ("", "right"), ("w", "s"), ("s", "w"), ("a", "d"), ("left", "right"),
             ("right", "left"), ("w", "left"), ("right", "w"), ("w", ""), ("right", ""))  # fmt: skip

SUITES = {
    suite.name: suite
    for suite in (
        Suite(
            name="quick",
            about="all directions and two combinations, in minutes",
            signals=_holding(*_SINGLE, "w+left", "w+d"),
            rows=_PLAYED,
            starts=8,
            chunks=8,
        ),
        Suite(
            name="full",
            about="as quick, in six times as many worlds",
            signals=_holding(*_SINGLE, "w+left", "w+d"),
            rows=_PLAYED,
            starts=48,
            chunks=8,
        ),
        Suite(
            name="paper",
            about="150 start images x 12 action signals, as in the paper's evaluation: 8 single, 4 combined",
            signals=_holding(*_SINGLE, "w+left", "w+right", "w+d", "s+a"),
            rows=("model", "freeze", "truth"),
            groups=("motion", "frames", "pictures", "dynamics"),
            starts=150,
        ),
        Suite(
            name="long",
            about="32 chunks: how pictures and control decay",
            signals=MappingProxyType(
                {
                    "right": Signal(keys="right"),
                    "circle": Signal(keys="w+left"),
                    "pace": Signal(keys="w", then="s", every=4),
                    "sway": Signal(keys="a", then="d", every=4),
                }
            ),
            chunks=32,
        ),
        Suite(
            name="revisit",
            about="turn or walk away and come back: memory",
            signals=MappingProxyType(
                {
                    "turn": Signal(keys="right", then="left"),
                    "turn left": Signal(keys="left", then="right"),
                    "walk": Signal(keys="w", then="s"),
                    "side": Signal(keys="d", then="a"),
                }
            ),
            rows=("model", "memoryless", "freeze", "warp", "soft", "truth"),
            groups=("revisit", "pictures", "motion"),
            chunks=10,
        ),
        Suite(
            name="control",
            about="step responses: how soon and how exactly an action changes the motion, also against the history's",
            signals=MappingProxyType(
                {
                    f"{before or 'idle'} to {after or 'idle'}": Signal(keys=after, history=before)
                    for before, after in _SWITCHES
                }
            ),
            groups=("response", "motion"),
            chunks=2,
        ),
        Suite(
            name="speed",
            about="seconds per chunk, time to the first frames, memory; on an idle machine, one process",
            signals=_holding("w"),
            rows=("model",),
            groups=("speed",),
            starts=1,
            chunks=12,
        ),
        Suite(
            name="vae",
            about="the autoencoder alone",
            signals=_holding("w", "right", "w+left"),
            rows=("vae",),
            groups=("pictures",),
        ),
        Suite(
            name="play",
            about="the recorded actions of your own clips (--data), against their frames",
            signals=MappingProxyType({"play": Signal(keys="")}),
            rows=_PLAYED,
        ),
    )
}


def suite_named(name: str) -> Suite:
    """The suite of that name; InputError if there is none."""
    if name not in SUITES:
        raise InputError(f"unknown suite {name!r:.40}; the suites are {', '.join(SUITES)}")
    return SUITES[name]
