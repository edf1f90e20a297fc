"""When frames are shown and when the next chunk is begun."""

__all__ = ["Pace"]

_SHARE = 0.3  # of a new measurement in the estimate
_CAUTION = 1.05  # a chunk begun just in time should seldom come late because it takes a little longer
_SLACK = 0.015  # seconds, for encoding and sending


class Pace:
    """Shows chunks evenly, one after the other, and has the next one begun as late as it can be.

    Beginning late lets the newest input count; beginning before the present chunk starts to be shown is never allowed,
    so there is at most one chunk of lead. All times are seconds of one clock.
    """

    def __init__(self, fps: float, frames: int) -> None:
        self._frames = frames
        self._shortest = 1.0 / fps
        self._start = self._end = 0.0
        self._making: float | None = None

    def made(self, seconds: float, now: float, *, after: float = 0.0, alone: bool = False) -> tuple[float, float]:
        """A chunk that took ``seconds`` from its turn being asked for is there.

        Args:
            after: seconds that pass from then until another one can be begun.
            alone: no other follows, whose making would have to be bridged.

        Returns:
            when its first frame is to be shown, and the time between frames: longer than that of the video if chunks
            take longer to make than to show.
        """
        before = self._making
        self._making = seconds if before is None else before + _SHARE * (seconds - before)
        interval = self._shortest if alone else max(self._shortest, (self._making + after) / self._frames)
        self._start = max(now, self._end)
        self._end = self._start + self._frames * interval
        return self._start, interval

    @property
    def begin(self) -> float:
        """When to begin the chunk after the one that is being shown."""
        return max(self._start, self._end - (self._making or 0.0) * _CAUTION - _SLACK)

    @property
    def end(self) -> float:
        """When all that was made has been shown."""
        return self._end

    def jump(self) -> None:
        """What was made is not shown any more; the next chunk is shown at once."""
        self._start = self._end = 0.0
