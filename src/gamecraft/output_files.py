"""The files that belong to one generated video."""

from dataclasses import dataclass
from pathlib import Path

from gamecraft.errors import InputError

__all__ = ["OutputFiles"]


@dataclass(frozen=True, kw_only=True)
class OutputFiles:
    """The files of a generation: the video ``x.mp4`` and, named after it, the others.

    Raises:
        InputError: the video's name does not end in .mp4, or it is a folder.
    """

    video: Path

    def __post_init__(self) -> None:
        if self.video.suffix.lower() != ".mp4" or self.video.is_dir():
            raise InputError(f"the output is {self.video}, expected the name of a file that ends in .mp4")

    @property
    def sheet(self) -> Path:
        """The contact sheet."""
        return self.video.with_suffix(".png")

    @property
    def sidecar(self) -> Path:
        """Settings and measurements."""
        return self.video.with_suffix(".json")

    @property
    def session(self) -> Path:
        """What an interrupted generation is resumed from."""
        return self.video.with_suffix(".session.safetensors")

    def check_writable(self) -> None:
        """Fail now rather than after the work. Raises OSError."""
        self.video.parent.mkdir(parents=True, exist_ok=True)
        probe = self.video.with_name(f".{self.video.name}.probe")
        try:
            probe.write_bytes(b"")
        finally:
            probe.unlink(missing_ok=True)
