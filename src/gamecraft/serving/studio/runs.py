"""The studio's history: what was made, with which settings, and its video."""

import dataclasses
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gamecraft.errors import InputError
from gamecraft.files import write_atomically
from gamecraft.serving.ids import is_id
from gamecraft.serving.store import UnknownIdError
from gamecraft.training.config import build_config

__all__ = ["Run", "RunStore"]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One video that was made.

    Attributes:
        session: id of the session it was played in, by which the run is called too.
        created: seconds since 1970. seconds: that making it took. frames: of the video.
        start: what it began with, in words; ``follows`` is the run it goes on from, or None.
        script, prompt, negative_prompt, seed, steps, guidance, smoothing: see ``gamecraft generate``.
        move_speed, turn_speed: metres and degrees per frame.
    """

    session: str
    created: float
    seconds: float
    frames: int
    start: str
    follows: str | None = field(default=None)
    script: str
    prompt: str
    negative_prompt: str
    seed: int
    steps: int
    guidance: float
    smoothing: float
    move_speed: float
    turn_speed: float

    @property
    def title(self) -> str:
        """One line that tells runs apart."""
        script = self.script if len(self.script) <= 40 else self.script[:39] + "…"
        return f"{self.start} · {script} · seed {self.seed} · {self.session[:4]}"


class RunStore:
    """Runs in a folder, three files each; beyond ``max_runs`` the oldest are removed."""

    def __init__(self, folder: Path, max_runs: int = 100) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder, self._max_runs = folder, max_runs

    def all(self) -> list[Run]:
        """All runs, the newest first; files that are no runs are left out."""
        found = (self._read(path) for path in self._folder.glob("*.json"))
        return sorted((run for run in found if run), key=lambda run: run.created, reverse=True)

    def get(self, session: str) -> Run:
        """One run. Raises UnknownIdError."""
        run = self._read(self._path(session, ".json")) if is_id(session) else None
        if run is None:
            raise UnknownIdError("there is no such run")
        return run

    def video(self, run: Run) -> Path:
        """Its mp4."""
        return self._path(run.session, ".mp4")

    def picture(self, run: Run) -> Path:
        """Its last frame, as JPEG."""
        return self._path(run.session, ".jpg")

    def add(self, run: Run, video: Path, picture: bytes) -> None:
        """Keep a run; its video is copied."""
        with write_atomically(self.video(run)) as temporary:
            shutil.copyfile(video, temporary)
        with write_atomically(self.picture(run)) as temporary:
            temporary.write_bytes(picture)
        with write_atomically(self._path(run.session, ".json")) as temporary:
            temporary.write_text(json.dumps(dataclasses.asdict(run), ensure_ascii=False), encoding="utf-8")
        for old in self.all()[self._max_runs :]:
            self.remove(old)

    def remove(self, run: Run) -> None:
        """Forget a run; its session stays."""
        for suffix in (".json", ".mp4", ".jpg"):
            self._path(run.session, suffix).unlink(missing_ok=True)

    def _read(self, path: Path) -> Run | None:
        try:
            values: Any = json.loads(path.read_text(encoding="utf-8"))
            run = build_config(Run, values)
        except (OSError, ValueError, TypeError, RecursionError, InputError):
            return None
        whole = run.session == path.stem and is_id(run.session) and self.video(run).is_file()
        return run if whole else None

    def _path(self, session: str, suffix: str) -> Path:
        return self._folder / f"{session}{suffix}"
