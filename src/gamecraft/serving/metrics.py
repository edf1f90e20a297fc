"""What the server measures about itself, for Prometheus."""

from collections import deque
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

__all__ = ["LatencyWatch", "ServerMetrics"]

_SECONDS = (0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 2.0, 4.0, 8.0, 16.0, 32.0)
_MAX_WATCHED = 100


class ServerMetrics:
    """The metrics of one server, in their own registry."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.frames_sent = Counter(
            "gamecraft_frames_sent", "Frames sent; its rate is frames per second", registry=registry
        )
        self.frames_dropped = Counter("gamecraft_frames_dropped", "Frames a client was too slow for", registry=registry)
        self.chunk_seconds = Histogram(
            "gamecraft_chunk_seconds", "Time to make a chunk", buckets=_SECONDS, registry=registry
        )
        self.input_to_frame = Histogram(
            "gamecraft_input_to_frame_seconds",
            "From an input's arrival to sending the first frame that takes it into account",
            buckets=_SECONDS,
            registry=registry,
        )
        self.input_to_screen = Histogram(
            "gamecraft_input_to_screen_seconds",
            "From an input's arrival to the client's report that it shows that frame",
            buckets=_SECONDS,
            registry=registry,
        )
        self.errors = Counter("gamecraft_errors", "Errors told to clients", ["code"], registry=registry)
        self._registry = registry

    def watch(self, name: str, help: str, value: Callable[[], float]) -> None:
        """Add a gauge whose value is asked for when the metrics are read."""
        Gauge(f"gamecraft_{name}", help, registry=self._registry).set_function(value)


class LatencyWatch:
    """Follows inputs of one connection to the first frame that shows them."""

    def __init__(self, metrics: ServerMetrics) -> None:
        self._metrics = metrics
        self._to_send: dict[tuple[int, int], float] = {}
        self._to_show: deque[tuple[tuple[int, int], float]] = deque(maxlen=_MAX_WATCHED)

    def expect(self, generation: int, frame: int, arrived: float) -> None:
        """This frame will be the first to show an input that arrived then (seconds)."""
        while len(self._to_send) >= _MAX_WATCHED:
            self._to_send.pop(next(iter(self._to_send)))
        self._to_send[generation, frame] = arrived

    def sent(self, generation: int, frame: int, now: float) -> None:
        """The frame has been sent."""
        arrived = self._to_send.pop((generation, frame), None)
        if arrived is not None:
            self._metrics.input_to_frame.observe(now - arrived)
            self._to_show.append(((generation, frame), arrived))

    def seen(self, generation: int, frame: int, now: float) -> None:
        """The client shows the frame, so also all before it."""
        while self._to_show and self._to_show[0][0] <= (generation, frame):
            self._metrics.input_to_screen.observe(now - self._to_show.popleft()[1])
