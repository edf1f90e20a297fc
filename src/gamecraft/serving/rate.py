"""Rate limits."""

from collections import OrderedDict
from collections.abc import Callable

__all__ = ["RateLimit", "RateLimits"]

_MAX_CLIENTS = 10_000


class RateLimit:
    """A token bucket: ``burst`` uses at once, ``rate`` per second in the long run."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float]) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._left, self._last = burst, clock()

    def allow(self) -> bool:
        """Use it once if that is within the limit."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._last) * self._rate)
        self._last = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class RateLimits:
    """One limit for each client's address; the addresses that were not seen for longest are forgotten."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float]) -> None:
        self._settings = (rate, burst, clock)
        self._limits: OrderedDict[str, RateLimit] = OrderedDict()

    def allow(self, client: str) -> bool:
        """Use the client's limit once if that is within it."""
        limit = self._limits.pop(client, None) or RateLimit(*self._settings)
        self._limits[client] = limit
        while len(self._limits) > _MAX_CLIENTS:
            self._limits.popitem(last=False)
        return limit.allow()
