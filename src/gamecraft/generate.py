"""A whole generation with its files: video, contact sheet, sidecar, and a session to resume from while it runs."""

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gamecraft.actions import Action
from gamecraft.contact_sheet import Cell, sample_frames, write_sheet
from gamecraft.errors import InputError
from gamecraft.output_files import OutputFiles
from gamecraft.parallel import agree
from gamecraft.rollout import in_chunks, whole_chunk
from gamecraft.session import Session
from gamecraft.sidecar import GenerateSettings, versions, write_sidecar
from gamecraft.training.run import StopSignal
from gamecraft.video import VideoWriter

__all__ = ["Generation", "Progress"]

_PICTURES = 20  # on the contact sheet
_SAVING_SHARE = 0.05  # of the time may go into saving the session

Progress = Callable[[float], None]
"""Called with the frames that are done, a fraction during a chunk."""


@dataclass(kw_only=True)
class Generation:
    """Writes the files of a session that plays ``actions``.

    Args:
        session: at its start, or after some of the chunks.
        settings: for the sidecar and for resuming.
        facts: more JSON values for both.
        seconds: computing time of each chunk that has been played.
    """

    session: Session
    actions: list[Action]
    settings: GenerateSettings
    output: OutputFiles
    facts: dict[str, Any]
    seconds: list[float]

    def __post_init__(self) -> None:
        frames = self.session.pipe.config.chunk_frames
        self._chunks = list(in_chunks(self.actions, frames))
        self._played = [whole_chunk(chunk, frames) for chunk in self._chunks]
        if self.session.actions != [action for chunk in self._played[: self.session.num_chunks] for action in chunk]:
            raise InputError(f"{self.output.session} does not belong to these actions; start again without --resume")
        self._saved, self._save_cost = -math.inf, 0.0

    def run(self, on_progress: Progress | None = None) -> int:
        """Generate, or go on generating; Ctrl-C ends it early, with the files of what there is by then.

        Returns:
            frames in the video; without any there are no files.

        Raises:
            OSError: a file cannot be written; a video that is not finished is removed.
        """
        wanted = set(sample_frames(len(self.actions), _PICTURES))
        cells: list[Cell] = []
        fps, done = self.session.pipe.config.fps, 0
        with StopSignal() as stop, VideoWriter(self.output.video, fps) as writer:
            for index, actions in enumerate(self._chunks):
                try:
                    frames = self._frames(index, stop, on_progress)[: len(actions)]
                except KeyboardInterrupt:
                    break
                writer.add(frames)
                for frame, action in zip(frames, actions, strict=True):
                    if done in wanted:
                        caption = f"frame {done}, {done / fps:.2f} s"
                        cells.append(Cell(frame=frame, caption=caption, action=action))
                    done += 1
                if on_progress:
                    on_progress(done)
        if done:
            self._finish(cells, done)
        return done

    def _frames(self, index: int, stop: StopSignal, on_progress: Progress | None) -> NDArray[np.uint8]:
        """Frames of a chunk: decoded if it has been played, generated otherwise."""
        if index < self.session.num_chunks:
            return self.session.frames(index)
        steps, length = self.session.settings.num_inference_steps, len(self._played[index])

        def on_step(step: int, timestep: Tensor, latents: Tensor) -> Tensor:
            if agree(stop.requested):
                raise KeyboardInterrupt
            if on_progress:
                on_progress(min(length * (index + (step + 1) / steps), len(self.actions)))
            return latents

        chunk = self.session.step(self._played[index], on_step=on_step)
        self.seconds.append(chunk.seconds)
        self._save(now=False)
        frames: NDArray[np.uint8] = chunk.frames
        return frames

    def _save(self, *, now: bool) -> None:
        """Keep the session on disk; not after every chunk once that would cost too much of the time."""
        started = time.monotonic()
        if now or (started - self._saved) * _SAVING_SHARE >= self._save_cost:
            notes = {"settings": dataclasses.asdict(self.settings), "seconds": self.seconds, "facts": self.facts}
            self.session.save(self.output.session, notes=notes)
            self._saved = time.monotonic()
            self._save_cost = self._saved - started

    def _finish(self, cells: list[Cell], done: int) -> None:
        complete = done == len(self.actions)
        if not complete:
            self._save(now=True)
        write_sheet(self.output.sheet, cells)
        _, height, width, _ = self.session.start.shape
        lengths = [len(chunk) for chunk in self._chunks]
        chunks = [{"frames": n, "seconds": round(s, 4)} for n, s in zip(lengths, self.seconds, strict=False)]
        facts = {
            "complete": complete,
            "frames": done,
            "asked_frames": len(self.actions),
            "fps": self.session.pipe.config.fps,
            "height": height,
            "width": width,
            **self.facts,
            "versions": versions(),
            "chunks": chunks,
        }
        write_sidecar(self.output.sidecar, self.settings, facts)
        if complete:
            self.output.session.unlink(missing_ok=True)
